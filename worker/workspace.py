"""The folders of a run: made for it, held by it, removed after it; what a killed worker left is swept up."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from secrets import token_hex
from time import time

import structlog

from worker import git
from worker.errors import CommandFailed
from worker.settings import Settings

log = structlog.get_logger(__name__)

MAKING = ".making-"
"""How the name of a folder begins that is not yet held by its run."""
STILL_MAKING = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Folders:
    """Where one run works."""

    whole: Path
    """All of it: what the disk limit is for."""
    private: Path
    """The host's own: mirror, quarantine, and what git asks for the token with."""
    work: Path
    """The sandbox's: the repository is `repo` in it."""
    home: Path
    """The agent's HOME, empty at first."""


@contextmanager
def folders(root: Path, *, task_id: int, fence: int) -> Iterator[Folders]:
    """
    The folders of one attempt, of mode 0700 and locked while it runs; gone afterwards.

    Raises:
        CommandFailed: this host cannot make them.
    """
    try:
        whole = _made(root.expanduser(), f"{task_id}-{fence}-{token_hex(3)}")
    except OSError as fault:
        raise CommandFailed(f"No workspace can be made in {root}: {fault.strerror}.") from fault
    held = _lock(whole)
    try:
        whole = whole.rename(whole.with_name(whole.name.removeprefix(MAKING)))
        yield Folders(whole=whole, private=whole / "private", work=whole / "work", home=whole / "home")
    finally:
        remove(whole)
        if held is not None:
            os.close(held)


def mirrors(settings: Settings) -> git.Cache:
    """The mirrors that this host keeps between runs."""
    return git.Cache(root=settings.mirrors_dir, largest=settings.mirrors_limit, age=settings.mirrors_age)


def sweep(root: Path) -> int:
    """Remove the folders of runs that are no more, as far as this host has any; answers how many."""
    return sum(removed(whole) for whole in left(root))


def left(root: Path) -> list[Path]:
    """The folders that there are, by name, less those that are being made this moment; some are held by their runs."""
    with suppress(FileNotFoundError):
        return sorted(whole for whole in root.expanduser().iterdir() if not _young(whole))
    return []


def removed(whole: Path) -> bool:
    """Remove the folder, unless its run holds it; answers whether."""
    if (lock := _lock(whole)) is None:
        return False
    remove(whole)
    os.close(lock)
    log.info("workspace.removed", folder=whole.name)
    return True


def held(whole: Path) -> bool:
    """Whether its run goes on, or it is gone meanwhile."""
    if (lock := _lock(whole)) is None:
        return True
    os.close(lock)
    return False


def remove(folder: Path) -> None:
    """Remove a folder that a stranger filled: whatever its modes, and through no symbolic link."""
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():  # a folder without the right to write it keeps its entries
        _unlock(folder)
        shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        log.error("workspace.kept", folder=str(folder))


def _unlock(folder: Path) -> None:
    folder.chmod(0o700)
    for place, names, _ in os.walk(folder):  # which enters the named only after this
        for path in (Path(place, name) for name in names):
            if not path.is_symlink():
                path.chmod(0o700)


def _young(folder: Path) -> bool:
    """Whether the run that makes this folder may not have locked it yet."""
    with suppress(FileNotFoundError):
        return folder.name.startswith(MAKING) and time() - folder.stat().st_mtime < STILL_MAKING.total_seconds()
    return True


def _made(root: Path, name: str) -> Path:
    whole = root / f"{MAKING}{name}"
    for folder in (root, whole, whole / "private", whole / "work", whole / "home"):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return whole


def _lock(folder: Path) -> int | None:
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
