"""A container's environment is expanded as kubelet expands it."""

import pytest

from sandbox.node import environment

_POD = {
    "metadata": {
        "name": "p",
        "namespace": "n",
        "uid": "u",
        "labels": {"a/b": "1"},
        "annotations": {"x": "y"},
    },
    "spec": {"nodeName": "node-1"},
    "status": {"podIP": "10.244.0.2", "podIPs": [{"ip": "10.244.0.2"}]},
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$(A)-$(B)", "1-2"),
        ("$$(A)", "$(A)"),
        ("$(UNKNOWN)", "$(UNKNOWN)"),
        ("$A costs $5", "$A costs $5"),
    ],
)
def test_references_to_variables_are_replaced(text: str, expected: str) -> None:
    """$(NAME) is replaced, $$ is a dollar sign, and what is unknown stays as it is."""
    assert expected == environment.expand(text, {"A": "1", "B": "2"})


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("metadata.name", "p"),
        ("metadata.labels['a/b']", "1"),
        ("metadata.annotations['missing']", ""),
        ("metadata.annotations", 'x="y"'),
        ("spec.nodeName", "node-1"),
        ("status.podIPs", "10.244.0.2"),
    ],
)
def test_fields_of_the_pod_are_read(path: str, expected: str) -> None:
    """The downward API gives names, labels, annotations, node and addresses."""
    assert expected == environment.pod_field(_POD, path)


def test_later_variables_see_earlier_ones() -> None:
    """A value may refer to variables defined above it, those of whole Secrets included."""
    container = {
        "envFrom": [{"prefix": "P_", "secretRef": {"name": "s"}}],
        "env": [
            {"name": "HOST", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "URL", "value": "http://$(P_user)@$(HOST):80"},
        ],
    }

    found = environment.variables(container, _POD, {("secrets", "s"): {"user": "me"}})

    assert found == {"P_user": "me", "HOST": "10.244.0.2", "URL": "http://me@10.244.0.2:80"}


def test_what_is_referred_to_is_named() -> None:
    """Every Secret and ConfigMap that a container needs is found, each once."""
    key = {"name": "s", "key": "k"}
    container = {
        "envFrom": [{"configMapRef": {"name": "c"}}],
        "env": [
            {"name": "A", "valueFrom": {"secretKeyRef": key}},
            {"name": "B", "valueFrom": {"secretKeyRef": key}},
            {"name": "C", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        ],
    }

    assert environment.references(container) == {("secrets", "s"), ("configmaps", "c")}


@pytest.mark.parametrize(
    "container",
    [
        {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]},
        {"envFrom": [{"configMapRef": {"name": "s"}}]},
    ],
    ids=["key", "whole"],
)
def test_missing_source_is_an_error(container: dict[str, object]) -> None:
    """A container whose Secret or ConfigMap does not exist cannot be started."""
    with pytest.raises(environment.MissingReferenceError, match="s"):
        environment.variables(container, _POD, {})


def test_missing_optional_source_leaves_the_variable_out() -> None:
    """An optional key that does not exist is no variable at all."""
    reference = {"name": "s", "key": "k", "optional": True}
    container = {"env": [{"name": "A", "valueFrom": {"secretKeyRef": reference}}]}

    assert environment.variables(container, _POD, {}) == {}
