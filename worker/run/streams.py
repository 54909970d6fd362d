"""Where the output of a child comes from, a pipe or a file, and where it goes: into lines, whole, or its end alone."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from worker.run.limits import LimitReached, spoken_size

LONGEST = 3 * 2**20
"""Bytes of a line that are handed on whole; agents print lines of 3 MB."""
CUT = b" [the rest of this line was cut]"
COLLECTED = 16 * 10**6
"""Bytes of output kept for a caller that does not read lines."""
ERRORS = 64 * 10**3
"""Bytes kept of what was printed to stderr: the last ones, since the reason comes last."""


CHUNK = 2**16
"""Bytes read at once."""


class Source(Protocol):
    """Where one stream of a child comes from."""

    @property
    def fd(self) -> int | None:
        """What becomes readable when there is something to read; None where nothing tells."""
        ...

    @property
    def unread(self) -> int:
        """How many bytes are known to wait."""
        ...

    def read(self) -> bytes | None:
        """What is there, at most a chunk; None if nothing is yet, empty if nothing will be once the child is gone."""
        ...


class Piped:
    """A pipe, which can be waited for."""

    unread = 0

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def read(self) -> bytes | None:
        """What is there; empty once nobody can write to it any more."""
        try:
            return os.read(self.fd, CHUNK)
        except BlockingIOError:
            return None


class Tailed:
    """A file that grows; nothing tells when. One that was emptied, as by `> /dev/stdout`, is read from its start."""

    fd = None

    def __init__(self, file: int) -> None:
        self._file = file
        self._read = 0

    @property
    def unread(self) -> int:
        """What was written and not read."""
        return max(0, os.fstat(self._file).st_size - self._read)

    def read(self) -> bytes:
        """What is new; empty if nothing is."""
        if os.fstat(self._file).st_size < self._read:
            self._read = 0
        chunk = os.pread(self._file, CHUNK, self._read)
        self._read += len(chunk)
        return chunk


class Sink(Protocol):
    """Where one stream of a child goes."""

    @property
    def kept(self) -> bytes:
        """What is to be handed back in the end."""
        ...

    def feed(self, chunk: bytes) -> None:
        """Take what was read."""
        ...

    def end(self) -> None:
        """Nothing more will come."""
        ...


class Lines:
    """Cuts a stream into lines and hands each on; keeps nothing but the one that has begun."""

    kept = b""

    def __init__(self, emit: Callable[[bytes], None]) -> None:
        self._emit = emit
        self._begun = bytearray()
        self._cut = False

    def feed(self, chunk: bytes) -> None:
        """Hand on every line that ends in this chunk."""
        *ending, rest = chunk.split(b"\n")
        for part in ending:
            self._append(part)
            self._hand_on()
        self._append(rest)

    def end(self) -> None:
        """Hand on a last line that has no newline."""
        if self._begun:
            self._hand_on()

    def _append(self, part: bytes) -> None:
        room = LONGEST - len(self._begun)
        self._begun += part[:room]
        self._cut = self._cut or len(part) > room

    def _hand_on(self) -> None:
        line = bytes(self._begun) + CUT * self._cut
        self._begun.clear()
        self._cut = False
        self._emit(line)


class Collected:
    """Keeps a stream whole, up to a size that nothing meant to be collected reaches."""

    def __init__(self) -> None:
        self._all = bytearray()

    @property
    def kept(self) -> bytes:
        """The whole stream."""
        return bytes(self._all)

    def feed(self, chunk: bytes) -> None:
        """Keep it, or raise LimitReached."""
        self._all += chunk
        if len(self._all) > COLLECTED:
            raise LimitReached("output", f"A command printed more than {spoken_size(COLLECTED)}, so it was stopped.")

    def end(self) -> None:
        """All is kept already."""


class Errors:
    """Keeps the end of a stream, and hands its lines on where somebody wants them."""

    def __init__(self, lines: Lines | None) -> None:
        self._lines = lines
        self._last = bytearray()

    @property
    def kept(self) -> bytes:
        """The end of the stream."""
        return bytes(self._last)

    def feed(self, chunk: bytes) -> None:
        """Keep it in place of the oldest."""
        self._last += chunk
        del self._last[:-ERRORS]
        if self._lines:
            self._lines.feed(chunk)

    def end(self) -> None:
        """Hand on a last line that has no newline."""
        if self._lines:
            self._lines.end()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """One output of a child: where it comes from, and where it goes."""

    source: Source
    sink: Sink
