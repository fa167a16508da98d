"""Where objects are kept."""

import pytest

from kube.resources import CUSTOM_RESOURCE_DEFINITIONS, DEPLOYMENTS, NAMESPACES, PODS, ROLLOUTS


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (PODS.path(), "/api/v1/pods"),
        (PODS.path("shop"), "/api/v1/namespaces/shop/pods"),
        (PODS.path("shop", "web-1"), "/api/v1/namespaces/shop/pods/web-1"),
        (NAMESPACES.path(None, "shop"), "/api/v1/namespaces/shop"),
        (
            ROLLOUTS.ref("shop", "web").path("status"),
            "/apis/rollouts.kruise.io/v1beta1/namespaces/shop/rollouts/web/status",
        ),
        (
            CUSTOM_RESOURCE_DEFINITIONS.path(None, "rollouts.rollouts.kruise.io"),
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/rollouts.rollouts.kruise.io",
        ),
    ],
)
def test_path_is_where_the_api_server_keeps_it(path: str, expected: str) -> None:
    """Core and grouped, collection and object, cluster-scoped and not."""
    assert expected == path


def test_api_version_is_spelled_as_in_a_manifest() -> None:
    """The core group has no slash."""
    assert PODS.api_version == "v1"
    assert DEPLOYMENTS.api_version == "apps/v1"


@pytest.mark.parametrize(
    ("namespace", "name", "subresource"),
    [
        (None, "web", None),
        ("shop", None, "scale"),
        ("shop", "", None),
        ("", "web", None),
        ("", None, None),
        ("shop", "web", ""),
    ],
)
def test_address_with_a_missing_part_is_refused(
    namespace: str | None, name: str | None, subresource: str | None
) -> None:
    """An empty name must never turn the deletion of one object into that of its whole collection."""
    with pytest.raises(ValueError, match="Deployment"):
        DEPLOYMENTS.path(namespace, name, subresource)


def test_namespace_for_a_cluster_scoped_kind_is_refused() -> None:
    """It would name a path that does not exist."""
    with pytest.raises(ValueError, match="cluster-scoped"):
        NAMESPACES.path("shop", "shop")


def test_name_cannot_climb_out_of_its_segment() -> None:
    """What a user writes into a spec ends up in paths."""
    assert PODS.path("shop", "../secrets/a?b") == "/api/v1/namespaces/shop/pods/..%2Fsecrets%2Fa%3Fb"
