"""What can go wrong, told as facts; a caller catches only where its answer differs."""

from datetime import timedelta
from enum import StrEnum


class WrongUse(Exception):
    """A command or setting was given wrongly; the message is one sentence that says what to do. Exit code 2."""


class CommandFailed(Exception):
    """A command was used rightly and could not do its work; the message says what to do. Exit code 1."""


class LeaseLost(Exception):
    """The task is not ours to write any more: stop the agent, push nothing, write nothing more to the task."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        """`lost` (another attempt has the fence), `gone` (the row was deleted) or `taken` (its status was changed)."""


class TaskFailed(Exception):
    """The task ends as `error`; the message is stored in its log for its owner to read and holds no secret."""


class Cause(StrEnum):
    """Why an attempt is given back, each counted by itself."""

    SHUTDOWN = "shutdown"
    CRASH = "crash"
    OVERLOADED = "overloaded"


class RunInterrupted(Exception):
    """The attempt ends through no fault of the task's: give it back, to be run again after `delay`."""

    def __init__(self, cause: Cause, *, delay: timedelta = timedelta()) -> None:
        super().__init__(cause)
        self.cause = cause
        self.delay = delay
