"""One loop runs every child process: it reads its output, ticks, enforces limits, and ends the whole tree."""

import selectors
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import timedelta
from time import monotonic

from worker.run.limits import Deadline, Gauge, LimitReached, Limits
from worker.run.streams import Collected, Errors, Lines, Piped, Sink, Stream, Tailed
from worker.sandbox.base import Child, Sandbox
from worker.sandbox.command import Command, Completed

__all__ = ["Deadline", "LimitReached", "Limits", "Pump"]

GRACE = timedelta(milliseconds=500)
"""Between SIGTERM and SIGKILL, so that a cancelled tree is gone well within 2 s."""
LOOK = 0.05
"""Seconds to sleep at most where nothing tells that a file has grown, or (not Linux) that a child has ended."""


class Pump:
    """
    Runs commands, one at a time, and calls `watch` meanwhile.

    `watch` is called every `every`, and at once when one of `wakers` becomes readable: pipes that a signal handler
    writes to. They are not read here, and one that stays readable calls but once a command. Whatever `watch` or a
    reader of lines raises ends the command's whole process tree, and is raised again once that is gone.
    """

    def __init__(
        self, *, watch: Callable[[], None], every: timedelta = timedelta(seconds=1), wakers: Sequence[int] = ()
    ) -> None:
        self._watch = watch
        self._every = every.total_seconds()
        self._wakers = tuple(wakers)
        self._due = monotonic()

    def run(
        self,
        command: Command,
        *,
        sandbox: Sandbox,
        limits: Limits,
        on_line: Callable[[bytes], None] | None = None,
        on_error_line: Callable[[bytes], None] | None = None,
    ) -> Completed:
        """
        Run a command to its end; no process of it is left, however this returns or raises.

        Lines end at a newline byte and nowhere else, come without it, and are cut after 3 MiB; the last needs none.
        Without `on_line`, stdout is collected, up to 16 MB. Of stderr the last 64 kB are kept in any case.

        Raises:
            LimitReached: the command was ended for what it used.
            OSError: it could not be started.
        """
        stdout: Sink = Collected() if on_line is None else Lines(self._ticking(on_line))
        stderr = Errors(None if on_error_line is None else Lines(self._ticking(on_error_line)))
        started = sandbox.start(replace(command, largest=limits.disk))
        with ended(started) as child, closing(Gauge(limits, limits.folder or command.cwd)) as gauge:
            output = Tailed(child.stdout) if command.tail else Piped(child.stdout)
            streams = (Stream(source=output, sink=stdout), Stream(source=Piped(child.stderr), sink=stderr))
            code = self._see_out(child, streams, gauge)
        return Completed(returncode=code, stdout=stdout.kept, stderr=stderr.kept)

    def _see_out(self, child: Child, streams: Sequence[Stream], gauge: Gauge) -> int:
        piped = {stream.source.fd: stream for stream in streams if stream.source.fd is not None}
        tailed = [stream for stream in streams if stream.source.fd is None]
        with selectors.DefaultSelector() as selector:
            for fd in (*piped, *self._wakers, *(() if child.exited is None else (child.exited,))):
                selector.register(fd, selectors.EVENT_READ, piped.get(fd))
            while (code := child.poll()) is None:
                self._tick()
                for key, _ in selector.select(self._patience(child, gauge, tailed)):
                    self._answer(key, selector, gauge)
                for stream in tailed:
                    take(stream, gauge)
                gauge.check()
        for stream in streams:
            drain(stream, gauge)
        return code

    def _answer(self, key: selectors.SelectorKey, selector: selectors.BaseSelector, gauge: Gauge) -> None:
        if key.fd in self._wakers:
            selector.unregister(key.fd)
            self._due = monotonic()
        elif key.data is not None and take(key.data, gauge) == b"":
            selector.unregister(key.fd)

    def _tick(self) -> None:
        if monotonic() >= self._due:
            self._watch()
            self._due = monotonic() + self._every

    def _ticking(self, emit: Callable[[bytes], None]) -> Callable[[bytes], None]:
        """`emit`, and a tick when it is due: a chunk may hold tens of thousands of lines."""

        def emit_and_tick(line: bytes) -> None:
            emit(line)
            self._tick()

        return emit_and_tick

    def _patience(self, child: Child, gauge: Gauge, tailed: Sequence[Stream]) -> float:
        """Seconds for which nothing needs to be done unless something happens."""
        if any(stream.source.unread for stream in tailed):
            return 0.0
        left = max(0.0, min(self._due, gauge.due) - monotonic())
        return min(left, LOOK) if tailed or child.exited is None else left


@contextmanager
def ended(child: Child) -> Iterator[Child]:
    """The child, of which nothing is left afterwards."""
    try:
        yield child
    except BaseException:
        child.stop(GRACE)
        raise
    finally:
        child.close()


def take(stream: Stream, gauge: Gauge) -> bytes | None:
    """Hand on what is there, at most a chunk; between two chunks, and between two lines, the loop may tick."""
    chunk = stream.source.read()
    if chunk:
        gauge.count(chunk, unread=stream.source.unread)
        stream.sink.feed(chunk)
    return chunk


def drain(stream: Stream, gauge: Gauge) -> None:
    """Take what a child that is gone has left behind."""
    while take(stream, gauge):
        pass
    stream.sink.end()
