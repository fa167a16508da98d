"""Private network, process and mount namespaces, in which a sandbox lives and dies.

`python -m sandbox.namespace COMMAND...` runs COMMAND in them. It needs root or
unprivileged user namespaces, and refuses to know what COMMAND is.

Three processes: the outer one (the caller's child, which passes signals on), the
init (process 1 of the new process namespace, which reaps orphans) and COMMAND.
When init ends, the kernel kills whatever is left, and the kernel also ends init
when the outer process is killed: nothing can survive.
"""
# ruff: noqa: T201  it speaks to a terminal

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from sandbox.names import INIT_VARIABLE, INSIDE_VARIABLE, RUN_DIRECTORY, Addresses

_CLONE_NEWNS = 0x00020000
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWPID = 0x20000000
_CLONE_NEWNET = 0x40000000
_PR_SET_PDEATHSIG = 1
_SI_KERNEL = 0x80
"""si_code of a signal the terminal sent to the whole foreground group (asm-generic/siginfo.h)."""

_ORDINALS = 4
"""Clusters that can run beside each other in one sandbox network."""

_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_HANDLED = {*_FORWARDED, signal.SIGCHLD}

_libc = ctypes.CDLL(None, use_errno=True)


class NamespaceError(RuntimeError):
    """The kernel or its configuration forbids a private namespace."""


def inside(environment: Mapping[str, str] = os.environ) -> bool:
    """Say whether this process already lives in the private namespaces."""
    return environment.get(INSIDE_VARIABLE) == "1"


def unshare(flags: int) -> None:
    """Leave the caller's namespaces of the given kinds (os.unshare exists from Python 3.12 on)."""
    if _libc.unshare(flags) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), "unshare")


def run(command: Sequence[str]) -> int:
    """Run a command in new private namespaces; return its exit status (128 + signal when killed)."""
    user, group = os.getuid(), os.getgid()
    signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)
    try:
        unshare(_CLONE_NEWNS | _CLONE_NEWPID | _CLONE_NEWNET | (_CLONE_NEWUSER if user != 0 else 0))
        if user != 0:
            _map_to_root(user, group)
    except OSError as error:
        raise NamespaceError(_refusal(str(error))) from error
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        _init(command)
    return _supervise(child, lambda: _reap_only(child))


def _map_to_root(user: int, group: int) -> None:
    Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
    Path("/proc/self/uid_map").write_text(f"0 {user} 1", encoding="ascii")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1", encoding="ascii")


def _init(command: Sequence[str]) -> NoReturn:
    """Be process 1: prepare the namespaces, run the command, reap, leave with its status."""
    status = 1
    try:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # Of the outside's /proc, the last time that it can be seen.
        number = str(Path("/proc/self").readlink())
        _prepare()
        environment = {**os.environ, INSIDE_VARIABLE: "1", INIT_VARIABLE: number}
        child = os.posix_spawnp(command[0], list(command), environment, setsigmask=[])
        status = _supervise(child, lambda: _reap_any(child))
    except OSError as error:
        print(f"sandbox: cannot run {command[0]}: {error}", file=sys.stderr)
    except NamespaceError as error:
        print(error, file=sys.stderr)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _prepare() -> None:
    """Give the new namespaces their own /proc, an empty /run and a network that ends at this machine."""
    _execute("mount", "--make-rprivate", "/")
    _execute("mount", "-t", "proc", "proc", "/proc")
    _execute("mount", "-t", "tmpfs", "-o", "mode=755", "sluice", "/run")
    if not Path("/var/run").is_symlink():
        _execute("mount", "--rbind", "/run", "/var/run")
    Path(RUN_DIRECTORY).mkdir()
    _execute("ip", "link", "set", "lo", "up")
    for ordinal in range(_ORDINALS):
        addresses = Addresses(ordinal)
        _execute("ip", "address", "add", f"{addresses.host}/32", "dev", "lo")
        _execute("ip", "route", "add", "local", addresses.shared_pods, "dev", "lo")


def _execute(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)  # noqa: S603  commands written in this file
    except FileNotFoundError as error:
        message = f"the sandbox needs the command `{command[0]}` (packages iproute2 and util-linux)"
        raise NamespaceError(message) from error
    if done.returncode != 0:
        raise NamespaceError(_refusal(f"`{' '.join(command)}`: {done.stderr.strip()}"))


def _refusal(reason: str) -> str:
    return (
        f"sandbox: this machine does not allow private namespaces ({reason}).\n"
        "Run as root, or allow unprivileged user namespaces: sysctl kernel.unprivileged_userns_clone=1, "
        "user.max_user_namespaces above 0,\nkernel.apparmor_restrict_unprivileged_userns=0; "
        "inside a container it needs --privileged."
    )


def _supervise(child: int, reap: Callable[[], int | None]) -> int:
    """Pass signals on to the child until it ends; a terminal's Ctrl-C reaches the child without us."""
    while True:
        information = signal.sigwaitinfo(_HANDLED)
        if information.si_signo == signal.SIGCHLD:
            status = reap()
            if status is not None:
                return status
        elif information.si_code != _SI_KERNEL:
            os.kill(child, information.si_signo)


def _reap_only(child: int) -> int | None:
    pid, status = os.waitpid(child, os.WNOHANG)
    return _exit_status(status) if pid == child else None


def _reap_any(child: int) -> int | None:
    """Reap every ended process; orphans come to process 1, and signals of one kind are merged."""
    found: int | None = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if pid == 0:
            return found
        if pid == child:
            found = _exit_status(status)


def _exit_status(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code


def main() -> int:
    """Run the command line's command in private namespaces, or as it is when already inside."""
    command = sys.argv[1:]
    if not command:
        print("usage: python -m sandbox.namespace COMMAND [ARGUMENT...]", file=sys.stderr)
        return 2
    if inside():
        os.execvp(command[0], command)  # noqa: S606  the caller's own command, no shell wanted
    try:
        return run(command)
    except NamespaceError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
