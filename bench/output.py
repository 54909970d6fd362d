"""How fast an agent's output is taken in, on one core, and by which of its steps that is bounded."""

import gzip
import itertools
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time

from bench.logs import WORDS
from bench.measure import Bench, Row
from worker.agents import Job, Parser, find
from worker.run.redaction import Redactor
from worker.run.streams import CHUNK, Lines
from worker.run.text import legible
from worker.run.transcript import COMPRESSION, MEMBER_SIZE, Transcript

SIZE = 8 * 10**6
"""Bytes of output."""
SECRETS = tuple(f"{kind}-0123456789abcdef0123456789" for kind in ("sk-ant", "token", "password", "another"))
"""As many as a worker with a key, a git token and two servers has."""
JOB = Job(task_id=1, prompt="", model=None, workspace=Path("/work/repo"), home=Path("/work/home"))


def measure(bench: Bench) -> Iterator[Row]:
    """Each step by itself, then all together as a run does them; they take turns."""
    output = transcript_of_claude()
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(bench.repeats):
        for way, takes in WAYS.items():
            found[way].append(len(output) / 1e6 / seconds(takes, output))
    plain = Row.of("output", PLAIN, found[PLAIN], "MB/s")
    yield plain
    for way in list(WAYS)[1:]:
        yield Row.of("output", way, found[way], "MB/s", against=plain)


def seconds(takes: Callable[[bytes], None], output: bytes) -> float:
    """How long one core is busy with it."""
    began = process_time()
    takes(output)
    return process_time() - began


def transcript_of_claude() -> bytes:
    """What claude prints of a long run: words, edits, commands, and what these have printed."""
    chosen = random.Random(11)  # noqa: S311 - no secret
    output = bytearray()
    for number in itertools.count():
        output += turn(chosen, number)
        if len(output) > SIZE:
            break
    return bytes(output)


def turn(chosen: random.Random, number: int) -> bytes:
    """A message of the model, and the result of its tool: from a line to some thousand."""
    name, given = chosen.choice([
        ("Bash", {"command": f"python -m pytest tests/test_{number}.py"}),
        ("Write", {"file_path": f"/work/repo/src/module_{number}.py", "content": prose(chosen, 40)}),
        ("Read", {"file_path": f"/work/repo/src/module_{number}.py"}),
    ])  # fmt: skip
    said = [
        {"type": "text", "text": prose(chosen, 1)},
        {"type": "tool_use", "id": f"t{number}", "name": name, "input": given},
    ]
    printed = prose(chosen, chosen.choice((1, 20, 200, 1_000)))
    result = {"type": "tool_result", "tool_use_id": f"t{number}", "content": printed, "is_error": number % 7 == 0}
    return b"".join(
        json.dumps({"type": kind, "message": {"role": kind, "content": content}}).encode() + b"\n"
        for kind, content in (("assistant", said), ("user", [result]))
    )


def prose(chosen: random.Random, lines: int) -> str:
    """So many lines of words."""
    return "\n".join(" ".join(chosen.choices(WORDS, k=12)) for _ in range(lines))


# The steps ------------------------------------------------------------------------------------------------------------


def read(output: bytes) -> None:
    """Cut into lines."""
    by_line(output, lambda _: None)


def parse(output: bytes) -> None:
    """Make events of the lines."""
    parser = claude()

    def on_line(line: bytes) -> None:
        parser.feed(line)

    by_line(output, on_line)


def purify(output: bytes) -> None:
    """Take away what only a terminal obeys, as the transcript does."""

    def on_line(line: bytes) -> None:
        legible(line.decode() + "\n")

    by_line(output, on_line)


def redact(output: bytes) -> None:
    """Look for secrets, as the transcript does."""
    stream = Redactor(SECRETS).stream()

    def on_line(line: bytes) -> None:
        stream.feed(line.decode() + "\n")

    by_line(output, on_line)


def compress(output: bytes) -> None:
    """Compress, as the transcript does."""
    for start in range(0, len(output), MEMBER_SIZE):
        gzip.compress(output[start : start + MEMBER_SIZE], compresslevel=COMPRESSION)


def take_in(output: bytes) -> None:
    """All that a run does with its agent's output, but for writing to the database."""
    parser = claude()
    with TemporaryDirectory() as folder:
        transcript = Transcript(Path(folder) / "1" / "1.log.gz", redactor=Redactor(SECRETS))

        def on_line(line: bytes) -> None:
            transcript.raw(line + b"\n")
            for event in parser.feed(line):
                transcript.add(event.type, event.message)

        by_line(output, on_line)
        transcript.batch(0.0)
        transcript.close()


def by_line(output: bytes, each: Callable[[bytes], None]) -> None:
    """As the pump does it: chunk by chunk, line by line."""
    lines = Lines(each)
    for start in range(0, len(output), CHUNK):
        lines.feed(output[start : start + CHUNK])
    lines.end()


def claude() -> Parser:
    """Its parser."""
    return find("claude").parser(JOB)


PLAIN = "cut into lines, and no more"
WAYS: dict[str, Callable[[bytes], None]] = {
    PLAIN: read,
    "parser": parse,
    "made legible": purify,
    "redaction": redact,
    "compressed": compress,
    "parser, redaction and transcript": take_in,
}
