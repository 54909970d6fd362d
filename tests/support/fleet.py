"""Real workers and dispatchers as processes, as the Procfile starts them, with short times to wait for."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parents[2]
LEASE_TTL, GRACE = 4.0, 2.0
"""Seconds, of the fleets of tests."""


def until(condition: Callable[[], object], *, within: float = 15.0, what: str | Callable[[], str] = "") -> None:
    """Wait for something to become true; fail after `within` seconds with `what` there is, asked for then."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, (
            f"not within {within} s: {(what() if callable(what) else what) or condition}"
        )
        time.sleep(0.05)


class Fleet:
    """Processes of one test, their state in `folder`; `stop` ends them and says if anything was left."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        self.state = folder / "state"
        self.logs = folder / "logs"
        self.logs.mkdir()
        self.processes: list[subprocess.Popen[bytes]] = []
        self.env = {
            "PATH": os.environ["PATH"],
            "CODINGIT_STATE_DIR": str(self.state),
            "CODINGIT_LEASE_TTL": f"{LEASE_TTL}s",
            "CODINGIT_TICK": "300ms",
            "CODINGIT_GRACE": f"{GRACE}s",
            "CODINGIT_POLL_INTERVAL": "200ms",
            "CODINGIT_OFFER_TIMEOUT": "5s",
            "CODINGIT_HEALTH_ADDRESS": "127.0.0.1:0",
            "CODINGIT_CONCURRENCY": "2",
            **env,
        }

    def start(self, *argv: str, **env: str) -> subprocess.Popen[bytes]:
        """A process in a session of its own, its output in a log."""
        name = f"{len(self.processes)}-{argv[-1].strip('-').replace('/', '_')}"
        with (self.logs / f"{name}.log").open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", *argv],
                cwd=ROOT,
                env=self.env | env,
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def worker(self, name: str = "runs", **env: str) -> subprocess.Popen[bytes]:
        """A worker that takes runs; ready when this returns."""
        process = self.start("celery", "-A", "worker.app", "worker", "-Q", "runs", "-n", f"{name}@test", **env)
        until(lambda: b"ready" in self.log_of(process), within=30, what=f"worker ready\n{self.text()}")
        return process

    def dispatcher(self, **env: str) -> subprocess.Popen[bytes]:
        """A dispatcher; ready when this returns."""
        process = self.start("worker", "dispatch", **env)
        until(lambda: b"dispatcher.started" in self.log_of(process), within=30, what=f"dispatcher\n{self.text()}")
        return process

    def log_of(self, process: subprocess.Popen[bytes]) -> bytes:
        index = self.processes.index(process)
        return b"".join(path.read_bytes() for path in self.logs.glob(f"{index}-*.log"))

    def text(self) -> str:
        """All logs, for a test that fails."""
        return "\n".join(f"== {path.name}\n{path.read_text(errors='replace')}" for path in sorted(self.logs.iterdir()))

    def children(self, process: subprocess.Popen[bytes]) -> list[int]:
        """The prefork children of a worker."""
        return [pid for pid, parent in parents().items() if parent == process.pid]

    def busy_child(self, process: subprocess.Popen[bytes]) -> int:
        """The prefork child that runs something now."""
        tree = parents()
        busy = [pid for pid in self.children(process) if pid in tree.values()]
        assert busy, "no child is busy"
        return busy[0]

    def agents(self) -> list[int]:
        """Every process whose working folder is, or was, in a workspace of this fleet."""
        found = []
        for pid in parents():
            with suppress(OSError):
                if str(self.state) in str(Path(f"/proc/{pid}/cwd").readlink()):
                    found.append(pid)
        return found

    def terminate(self, process: subprocess.Popen[bytes], *, within: float = GRACE + 5) -> int:
        """SIGTERM to the main process alone; its exit code."""
        process.send_signal(signal.SIGTERM)
        return process.wait(timeout=within)

    def stop(self) -> None:
        """End every process, the hard way if need be."""
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
        deadline = time.monotonic() + 15
        for process in self.processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=max(0.1, deadline - time.monotonic()))
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def parents() -> dict[int, int]:
    """Each process and its parent."""
    return dict(_stat())


def _stat() -> Iterator[tuple[int, int]]:
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):
                stat = (folder / "stat").read_text()
                fields = stat.rpartition(")")[2].split()
                if fields[0] != "Z":
                    yield int(folder.name), int(fields[1])
