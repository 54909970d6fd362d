"""What every sandbox can do, and what a program that runs in one can be asked."""

from datetime import timedelta
from typing import Protocol

from worker.sandbox.command import Command


class Child(Protocol):
    """A program that was started. Only `close` is owed: it ends what still runs and gives everything back."""

    @property
    def stdout(self) -> int:
        """The end to read its output from, non-blocking; of a command that is tailed, the file that it goes to."""
        ...

    @property
    def stderr(self) -> int:
        """The end to read its errors from, non-blocking."""
        ...

    @property
    def exited(self) -> int | None:
        """A file descriptor that becomes readable once `poll` has an answer; None where there is no such thing."""
        ...

    def poll(self) -> int | None:
        """
        The exit code once the program and all its descendants are gone (128 + N for signal N), or None.

        Raises:
            CommandFailed: the program was not started, through no fault of its own or of its command.
        """
        ...

    def stop(self, grace: timedelta) -> None:
        """Ask all its processes to end, and kill what is left after `grace`; does not wait, may be repeated."""
        ...

    def close(self) -> None:
        """End whatever still runs, wait for that, reap it and close all file descriptors; may be repeated."""
        ...


class Sandbox(Protocol):
    """A place where programs run."""

    @property
    def isolates(self) -> bool:
        """Whether a program in it can neither see nor touch what is the host's or another run's."""
        ...

    def start(self, command: Command) -> Child:
        """
        Start `command` with its input; its umask is 077, and it dumps no core.

        A program that is not there is no error: as in a shell, its exit code is 127.

        Raises:
            OSError: the folder is missing, or the host has no process, memory or file descriptor left.
        """
        ...
