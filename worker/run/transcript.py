"""The log of one attempt: entries buffered for the database in few writes, and the whole output gzipped in a file."""

import codecs
import gzip
import json
import os
import secrets
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import structlog

from worker.run.redaction import Redactor
from worker.run.text import clip, legible, storable

log = structlog.get_logger(__name__)

EntryType = Literal["info", "command", "error", "success"]

MESSAGE_LIMIT = 16_000
"""How large one message may be, in bytes of UTF-8."""
HEAD_LIMIT, TAIL_LIMIT = 100_000, 350_000
"""How much of the beginning and of the end is kept while the database is away, in bytes as stored."""
LONGEST_LINE = 65_536
"""An unfinished line that is longer is taken in pieces, in which an escape sequence may be cut in two."""
MEMBER_SIZE = 256_000
"""The file grows by whole gzip members of at most about so many characters: what is written stays readable."""
COMPRESSION = 4
"""Four times as fast as gzip's usual 6, for files that are a tenth larger."""

# When to write. Each write costs what is stored, not what is new: Postgres rewrites the whole log.
#  - Entries as large as a quarter of what is stored are written at once: the log grows by a quarter each
#    time, so all writes together come to five times the text, however many lines it has.
#  - Fewer wait until `patience` has passed since the last write: a trickle rewrites PACE bytes a second at most.
#    Measured from the last write and not from the first entry, so that what follows a silence is shown at once.
#  - No two writes are closer than SOONEST; a write that failed is tried AGAIN a second later at the earliest.
SHARE = 0.25
PACE = 45_000
SOONEST, AGAIN, LATEST = 0.3, 1.0, 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry as it is stored; its repr leaves the message out, which is not yet redacted while it is buffered."""

    id: str
    timestamp: str
    type: EntryType
    message: str = field(repr=False)

    def as_dict(self) -> dict[str, str]:
        """The entry as the web app reads it."""
        return {"id": self.id, "timestamp": self.timestamp, "type": self.type, "message": self.message}

    @property
    def size(self) -> int:
        """How many bytes it takes within the stored array."""
        return len(json.dumps(self.as_dict(), ensure_ascii=False).encode()) + 2


@dataclass(frozen=True, slots=True)
class Batch:
    """The entries of one write, clean and redacted; it stays the same until it is known to be written."""

    number: int
    """Counts the writes of this attempt from 1: by it the database knows a repeat."""
    entries: tuple[Entry, ...]

    def as_dicts(self) -> list[dict[str, str]]:
        """The entries as the database takes them."""
        return [entry.as_dict() for entry in self.entries]


class Transcript:
    """
    What an attempt had to say. It never fails: the database may be away and the disk full.

    The caller's loop: while `due(now)`, write `batch(now)`, and once that is known to be written, say so by
    `written`. A batch whose outcome is unknown comes again, unchanged, until then. A change of status takes the batch
    without asking whether it is due. `now` is `time.monotonic()`.
    """

    def __init__(self, path: Path, *, redactor: Redactor) -> None:
        self._redactor = redactor
        self._recording = Recording(path, redactor)
        self._buffer = Buffer()
        self._pending: Batch | None = None
        self._batches = 0
        self._stored = 0
        self._tried = float("-inf")
        self._tail = ""

    def clean(self, text: str) -> str:
        """A text made fit to be stored and shown anywhere: storable, masked, and not too long."""
        return clip(self._redactor(storable(text)), MESSAGE_LIMIT).strip()

    @property
    def recorded(self) -> bool:
        """Whether the file holds the whole output so far; False once it could not be written."""
        return not self._recording.stopped

    @property
    def unsettled(self) -> Batch | None:
        """The batch that was tried and is not known to be written, if there is one."""
        return self._pending

    def add(self, kind: EntryType, message: bytes | str) -> None:
        """Buffer one entry, made storable; a message that shows nothing is dropped."""
        text = storable(message).strip("\n").rstrip()
        if text and len(text) * 4 > MESSAGE_LIMIT:
            text = shortened(text, self._redactor)
        if text:
            self._buffer.add(Entry(id=new_id(), timestamp=timestamp(), type=kind, message=text))

    def raw(self, chunk: bytes) -> None:
        """Keep a piece of the output, as it came, in the file."""
        self._recording.write(chunk)

    def due(self, now: float) -> bool:
        """Whether the next write is worth its cost."""
        waited = now - self._tried
        if self._pending:
            return waited >= max(AGAIN, patience(self._stored))
        enough = self._buffer.size >= SHARE * self._stored
        return bool(self._buffer) and waited >= (SOONEST if enough else patience(self._stored))

    def batch(self, now: float) -> Batch | None:
        """What to write next: the batch not known to be written, else all that is buffered; None for nothing."""
        if self._pending is None and self._buffer:
            self._batches += 1
            taken, self._buffer = self._buffer.entries(), Buffer()
            self._pending = Batch(self._batches, tuple(self._redacted(taken)))
            self._recording.flush()
        if self._pending:
            self._tried = now
        return self._pending

    def written(self, batch: Batch, *, stored: int) -> None:
        """The batch is in the database, whose log now takes `stored` bytes."""
        if batch is self._pending:
            self._pending = None
            self._stored = stored

    def close(self) -> None:
        """Write the rest of the output to the file; entries not yet written are not lost by it."""
        self._recording.close()

    def _redacted(self, entries: list[Entry]) -> Iterator[Entry]:
        """The entries masked, also of secrets that run from one into the next, or began in the batch before."""
        texts = [self._tail, *(entry.message for entry in entries)]
        self._tail = "".join(texts)[-self._redactor.reach :]
        for entry, message in zip(entries, self._redactor.across(texts)[1:], strict=True):
            yield replace(entry, message=message)


class Buffer:
    """Entries in order, of bounded size: past the limit the middle gives way to one entry that says how many it was."""

    def __init__(self) -> None:
        self.size = 0
        self._head: list[Entry] = []
        self._tail: deque[tuple[Entry, int]] = deque()
        self._tail_size = 0
        self._elided = 0

    def __bool__(self) -> bool:
        return bool(self._head or self._tail)

    def add(self, entry: Entry) -> None:
        """Append the entry; may elide the oldest that is no longer part of the beginning."""
        size = entry.size
        self.size += size
        if not self._tail and self.size <= HEAD_LIMIT:
            self._head.append(entry)
            return
        self._tail.append((entry, size))
        self._tail_size += size
        while self._tail_size > TAIL_LIMIT:
            self._elide()

    def entries(self) -> list[Entry]:
        """All entries, with a marker in place of the missing."""
        marker = [elision(self._elided)] if self._elided else []
        return [*self._head, *marker, *(entry for entry, _ in self._tail)]

    def _elide(self) -> None:
        _, size = self._tail.popleft()
        self._tail_size -= size
        self.size -= size
        self._elided += 1


class Recording:
    """
    The whole output of an attempt in a file of gzip members, redacted, of mode 0600 in folders of mode 0700.

    The first error of the disk ends it with one warning; what was written before stays readable.
    """

    def __init__(self, path: Path, redactor: Redactor) -> None:
        self.stopped = False
        self._path = path
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._stream = redactor.stream()
        self._line = ""
        self._settled: list[str] = []
        self._size = 0

    def write(self, chunk: bytes) -> None:
        """Take a piece of the output."""
        if not self.stopped:
            self._line += self._decode(chunk)
            self._take(self._line.rfind("\n") + 1 or (len(self._line) // LONGEST_LINE) * LONGEST_LINE)
            if self._size >= MEMBER_SIZE:
                self.flush()

    def flush(self) -> None:
        """Bring to the disk what is settled: all but an unfinished line."""
        if not self._settled or self.stopped:
            return
        member = gzip.compress("".join(self._settled).encode(), compresslevel=COMPRESSION)
        self._settled, self._size = [], 0
        try:
            append(self._path, member)
        except OSError as error:
            self.stopped = True
            log.warning("transcript.stopped", error=str(error))

    def close(self) -> None:
        """Bring the rest to the disk."""
        self._line += self._decode(b"", True)
        self._take(len(self._line))
        self._keep(self._stream.close())
        self.flush()

    def _take(self, length: int) -> None:
        """Take whole lines, made legible before secrets are looked for: a colour may change in the middle of one."""
        if length:
            whole, self._line = self._line[:length], self._line[length:]
            self._keep(self._stream.feed(legible(whole)))

    def _keep(self, text: str) -> None:
        if text:
            self._settled.append(text)
            self._size += len(text)


def transcript_path(folder: Path, *, task_id: int, fence: int) -> Path:
    """Where the output of an attempt is kept; never a file of another database's task of the same number."""
    return folder.expanduser() / str(task_id) / f"{fence}-{secrets.token_hex(3)}.log.gz"


