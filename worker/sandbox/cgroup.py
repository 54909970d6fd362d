"""
Control groups for sandboxes, where this process may make some: they bound what all processes of one use together.

Where it may not, an ordinary user's processes are bounded by RLIMIT_NPROC and their memory each by itself; root's
are not counted by any limit of theirs. Groups may be made by root below its own group in the first version of
control groups, and in the second where systemd delegates: `Delegate=yes` and `DelegateSubgroup=worker`.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path

NAME = "codingit-"
NUMBERS = count()
FIRST = {"pids": "pids.max", "memory": "memory.limit_in_bytes"}
SECOND = {"pids": "pids.max", "memory": "memory.max"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """A folder in which groups may be made."""

    folder: Path
    files: dict[str, str]
    """For each controller that counts in it, the file that holds its bound."""


def made(*, processes: int, memory: int | None) -> tuple[Path, ...]:
    """Fresh groups with these bounds, to be joined and in the end removed; none where there can be none."""
    bounds = {"pids": processes, "memory": memory}
    groups = []
    for home in homes():
        group = home.folder / f"{NAME}{os.getpid()}-{next(NUMBERS)}"
        group.mkdir()
        groups.append(group)
        for controller, file in home.files.items():
            if bounds[controller] is not None:
                (group / file).write_text(str(bounds[controller]))
    return tuple(groups)


def remove(groups: Sequence[Path]) -> None:
    """Remove groups that nobody is in."""
    for group in groups:
        with suppress(OSError):
            group.rmdir()


def counted() -> frozenset[str]:
    """Which of `pids` and `memory` this process can bound for a sandbox as a whole."""
    return frozenset(controller for home in homes() for controller in home.files)


@cache
def homes() -> tuple[Home, ...]:
    """Where this process may make groups; what killed ones left there is removed."""
    try:
        own = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
        mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    except OSError:
        return ()
    found = [home for _, names, path in own for home in usable(names, path, mounts)]
    for home in found:
        sweep(home.folder)
    return tuple(found)


def usable(names: str, path: str, mounts: list[list[str]]) -> list[Home]:
    """The homes that one line of /proc/self/cgroup stands for: at most one."""
    for _, point, kind, options, *_ in mounts:
        folder = Path(point, path.lstrip("/"))
        if kind == "cgroup" and names and set(names.split(",")) <= set(options.split(",")):
            files = {name: FIRST[name] for name in names.split(",") if name in FIRST}
            return [Home(folder=folder, files=files)] if files and tried(folder, files) else []
        if kind == "cgroup2" and not names:
            return [home for parent in (folder, *delegated(folder.parent)) for home in enabled(parent)][:1]
    return []


def enabled(folder: Path) -> list[Home]:
    """The home that this folder of the second version is, its controllers switched on for those below it."""
    with suppress(OSError):
        there = set((folder / "cgroup.controllers").read_text().split())
        files = {name: file for name, file in SECOND.items() if name in there}
        for name in files:
            (folder / "cgroup.subtree_control").write_text(f"+{name}")
        return [Home(folder=folder, files=files)] if files and tried(folder, files) else []
    return []


def delegated(folder: Path) -> tuple[Path, ...]:
    """That folder, if systemd has left it to this service."""
    with suppress(OSError):
        if os.getxattr(folder, "user.delegate") == b"1":
            return (folder,)
    return ()


def tried(folder: Path, files: dict[str, str]) -> bool:
    """Whether a group can be made there and bounded."""
    group = folder / f"{NAME}{os.getpid()}-tried"
    try:
        group.mkdir()
        for file in files.values():
            (group / file).write_text((group / file).read_text())
    except OSError:
        return False
    finally:
        remove([group])
    return True


def sweep(folder: Path) -> None:
    """Remove the groups of processes that are no more; one that is in use cannot be removed."""
    groups = folder.glob(f"{NAME}*")
    remove([group for group in groups if not Path("/proc", group.name.removeprefix(NAME).partition("-")[0]).exists()])
