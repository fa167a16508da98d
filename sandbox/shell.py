"""A shell inside a running sandbox, for somebody at another terminal."""

import os
import shlex
from pathlib import Path

from sandbox.cluster import Cluster
from sandbox.names import INIT_VARIABLE

_NAMESPACES = ("--mount", "--net", "--pid")


def command(cluster: Cluster) -> str:
    """Return a command line that opens a shell with kubectl, helm and the cluster's kubeconfig."""
    file = cluster.directory / "shell.rc"
    settings = {key: value for key, value in cluster.environment.items() if key != "HOME"}
    lines = [f"export {key}={shlex.quote(value)}" for key, value in settings.items()]
    file.write_text("\n".join([*lines, "PS1='sandbox $ '", ""]), encoding="utf-8")
    # Who is not root on this machine owns the namespaces by way of a user namespace, and enters that first.
    user = () if _maps_nobody() else ("--user", "--preserve-credentials")
    init = os.environ[INIT_VARIABLE]
    return shlex.join(["nsenter", "--target", init, *user, *_NAMESPACES, "bash", "--rcfile", str(file)])


def _maps_nobody() -> bool:
    """Say whether user 0 in here is user 0 outside too."""
    inside, outside, _ = Path("/proc/self/uid_map").read_text(encoding="ascii").split(maxsplit=2)
    return inside == outside
