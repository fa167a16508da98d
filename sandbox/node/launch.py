"""Start one container's command in a mount namespace and a root directory of its own.

Run as a file with one argument, a JSON object: root (an empty directory), mounts
(source, target, read_only), directory, command and environment. The new root shows
this machine's files, an empty /run, and the mounts, wherever their targets are:
directories that lack a mount point are rebuilt from bind mounts of their entries, so
that nothing is ever written to the machine's own directories.
"""
# ruff: noqa: PTH103, PTH110, PTH112, PTH115, PTH120, PTH123, PTH211  pathlib would double its start-up time

import ctypes
import json
import os
import sys

_CLONE_NEWNS = 0x00020000
_MS_RDONLY = 0x1
_MS_REMOUNT = 0x20
_MS_BIND = 0x1000
_MS_REC = 0x4000
_MS_PRIVATE = 0x40000

_libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: str, kind: str = "", flags: int = 0) -> None:
    """Mount a file system, or change a mount, through the system call."""
    if _libc.mount(source.encode(), target.encode(), kind.encode(), flags, None) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), f"mount {source} on {target}")


def bind(source: str, target: str) -> None:
    """Show a file or directory, with what is mounted below it, at another place."""
    mount(source, target, flags=_MS_BIND | _MS_REC)


def create_mount_point(like: str, path: str) -> None:
    """Create an empty directory or file, whichever `like` is, with its parents."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if os.path.isdir(like):
        os.makedirs(path, exist_ok=True)
    elif not os.path.exists(path):
        open(path, "xb").close()


def assemble(directory: str, root: str, targets: list[str], parents: set[str]) -> None:
    """Fill `root + directory` with the machine's entries, leaving the targets to their mounts."""
    os.makedirs(root + directory, exist_ok=True)
    if directory == "/run" or not os.path.isdir(directory):
        return
    for entry in os.scandir(directory):
        path = entry.path
        if path in targets:
            continue
        if entry.is_symlink():
            os.symlink(os.readlink(path), root + path)
        elif path in parents or path == "/run":
            assemble(path, root, targets, parents)
        else:
            create_mount_point(path, root + path)
            bind(path, root + path)


def ancestors(path: str) -> set[str]:
    """Return all directories above a path but the root."""
    found = set()
    while (path := os.path.dirname(path)) != "/":
        found.add(path)
    return found


def main() -> None:
    """Build the root, enter it and become the command."""
    specification = json.loads(sys.argv[1])
    root: str = specification["root"]
    if _libc.unshare(_CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    mount("none", "/", flags=_MS_REC | _MS_PRIVATE)
    mount("sandbox", root, "tmpfs")
    mounts = [(os.path.realpath(m["target"]), m["source"], m["read_only"]) for m in specification["mounts"]]
    mounts.sort()
    targets = [target for target, _, _ in mounts]
    assemble("/", root, targets, set().union(*map(ancestors, targets)))
    for target, source, read_only in mounts:
        create_mount_point(source, root + target)
        bind(source, root + target)
        if read_only:
            mount(source, root + target, flags=_MS_BIND | _MS_REMOUNT | _MS_RDONLY)
    os.chroot(root)
    os.chdir(specification["directory"])
    command, environment = specification["command"], specification["environment"]
    try:
        os.execvpe(command[0], command, environment)  # noqa: S606  no shell wanted
    except OSError as error:
        sys.exit(f"cannot run {command[0]}: {error}")


if __name__ == "__main__":
    main()
