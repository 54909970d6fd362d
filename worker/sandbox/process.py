"""A sandbox that isolates nothing: it runs programs as the worker's own user, and sees that all of them end."""

import fcntl
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import IO

from worker.errors import CommandFailed
from worker.sandbox import supervisor
from worker.sandbox.command import Command
from worker.sandbox.relay import relayed

SUPERVISOR = str(Path(supervisor.__file__).resolve())
SIGNALLED = 128
"""Added to the number of the signal that ended a program, this is its exit code."""
PATIENCE = timedelta(seconds=supervisor.GRACE + supervisor.PATIENCE + 2)
"""After this a supervisor that was to end is killed itself: something stopped it, or it is stuck."""


class ProcessSandbox:
    """Supervision without isolation: for git of our own, for `rehearsal`, and for prompts that are trusted."""

    isolates = False

    def start(self, command: Command) -> "SupervisedChild":
        """Start the command under a supervisor of its own; see `Sandbox.start`."""
        return started(replace(command, argv=(*relayed(command), *command.argv)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrapping:
    """What a command needs that only sets up a PID namespace for what it runs."""

    inherited: Sequence[int]
    """File descriptors that it is given."""
    cgroups: Sequence[Path]
    """Groups for it to be in; the supervisor removes them afterwards, or its parent where it was killed."""
    status: IO[bytes]
    """Where it tells an `exit-code`, once what it runs has begun and ended."""


class SupervisedChild:
    """A program, as its supervisor's parent sees it: both have ended when the supervisor has."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        control: IO[bytes],
        *,
        tailed: IO[bytes] | None,
        wrapping: Wrapping | None = None,
    ) -> None:
        self._process = process
        self._control = control
        self._status = wrapping.status if wrapping else None
        self._cgroups = wrapping.cgroups if wrapping else ()
        self._stdout = tailed or nonblocking(process.stdout)
        self._stderr = nonblocking(process.stderr)
        self._exited = pidfd(process.pid)

    @property
    def stdout(self) -> int:
        """The end to read its output from, or the file that it goes to."""
        return self._stdout.fileno()

    @property
    def stderr(self) -> int:
        """The end to read its errors from."""
        return self._stderr.fileno()

    @property
    def exited(self) -> int | None:
        """The supervisor's pidfd, on Linux."""
        return self._exited

    def poll(self) -> int | None:
        """
        The exit code, once all is over; where somebody killed the supervisor, that is 128 + N too.

        Raises:
            CommandFailed: the program was not even started, for its sandbox could not be set up.
        """
        code = self._process.poll()
        if (
            self._status
            and code
            and 0 < code < SIGNALLED
            and b"exit-code" not in os.pread(self._status.fileno(), 999, 0)
        ):
            raise CommandFailed("bubblewrap cannot set up a sandbox now: this machine may lack memory or namespaces.")
        return SIGNALLED - code if code is not None and code < 0 else code

    def stop(self, grace: timedelta) -> None:
        """Tell the supervisor to end the tree, also one that the program itself has stopped."""
        with suppress(BrokenPipeError):
            self._control.write(b"%f\n" % grace.total_seconds())
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """Close the control pipe, which alone ends the tree, however far the rest of this comes."""
        self._control.close()
        self._await_end()
        self._stdout.close()
        self._stderr.close()
        if self._status:
            self._status.close()
            self._status = None
        for group in self._cgroups:
            with suppress(OSError):
                group.rmdir()
        if self._exited is not None:
            os.close(self._exited)
            self._exited = None

    def _await_end(self) -> None:
        try:
            self._process.wait(PATIENCE.total_seconds())
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def started(command: Command, *, wrapping: Wrapping | None = None) -> SupervisedChild:
    """The command under a supervisor of its own."""
    told, telling = os.pipe()
    with os.fdopen(told, "rb", buffering=0), ExitStack() as unless_started:
        control = unless_started.enter_context(os.fdopen(telling, "wb", buffering=0))
        tailed = unless_started.enter_context(output_file(command.cwd)) if command.tail else None
        process = supervise(command, told, wrapping=wrapping, output=tailed)
        unless_started.pop_all()
    return SupervisedChild(process, control, tailed=tailed, wrapping=wrapping)


def terms(command: Command, wrapping: Wrapping | None) -> tuple[str, ...]:
    """What the supervisor must know of a command besides what it inherits."""
    bounds = ("" if bound is None else str(bound) for bound in (command.memory, command.largest))
    wrapped = ("1", ":".join(map(str, wrapping.cgroups))) if wrapping else ("", "")
    return (command.env.get("LC_CTYPE", ""), *bounds, *wrapped)


def supervise(
    command: Command, told: int, *, wrapping: Wrapping | None, output: IO[bytes] | None
) -> subprocess.Popen[bytes]:
    """
    The supervisor, started for `command` in a session of its own and listening at `told`; it prints to `output`.

    It is given the command's environment as its own, so that nothing of ours is to be read from it either.
    """
    with input_file(command.stdin) as stdin:
        return subprocess.Popen(
            (sys.executable, "-I", "-S", SUPERVISOR, str(told), *terms(command, wrapping), *command.argv),
            bufsize=0,
            cwd="/" if wrapping else command.cwd,  # which may be a link by now that leads somewhere else out here
            env=command.env,
            pass_fds=(told, *(wrapping.inherited if wrapping else ())),
            start_new_session=True,
            stdin=stdin,
            stdout=output or subprocess.PIPE,
            stderr=subprocess.PIPE,
        )


def input_file(content: bytes) -> IO[bytes]:
    """A nameless file to read `content` from: nobody has to feed it, so nothing can block on it."""
    if not content:
        return Path(os.devnull).open("rb")
    if sys.platform == "linux":  # in memory, for it may hold a key
        file: IO[bytes] = os.fdopen(os.memfd_create("input"), "w+b")
    else:
        file = tempfile.TemporaryFile()  # noqa: SIM115  # the caller closes it
    file.write(content)
    file.seek(0)
    return file


def output_file(folder: Path) -> IO[bytes]:
    """
    A nameless file on the file system of `folder`, to be read while it is written.

    Whoever writes appends, so that a program and those that it starts do not overwrite each other.
    """
    file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115  # the child closes it
    fcntl.fcntl(file, fcntl.F_SETFL, fcntl.fcntl(file, fcntl.F_GETFL) | os.O_APPEND)
    return file


def nonblocking(pipe: IO[bytes] | None) -> IO[bytes]:
    """The pipe, set not to block."""
    if pipe is None:
        raise ValueError("the process was started without this pipe")
    os.set_blocking(pipe.fileno(), False)
    return pipe


def pidfd(pid: int) -> int | None:
    """A file descriptor that becomes readable when the process ends, where the system has such a thing."""
    if sys.platform != "linux":
        return None
    with suppress(OSError):
        return os.pidfd_open(pid)
    return None
