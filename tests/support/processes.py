"""Real processes for tests: each is known by a mark in its environment, wherever it hides in the process tree."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from worker.sandbox.command import Command
from worker.sandbox.python import ISOLATED, READS

SEARCHED = "/usr/local/bin:/usr/bin:/bin"
SETSID = "os.setsid()"
DEAF = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"


class Marked:
    """Makes commands whose processes can all be found again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mark = uuid4().hex

    def shell(self, script: str, *, stdin: bytes = b"") -> Command:
        return self.command("sh", "-c", script, stdin=stdin)

    def python(self, *lines: str, stdin: bytes = b"") -> Command:
        """Python with what such programs need imported already."""
        program = "\n".join(("import os, signal, sys, time", *lines))
        return replace(self.command(*ISOLATED, "-c", program, stdin=stdin), reads=READS)

    def command(self, *argv: str, stdin: bytes = b"") -> Command:
        return Command(argv=argv, cwd=self.folder, env={"PATH": SEARCHED, "MARK": self.mark}, stdin=stdin)

    def alive(self) -> list[int]:
        """All processes with the mark that have not ended, supervisors too."""
        return [int(process.name) for process in Path("/proc").glob("[0-9]*") if self._is_ours(process)]

    def _is_ours(self, process: Path) -> bool:
        try:
            return f"MARK={self.mark}".encode() in (process / "environ").read_bytes().split(b"\0")
        except OSError:
            return False

    def end(self) -> None:
        """Whatever a failed test left."""
        for pid in self.alive():
            os.kill(pid, signal.SIGKILL)


def eventually(condition: Callable[[], object], *, within: float = 2.0) -> bool:
    """Whether it holds before the time is over."""
    until = time.monotonic() + within
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


@contextmanager
def nothing_left(marked: Marked) -> Iterator[None]:
    """After the block: no process, no zombie, no file descriptor more than before."""
    before, servers = open_files(), children()
    yield
    assert marked.alive() == []
    assert children() == servers
    assert open_files() == before


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def children() -> list[str]:
    """Zombies included."""
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
