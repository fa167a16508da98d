"""Metrics: one registry a process, the common ones present from the start."""

from runtime.metrics import Metrics


def exposed(metrics: Metrics) -> str:
    """Return the exposition."""
    return metrics.expose("")[0].decode()


def test_two_processes_do_not_share_a_registry() -> None:
    """Nothing is global: two in one interpreter count apart."""
    one, other = Metrics("webhook", "1"), Metrics("reconciler", "1")

    one.task_restarted("watch")

    assert 'sluice_task_restarts_total{task="watch"} 1.0' in exposed(one)
    assert 'task="watch"' not in exposed(other)


def test_build_and_process_are_told() -> None:
    """What runs, and what it costs, is on every scrape."""
    text = exposed(Metrics("webhook", "1.2.3"))

    assert 'sluice_build_info{process="webhook",version="1.2.3"} 1.0' in text
    assert "process_resident_memory_bytes" in text


def test_api_requests_are_counted_by_outcome() -> None:
    """The observer takes what a client knows of a request: verb, resource, code, seconds."""
    metrics = Metrics("webhook", "1")

    metrics.observe_api_request("GET", "deployments", 200, 0.02)

    expected = 'sluice_api_request_seconds_count{code="200",resource="deployments",verb="GET"} 1.0'
    assert expected in exposed(metrics)


def test_open_metrics_is_spoken_to_who_asks_for_it() -> None:
    """The format follows the scraper's Accept header."""
    _, content_type = Metrics("webhook", "1").expose("application/openmetrics-text; version=1.0.0")

    assert content_type.startswith("application/openmetrics-text")
