"""Commands to be pumped, and a pump that only counts its ticks."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from time import monotonic

import pytest

from tests.support.processes import Marked
from worker.run.pump import Deadline, Limits, Pump
from worker.sandbox.base import Sandbox
from worker.sandbox.command import Command, Completed
from worker.sandbox.process import ProcessSandbox

Line = Callable[[bytes], None]


@dataclass
class Pumping:
    """Runs commands with limits that nothing reaches unless a test says so, and notes when `watch` was called."""

    watched: list[float] = field(default_factory=list)
    on_watch: Callable[[], None] = lambda: None
    every: timedelta = timedelta(milliseconds=100)
    wakers: Sequence[int] = ()
    sandbox: Sandbox = field(default_factory=ProcessSandbox)

    def __call__(
        self,
        command: Command,
        *,
        on_line: Line | None = None,
        on_error_line: Line | None = None,
        wall: float = 30,
        idle: float | None = None,
        output: int | None = None,
        disk: int | None = None,
        folder: Path | None = None,
    ) -> Completed:
        limits = Limits(
            wall=Deadline.after(timedelta(seconds=wall)),
            idle=None if idle is None else timedelta(seconds=idle),
            output=output,
            disk=disk,
            folder=folder,
        )
        pump = Pump(watch=self.watch, every=self.every, wakers=self.wakers)
        return pump.run(command, sandbox=self.sandbox, limits=limits, on_line=on_line, on_error_line=on_error_line)

    def watch(self) -> None:
        self.watched.append(monotonic())
        self.on_watch()


@pytest.fixture
def pumping() -> Pumping:
    return Pumping()


@pytest.fixture
def marked(tmp_path: Path) -> Iterator[Marked]:
    made = Marked(tmp_path)
    yield made
    made.end()
