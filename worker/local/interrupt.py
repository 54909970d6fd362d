"""Ctrl-C and its kin while `up` runs: the first asks for an orderly end, the second for a quick one."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """Somebody wants us to end. No Exception, so that nobody takes it for a fault."""


class Interrupt:
    """Counts the requests to end; only within `raising` does the first of them raise."""

    def __init__(self) -> None:
        self._count = 0
        self._raises = False

    @property
    def asked(self) -> bool:
        """Whether we are to end."""
        return self._count > 0

    @property
    def impatient(self) -> bool:
        """Whether it was asked for twice."""
        return self._count > 1

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """While the block runs, signals come here."""
        before = {number: signal.signal(number, self._note) for number in SIGNALS}
        try:
            yield
        finally:
            for number, was in before.items():
                signal.signal(number, was)

    @contextmanager
    def raising(self) -> Iterator[None]:
        """While the block runs, the first request raises Interrupted: for what cannot look whether there was one."""
        self._raises = True
        try:
            if self.asked:
                raise Interrupted
            yield
        finally:
            self._raises = False

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self._count += 1
        if self._raises:
            self._raises = False
            raise Interrupted
