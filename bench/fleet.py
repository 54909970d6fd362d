"""Real processes on the servers of a benchmark, started as the Procfile does, with the default settings."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Self
from uuid import uuid4

from bench.measure import Bench
from worker.local import child

ROOT = Path(__file__).parents[1]
NOTHING = "bench.nothing"
"""The app whose runs claim and finish, and do nothing in between."""

Process = subprocess.Popen[bytes]


def until(condition: Callable[[], object], *, within: float = 60.0, every: float = 0.01, what: str = "") -> None:
    """Wait for something to become true. Raises TimeoutError."""
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {within:.0f} s: {what}")
        time.sleep(every)


class Fleet:
    """The processes of one benchmark; all are gone when the block is left."""

    def __init__(self, bench: Bench, **env: str) -> None:
        self._folder = bench.folder / f"fleet-{uuid4().hex[:8]}"
        self._folder.mkdir()
        self._processes: dict[int, Path] = {}
        self._running: list[Process] = []
        self.env = {
            "PATH": os.environ["PATH"],
            "DATABASE_URL": bench.worker_url.libpq,
            "REDIS_URL": bench.redis_url,
            "CODINGIT_STATE_DIR": str(self._folder / "state"),
            "CODINGIT_HEALTH_ADDRESS": "127.0.0.1:0",
            **env,
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._running:
            end(process)

    def worker(self, app: str = "worker.app", *, name: str = "runs", queue: str = "runs") -> Process:
        """A worker that takes messages."""
        return self.start(
            "celery", "-A", app, "worker", "-Q", queue, "-n", f"{name}@bench", "-l", "INFO", ready="ready."
        )

    def dispatcher(self) -> Process:
        """A dispatcher that listens."""
        return self.start("worker", "dispatch", ready="dispatcher.started")

    def start(self, *argv: str, ready: str) -> Process:
        """A process in a session of its own that has said that it is ready."""
        process = self.spawn(*argv)
        log = self._processes[process.pid]
        until(lambda: ready in log.read_text(errors="replace"), what=f"{' '.join(argv)}: {ready}, see {log}")
        return process

    def spawn(self, *argv: str) -> Process:
        """A process in a session of its own that may have nothing to say."""
        log = self._folder / f"{len(self._running)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", *argv],
                cwd=ROOT,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=child.die_with(os.getpid(), signal.SIGKILL),  # noqa: PLW1509 - prctl has no other place
            )
        self._running.append(process)
        self._processes[process.pid] = log
        return process

    def ask(self, module: str, *arguments: str) -> float:
        """The number that a program of ours prints last, having measured something by itself."""
        argv = [sys.executable, "-m", module, *arguments]
        done = subprocess.run(argv, cwd=ROOT, env=self.env, check=True, stdout=subprocess.PIPE, timeout=180)
        return float(done.stdout.split()[-1])


def end(process: Process) -> None:
    """End a process and whatever is in its session, the hard way."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def children(pid: int) -> list[int]:
    """The processes that this one started."""
    return [child_pid for child_pid, parent in parents().items() if parent == pid]


def descendants(pid: int) -> list[int]:
    """Its children, their children, and so on."""
    return [each for child_pid in children(pid) for each in (child_pid, *descendants(child_pid))]


def parents() -> dict[int, int]:
    """The parent of each process."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            found[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    return found
