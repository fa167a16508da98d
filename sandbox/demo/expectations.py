"""The walkthrough's table as values: what must be visible at each stage.

The strings are those of the reference scenario; tests state them once more on their own.
"""

from collections.abc import Mapping
from enum import Enum

from sandbox import manifests
from sandbox.demo.tables import Row

PRODUCT_NAMESPACE = "kruise-rollout"
NAMESPACE = "default"
SECOND_CANARY_IMAGE = "cilium/echoserver:1.10.4"
WEIGHT = 20
"""Percent: one pod of five, and every fifth request."""

_NAME = manifests.NAME
_HOST = manifests.HOST


class Stage(Enum):
    """The walkthrough's stages, by what has been reached."""

    DEPLOYED = "the first deployment"
    WAITING = "the new version waits for approval"
    COMPLETED = "the release is completed"
    ROLLED_BACK = "the release is rolled back"


def _deployment(name: str, pods: int, updated: int) -> Row:
    return Row(name, {"READY": f"{pods}/{pods}", "UP-TO-DATE": str(updated), "AVAILABLE": str(pods)})


def _service(name: str) -> Row:
    return Row(name, {"TYPE": "ClusterIP", "PORT(S)": f"{manifests.PORT}/TCP"})


def _ingress(name: str) -> Row:
    return Row(name, {"CLASS": "<none>", "HOSTS": _HOST, "PORTS": "80"})


def _rollout(status: str, step: str, state: str, message: str) -> Row:
    cells = {"STATUS": status, "CANARY_STEP": step, "CANARY_STATE": state, "MESSAGE": message}
    return Row(_NAME, cells)


_CANARY = f"{_NAME}-canary"
_SETTLED = {
    "deployment": (_deployment(_NAME, 5, 5),),
    "service": (_service(_NAME),),
    "ingress": (_ingress(_NAME),),
}

PODS = tuple(
    Row(f"sluice-{part}-.*", {"READY": "1/1", "STATUS": "Running"})
    for part in ("reconciler", "reconciler", "webhook", "webhook")
)
"""The product's own pods: two replicas of each process."""

TABLES: Mapping[Stage, Mapping[str, tuple[Row, ...]]] = {
    Stage.DEPLOYED: {**_SETTLED, "rollouts": (Row(_NAME, {"STATUS": "Healthy"}),)},
    Stage.WAITING: {
        "deployment": (_deployment(_NAME, 5, 0), _deployment(f"{_NAME}-[a-z0-9]{{5}}", 1, 1)),
        "service": (_service(_NAME), _service(_CANARY)),
        "ingress": (_ingress(_NAME), _ingress(_CANARY)),
        "rollouts": (
            _rollout(
                "Progressing",
                "1",
                "StepPaused",
                "Rollout is in step(1/1), and you need manually confirm to enter the next step",
            ),
        ),
    },
    Stage.COMPLETED: {
        **_SETTLED,
        "rollouts": (_rollout("Healthy", "1", "Completed", "Rollout has been completed, and succeed"),),
    },
    Stage.ROLLED_BACK: {
        **_SETTLED,
        "rollouts": (
            _rollout(
                "Healthy",
                "1",
                "StepPaused",
                "The workload has been rolled back and the rollout process will be cancelled",
            ),
        ),
    },
}

CANARY_INGRESS_ANNOTATIONS = {
    "kubernetes.io/ingress.class": "nginx",
    "nginx.ingress.kubernetes.io/canary": "true",
    "nginx.ingress.kubernetes.io/canary-weight": str(WEIGHT),
}

CANARY_INGRESS_RULES = manifests.ingress(_CANARY, _CANARY)["spec"]["rules"]