def append(path: Path, content: bytes) -> None:
    """Add the content to the file, all of it or nothing; the file and its two folders are made for us alone."""
    for folder in (path.parent.parent, path.parent):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    before = os.fstat(descriptor).st_size
    try:
        while content:
            content = content[os.write(descriptor, content) :]
    except OSError:
        os.ftruncate(descriptor, before)
        raise
    finally:
        os.close(descriptor)


def patience(stored: int) -> float:
    """How many seconds after a write a few new entries wait: the longer, the more the next write has to repeat."""
    return min(max(stored / PACE, SOONEST), LATEST)


def shortened(text: str, redactor: Redactor) -> str:
    """A large message masked and then clipped; in this order, or half a secret could stay at the cut."""
    return clip(redactor(text), MESSAGE_LIMIT) if len(text.encode()) > MESSAGE_LIMIT else text


def new_id() -> str:
    """A nanoid: 21 characters of its alphabet, 126 bits."""
    return secrets.token_urlsafe(16)[:21]


def timestamp() -> str:
    """Now, as the web app's `toISOString()` writes it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def elision(count: int) -> Entry:
    """The entry in place of `count` others; its id carries the count, by which the database adds up its own."""
    message = f"{count} entries left out here; the whole transcript is kept by the worker."
    return Entry(id=f"elided-{count:014}", timestamp=timestamp(), type="info", message=message)


def closing(
    outcome: str,
    took: timedelta,
    *,
    branch: str | None = None,
    commit: str | None = None,
    pull_request: str | None = None,
    reason: str | None = None,
    recorded: bool = True,
) -> tuple[EntryType, str]:
    """The last entry of an attempt: how it ended, after how long, where its work is, and what is missing here."""
    kinds: dict[str, EntryType] = {"completed": "success", "error": "error"}
    sentences = [f"{outcome.replace('_', ' ').capitalize()} after {took.total_seconds():.1f} seconds"]
    if reason:
        sentences[0] += f": {reason}"
    if branch:
        sentences.append(f"Branch {branch}" + (f" at commit {commit}" if commit else ""))
    if pull_request:
        sentences.append(f"Pull request: {pull_request}")
    if not recorded:
        sentences.append("The worker could not keep the whole transcript of this run")
    return kinds.get(outcome, "info"), " ".join(ended(sentence) for sentence in sentences)


def ended(sentence: str) -> str:
    """The sentence with a mark at its end, if it has none."""
    return sentence if sentence.endswith((".", "!", "?", "…")) else f"{sentence}."
