"""A server as our child: started so that it cannot outlive us, waited for until it answers, ended for certain."""

import ctypes
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker.errors import CommandFailed
from worker.local import state

LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
PR_SET_PDEATHSIG = 1
START_TIMEOUT = 60.0
STOP_TIMEOUT = 10.0
TRIES = 20
IN_USE = re.compile(r"address already in use", re.IGNORECASE)
STILL_CLOSING = re.compile(r"pre-existing shared memory block|lock file \S+ already exists")
READY = re.compile(r"ready to accept connections", re.IGNORECASE)
REASON = re.compile(r"(?:FATAL|PANIC|ERROR|error):\s+(.+)")


class PortInUse(Exception):
    """Another process listens on that port."""


class StillClosing(Exception):
    """What is left of a killed run has not quite gone yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A running program and where it writes its log."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    farewell: signal.Signals
    """What asks it to end, and what Linux sends it when we die."""

    def end(self) -> None:
        """Ask it to end, then make it; afterwards it is gone."""
        if self.process.poll() is None:
            self.process.send_signal(self.farewell)
        try:
            self.process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def wait_until(self, answers: Callable[[], bool]) -> None:
        """
        Return as soon as it answers; it is not asked before its log says that it would.

        Until then another process may listen on the port, and keep whoever asks waiting.

        Raises:
            PortInUse, StillClosing: when it ended for a reason that another try may mend.
            CommandFailed: when it ended for any other reason, or did not answer in time.
        """
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise self.failure()
            if READY.search(self.said()) and answers():
                return
            time.sleep(0.01)
        why = reason(self.said())
        raise CommandFailed(f"{self.name} did not answer within {START_TIMEOUT:.0f} s: {why}. Its log: {self.log}")

    def said(self) -> str:
        """Its log until now."""
        return self.log.read_text(errors="replace")

    def failure(self) -> Exception:
        """Why it ended, by its log."""
        text = self.said()
        if IN_USE.search(text):
            return PortInUse()
        if STILL_CLOSING.search(text):
            return StillClosing()
        return CommandFailed(f"{self.name} did not start: {reason(text)}. Its log: {self.log}")


def reason(log: str) -> str:
    """The last line of a log that says why."""
    if "No space left on device" in log:
        return "no space is left on the disk"
    told = REASON.findall(log)
    lines = told or [line.strip() for line in log.splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else "it ended without a word"


def spawn(
    name: str, argv: Sequence[str | Path], *, log: Path, cwd: Path, farewell: signal.Signals, stdin: bytes = b""
) -> Child:
    """
    Start a program as the servers' user, in a session of its own (Ctrl-C is ours to answer), with a fresh log.

    On Linux it is sent `farewell` when we die. The kernel counts the thread that calls this as
    the parent: call from one that outlives the child, best the main thread.
    """
    with state.private_file(log) as output:
        process = subprocess.Popen(
            argv,
            cwd=cwd,
            env={"LC_ALL": "C", "PATH": os.defpath},
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=die_with(os.getpid(), farewell),  # noqa: PLW1509  # prctl counts only after the change of user
            **unprivileged(),
        )
    child = Child(name=name, process=process, log=log, farewell=farewell)
    feed(process, stdin)
    return child


def feed(process: subprocess.Popen[bytes], stdin: bytes) -> None:
    """Write its standard input and close it; a program that has ended says why in its log."""
    assert process.stdin is not None  # noqa: S101  # it was asked for
    try:
        with process.stdin as pipe:
            pipe.write(stdin)
    except BrokenPipeError:
        return


def unprivileged() -> dict[str, Any]:
    """How to start a program as the servers' user."""
    if os.geteuid() != 0:
        return {}
    return {"user": state.UNPRIVILEGED, "group": state.UNPRIVILEGED, "extra_groups": []}


def die_with(parent: int, farewell: signal.Signals) -> Callable[[], None]:
    """What the child does before it becomes the program: heed signals, and ask to be told of its parent's death."""

    def prepare() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        if LIBC is not None:
            LIBC.prctl(PR_SET_PDEATHSIG, int(farewell))
            if os.getppid() != parent:
                os._exit(1)

    return prepare


def on_a_port(first: int | None, start: Callable[[int], Child]) -> tuple[Child, int]:
    """Start a server on the port that it had, or on another when that one is taken; a race for it is run again."""
    port = first or free_port()
    for _ in range(TRIES):
        try:
            return start(port), port
        except PortInUse:
            port = free_port()
        except StillClosing:
            time.sleep(0.25)
    raise CommandFailed(f"No port could be had for a local server after {TRIES} tries. Try again.")


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
