"""What maintenance removes from this host's disk: workspaces that nobody holds, unused mirrors, old transcripts."""

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog
from sqlalchemy.orm import Session

from db.queries.maintenance import SAMPLE, Expired, Removed, Right
from worker import git, workspace

log = structlog.get_logger(__name__)

KEPT_EMPTY = timedelta(days=1)
"""How long the folder of a task's transcripts stays when it is empty: an attempt may be about to write to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspaces:
    """The workspaces of runs that are no more: whoever works in one holds a lock on it."""

    root: Path
    rights: tuple[Right, ...] = ()

    def remove(self, session: Session, size: int, after: str | None) -> Removed:  # noqa: ARG002 - needs no database
        """The next few by name; those that somebody holds are passed over, and are no concern of ours."""
        beyond = [path for path in workspace.left(self.root) if after is None or path.name > after]
        taken = beyond[:size]
        removed = sum(workspace.removed(path) for path in taken)
        return Removed(count=removed, last=taken[-1].name if len(beyond) > size else None)

    def expired(self, session: Session) -> Expired:  # noqa: ARG002 - as above
        """Those that could be had now."""
        found = [path for path in workspace.left(self.root) if not workspace.held(path)]
        oldest = min((path.stat().st_mtime for path in found), default=None)
        return Expired(count=len(found), oldest=iso(oldest), sample=tuple(path.name for path in found[:SAMPLE]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirrors:
    """What this host keeps of repositories, once it is unused for long or there is no room for it."""

    cache: git.Cache
    rights: tuple[Right, ...] = ()

    def remove(self, session: Session, size: int, after: None) -> Removed:  # noqa: ARG002 - needs no database
        """All at once: there are few."""
        return Removed(count=git.evict(self.cache), last=None)

    def expired(self, session: Session) -> Expired:  # noqa: ARG002 - as above
        """The same that would go, the longest unused last."""
        found = git.unwanted(self.cache)
        oldest = min((used for used, _, _ in found), default=None)
        return Expired(count=len(found), oldest=iso(oldest), sample=tuple(path.name for _, _, path in found[:SAMPLE]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcripts:
    """The files of attempts that nothing was added to for so long, and the folders that this leaves empty."""

    root: Path
    kept: timedelta
    rights: tuple[Right, ...] = ()

    def remove(self, session: Session, size: int, after: str | None) -> Removed:  # noqa: ARG002 - needs no database
        """The next few by path."""
        beyond = [path for path in self._old() if after is None or str(path) > after]
        faults = [fault for path in beyond[:size] if (fault := unlinked(path))]
        last = str(beyond[size - 1]) if len(beyond) > size else None
        if last is None:
            self._remove_empty_folders()
        return Removed(count=min(size, len(beyond)) - len(faults), last=last, skipped=counted(faults))

    def expired(self, session: Session) -> Expired:  # noqa: ARG002 - as above
        """All such files."""
        found = self._old()
        oldest = min((path.stat().st_mtime for path in found), default=None)
        names = tuple(str(path.relative_to(self.root)) for path in found[:SAMPLE])
        return Expired(count=len(found), oldest=iso(oldest), sample=names)

    def _old(self) -> list[Path]:
        return sorted(path for path in self.root.glob("*/*.log.gz") if older(path, self.kept))

    def _remove_empty_folders(self) -> None:
        for folder in self._folders():
            with suppress(OSError):  # not empty
                folder.rmdir()

    def _folders(self) -> Iterator[Path]:
        return (path for path in self.root.glob("*") if path.is_dir() and older(path, KEPT_EMPTY))


def older(path: Path, age: timedelta) -> bool:
    """Whether it was last changed longer ago; False for what is gone meanwhile, and for a symbolic link."""
    try:
        return not path.is_symlink() and time.time() - path.stat().st_mtime > age.total_seconds()
    except FileNotFoundError:
        return False


def unlinked(path: Path) -> str | None:
    """Remove the file; answers why it could not be."""
    try:
        path.unlink(missing_ok=True)
    except OSError as fault:
        log.warning("transcript.kept", file=str(path), reason=fault.strerror)
        return fault.strerror or type(fault).__name__
    return None


def counted(faults: list[str]) -> dict[str, int]:
    """How often each."""
    return {fault: faults.count(fault) for fault in set(faults)}


def iso(moment: float | None) -> str | None:
    """A time of the file system in UTC."""
    return None if moment is None else datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")
