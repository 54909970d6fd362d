"""Reads what an answer used while it passes, whole or as a stream of events."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from worker.gateway.usage import Read, Reading, Usage

LONGEST_EVENT = 8 * 10**6
LARGEST_ANSWER = 32 * 10**6
BYTES_PER_TOKEN, BYTES_PER_TOKEN_STREAMED = 4, 24
"""Where nothing tells how many tokens there were, so many bytes count as one: rather too few than too many."""


class Meter:
    """
    The meter of one answer.

    An answer that was cut off, by whomever, has cost something too: what it does not tell is estimated from its size,
    so that nobody uses a model for nothing by leaving before the end.
    """

    def __init__(self, read: Read, *, asked: int, free: bool = False) -> None:
        self.free = free
        """Whether the answer costs nothing, as an error."""
        self.streamed = False
        """Whether it comes as events; to be set before the first is fed."""
        self._read = read
        self._asked = asked
        self._passed = 0
        self._kept = bytearray()
        self._skipping = False
        self._found = Reading()

    @property
    def model(self) -> str | None:
        """The model that answered, once that was told."""
        return self._found.model

    @property
    def estimated(self) -> bool:
        """Whether the end was not seen, in which the sum stands."""
        return not self._found.last

    def feed(self, chunk: bytes) -> None:
        """Take what was passed on."""
        self._passed += len(chunk)
        if self.streamed:
            self._feed_stream(chunk)
        elif self._passed <= LARGEST_ANSWER:
            self._kept += chunk

    def usage(self) -> Usage:
        """What the answer used; to be asked when it is over."""
        for said in objects(bytes(self._kept)):
            self._take(said)
        self._kept.clear()
        told = self._found.usage or Usage(input=self._asked // BYTES_PER_TOKEN)
        if not self.estimated:
            return told
        size = BYTES_PER_TOKEN_STREAMED if self.streamed else BYTES_PER_TOKEN
        return told.at_least(Usage(output=self._passed // size))

    def _feed_stream(self, chunk: bytes) -> None:
        *ending, rest = chunk.split(b"\n")
        for line in ending:
            self._keep(line)
            if not self._skipping and self._kept.startswith(b"data:"):
                self._take_line(bytes(self._kept[5:]))
            self._kept.clear()
            self._skipping = False
        self._keep(rest)

    def _keep(self, piece: bytes) -> None:
        if self._skipping:
            return
        self._kept += piece
        if len(self._kept) > LONGEST_EVENT:
            self._kept.clear()
            self._skipping = True

    def _take_line(self, line: bytes) -> None:
        if b'"usage' in line or b'"model' in line:  # most events are a word or two of text, and need not be read
            for said in objects(line):
                self._take(said)

    def _take(self, said: dict[str, Any]) -> None:
        reading = self._read(said)
        usage = reading.usage and reading.usage.at_least(self._found.usage or Usage())
        self._found = replace(
            self._found,
            usage=usage or self._found.usage,
            model=self._found.model or reading.model,
            last=self._found.last or reading.last,
        )


def objects(line: bytes) -> Iterator[dict[str, Any]]:
    """The JSON object in this text, or those in the array that it is; none where it is anything else."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return
    yield from (each for each in (found if isinstance(found, list) else [found]) if isinstance(each, dict))
