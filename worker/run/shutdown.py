"""How a run in a forked child learns that its worker is to stop, in whichever way SIGTERM arrives."""

import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from time import monotonic


class Notice:
    """What one run can see of a shutdown; `fds` become readable when it is asked for."""

    def __init__(self, *fds: int) -> None:
        self.fds = fds
        self._since: float | None = None

    def given(self) -> bool:
        """Whether a shutdown was asked for."""
        if self._since is None and select.select(self.fds, (), (), 0)[0]:
            self._since = monotonic()
        return self._since is not None

    def age(self) -> timedelta:
        """How long ago it was asked for, as far as this run has seen; nought if it was not."""
        return timedelta(seconds=0.0 if self._since is None else monotonic() - self._since)

    def over(self, grace: timedelta) -> bool:
        """Whether it was asked for, and seen, at least `grace` ago."""
        return self.given() and self.age() >= grace

    def wait(self, patience: timedelta) -> None:
        """Sleep for `patience`, or until a shutdown that had not been asked for is."""
        unseen = () if self.given() else self.fds
        select.select(unseen, (), (), patience.total_seconds())


class Shutdown:
    """
    The word from a worker's main process to the runs in its children. To be made before the fork.

    SIGTERM may reach main alone (systemd's default, kill), which then announces it, or the whole process group
    (Heroku, honcho, a container's init), in which case each child hears it for itself. Handlers only write to
    pipes: whatever raises in a signal handler can interrupt a COMMIT.
    """

    def __init__(self) -> None:
        self._heard, self._announcing = os.pipe()
        os.set_blocking(self._announcing, False)

    def announce(self) -> None:
        """Tell every run of this worker, now and from now on; for the main process."""
        os.write(self._announcing, b".")

    @contextmanager
    def heeded(self) -> Iterator[Notice]:
        """
        The notice for one run, during which SIGTERM does nothing else.

        Raises:
            SystemExit: at the end, when SIGTERM came to this process alone: who sent it wants it gone. When the whole
                worker stops, its main process ends this one in its own time.
        """
        heard, telling = os.pipe()
        os.set_blocking(telling, False)
        terminated = Terminated(telling)
        before = signal.signal(signal.SIGTERM, terminated)
        try:
            yield Notice(self._heard, heard)
        finally:
            signal.signal(signal.SIGTERM, before)
            os.close(telling)
            os.close(heard)
        if terminated.happened and not Notice(self._heard).given():
            raise SystemExit(0)


class Terminated:
    """A handler of SIGTERM that notes it and writes to a pipe."""

    def __init__(self, telling: int) -> None:
        self.happened = False
        self._telling = telling

    def __call__(self, *_: object) -> None:
        self.happened = True
        try:
            os.write(self._telling, b".")
        except BlockingIOError:
            return  # the pipe is full of the same word
