"""What one command may use of time, output and disk, and how that is measured while it runs."""

import os
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import Literal, Self

MEASURE = 0.03
"""Seconds for which a folder is measured at a stretch."""
REST = 1.0
"""Seconds between two measurements of it, at least; and never more than a tenth of the time goes there."""
AHEAD = timedelta(minutes=1)
"""How long before a run's time is over its owner is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadline:
    """When the time of a run is over; all its commands share one."""

    at: float
    """On the clock of `time.monotonic`."""
    wall: timedelta
    """How long that was in all, for the message."""

    @classmethod
    def after(cls, wall: timedelta) -> Self:
        """The deadline of what begins now."""
        return cls(at=monotonic() + wall.total_seconds(), wall=wall)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one command may use; None is no limit."""

    wall: Deadline
    idle: timedelta | None = None
    """How long it may print nothing."""
    output: int | None = None
    """How many bytes it may print, stdout and stderr together."""
    disk: int | None = None
    """
    How many bytes `folder` may hold, measured while it runs: now and then, and not to the byte.

    To the byte, it is how large each file may become that the command writes, wherever, and also a sparse one.
    """
    folder: Path | None = None
    """What is measured; by itself, the folder that the command runs in."""


class Foretold:
    """Says once that a deadline is near: a minute before it, or half its time where that is less."""

    def __init__(self, deadline: Deadline) -> None:
        self.said = False
        """Whether there is nothing to say any more."""
        self._wall = deadline.wall
        self._left = min(AHEAD, deadline.wall / 2)
        self._at = deadline.at - self._left.total_seconds()

    def sentence(self) -> str | None:
        """The warning, if now is the time."""
        if self.said or monotonic() < self._at:
            return None
        self.said = True
        return (
            f"Warning: a run may take {spoken(self._wall)}, of which no more than {spoken(self._left)} is left."
            " What there is by then is committed as partial, and the task ends as an error."
        )


class LimitReached(Exception):
    """A command was ended because of a limit; the message is a sentence for the task's owner."""

    def __init__(self, what: Literal["wall", "idle", "output", "disk"], sentence: str) -> None:
        super().__init__(sentence)
        self.what = what


class Gauge:
    """Measures one command against its limits."""

    def __init__(self, limits: Limits, folder: Path) -> None:
        self._limits = limits
        self._idle = None if limits.idle is None else limits.idle.total_seconds()
        self._disk = None if limits.disk is None else Disk(folder, limits.disk)
        self._printed = 0
        self._heard = monotonic()

    @property
    def due(self) -> float:
        """When to check again, if nothing is printed before."""
        idle = self._limits.wall.at if self._idle is None else self._heard + self._idle
        disk = self._limits.wall.at if self._disk is None else self._disk.due
        return min(self._limits.wall.at, idle, disk)

    def count(self, chunk: bytes, *, unread: int = 0) -> None:
        """Count what was printed, and that something was; `unread` is how much more waits to be read, if known."""
        self._heard = monotonic()
        self._printed += len(chunk)
        if self._limits.output is not None and self._printed + unread > self._limits.output:
            raise LimitReached("output", f"It printed more than {spoken_size(self._limits.output)}, so it was stopped.")

    def check(self) -> None:
        """Raise LimitReached if a time is over or the folder has grown too large; call it after reading."""
        now = monotonic()
        if now >= self._limits.wall.at:
            raise LimitReached(
                "wall", f"It took longer than {spoken(self._limits.wall.wall)} in all, so it was stopped."
            )
        if self._idle is not None and now >= self._heard + self._idle:
            raise LimitReached(
                "idle", f"It printed nothing for {spoken(timedelta(seconds=self._idle))}, so it was stopped."
            )
        if self._disk is not None:
            self._disk.check()

    def close(self) -> None:
        """Stop measuring; a folder may be open."""
        if self._disk is not None:
            self._disk.close()


class Disk:
    """Measures a folder bit by bit, so that one of a million files delays nobody."""

    def __init__(self, folder: Path, limit: int) -> None:
        self.due = monotonic()
        self._folder = folder
        self._limit = limit
        self._begin()

    def check(self) -> None:
        """Go on measuring when it is time to; raise LimitReached as soon as the sum is too large."""
        began = monotonic()
        if began < self.due:
            return
        over = self._measure(until=began + MEASURE)
        if self._sum > self._limit:
            raise LimitReached("disk", f"Its folder grew larger than {spoken_size(self._limit)}, so it was stopped.")
        spent = monotonic() - began
        self.due = began + spent * 10
        if over:
            self.due = max(self.due, began + REST)
            self._begin()

    def close(self) -> None:
        """Close the folder that is being read."""
        self._sizes.close()

    def _begin(self) -> None:
        self._sizes = sizes(self._folder)
        self._sum = 0

    def _measure(self, *, until: float) -> bool:
        """Whether the folder has been measured to its end, or to the limit."""
        for size in self._sizes:
            self._sum += size
            if self._sum > self._limit or monotonic() > until:
                return False
        return True


def sizes(folder: Path) -> Generator[int, None, None]:
    """What each entry below `folder` takes on disk; no symbolic link is followed, and what vanishes is passed over."""
    folders = [os.fspath(folder)]
    while folders:
        path = folders.pop()
        with suppress(OSError), os.scandir(path) as entries:
            for entry in entries:
                with suppress(OSError):
                    yield entry.stat(follow_symlinks=False).st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)


def spoken(duration: timedelta) -> str:
    """`1 hour`, `10 minutes`, `0.5 seconds`."""
    seconds = duration.total_seconds()
    for length, unit in ((3600, "hour"), (60, "minute")):
        if seconds >= length and seconds % length == 0:
            return f"{seconds / length:g} {unit}{'s' * (seconds > length)}"
    return f"{seconds:g} seconds"


def spoken_size(count: int) -> str:
    """`5 GB`, `100 MB`, `900 kB`, `12 bytes`."""
    for unit, length in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= length:
            return f"{count / length:g} {unit}"
    return f"{count} bytes"
