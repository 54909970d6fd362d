"""What it costs to write a log of n lines: through the transcript's batches, line by line, and as the web app does."""

import random
import string
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from time import perf_counter

from psycopg.types.json import Jsonb

from bench.measure import Bench, Row, wal_position
from db.engine import Database
from db.queries import queue
from worker.run.redaction import Redactor
from worker.run.transcript import Transcript

WORDS = [a + b + c for a in string.ascii_lowercase[::2] for b in "aeiou" for c in ("rtin", "nd", "sking", "l")]
LINES = (500, 5_000, 20_000)
SLOW_LINES = 2_000
"""One line a write takes time in the square of the lines: more of them would only prolong the benchmark."""
LINES_A_SECOND = 2_000
"""How fast the agent prints, on the clock that decides about flushes; the writes themselves are as fast as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A way to write, and how many lines."""

    way: str
    write: Callable[[Bench, int], None]
    count: int

    @property
    def name(self) -> str:
        """As the table calls it."""
        return f"{self.way}, {self.count:,} lines"


def measure(bench: Bench) -> Iterator[Row]:
    """Lines a second, and bytes of WAL a byte of text, as the log grows; then the two naive ways beside ours."""
    ours = [Case(way="in batches", write=in_batches, count=count) for count in (*LINES, SLOW_LINES)]
    naive = [
        Case(way="one line a write", write=one_by_one, count=SLOW_LINES),
        Case(way="read, add, write back", write=read_modify_write, count=SLOW_LINES),
    ]
    cost(bench, in_batches, LINES[0])  # warms up
    costs = {case: [cost(bench, case.write, case.count) for _ in range(bench.repeats)] for case in ours + naive}
    for case in ours:
        yield from rows(case, costs[case])
    against = tuple(rows(ours[-1], costs[ours[-1]]))
    for case in naive:
        yield from rows(case, costs[case], against=against)


def rows(
    case: Case, costs: list[tuple[float, float]], *, against: tuple[Row | None, ...] = (None, None)
) -> Iterator[Row]:
    """Speed and WAL of one case."""
    speed, wal = against
    rates = [case.count / seconds for seconds, _ in costs]
    yield Row.of("logs", case.name, rates, "lines/s", against=speed)
    yield Row.of("logs", case.name, [bytes_ for _, bytes_ in costs], "bytes of WAL a byte of text", against=wal)


def cost(bench: Bench, write: Callable[[Bench, int], None], count: int) -> tuple[float, float]:
    """Seconds, and WAL bytes a byte of text, of writing `count` lines."""
    text = sum(len(line(n)) for n in range(count))
    with bench.connect() as connection:
        connection.execute("VACUUM public.tasks")  # what autovacuum would do in the middle of the next measurement
        connection.execute("CHECKPOINT")
        before, began = wal_position(connection), perf_counter()
        write(bench, count)
        seconds = perf_counter() - began
        return seconds, (wal_position(connection) - before) / text


@cache
def line(number: int) -> str:
    """What an agent prints: about 100 characters, no two lines alike, and as little to compress as in prose."""
    words = " ".join(random.Random(number).choices(WORDS, k=8))  # noqa: S311 - no secret
    return f"{number:06} compiled src/module_{number * 7919 % 10007}.py in {number * 31 % 977} ms: {words}"


def in_batches(bench: Bench, count: int) -> None:
    """As a run does it: the transcript decides when to write, on a clock of its own."""
    with Database(bench.url) as database, tempfile.TemporaryDirectory() as folder:
        claim = claimed(bench, database)
        transcript = Transcript(Path(folder) / "1" / "1.log.gz", redactor=Redactor(["a-secret-of-the-worker"]))

        def write(now: float) -> None:
            batch = transcript.batch(now)
            if batch:
                appended = queue.append(
                    database,
                    claim.task_id,
                    fence=claim.fence,
                    flush=batch.number,
                    entries=batch.as_dicts(),
                    progress=50,
                )
                transcript.written(batch, stored=appended.stored)

        for number in range(count):
            transcript.add("info", line(number))
            if transcript.due(number / LINES_A_SECOND):
                write(number / LINES_A_SECOND)
        write(count / LINES_A_SECOND)
        transcript.close()


def one_by_one(bench: Bench, count: int) -> None:
    """Each line a write of its own, with the `||` operator."""
    task = bench.task()
    append = "UPDATE public.tasks SET logs = logs || %s, updated_at = now() WHERE id = %s"
    with bench.connect() as connection:
        for number in range(count):
            connection.execute(append, [Jsonb([{"type": "info", "message": line(number)}]), task])


def read_modify_write(bench: Bench, count: int) -> None:
    """As the web app does it: read the whole log, add a line, write the whole log."""
    task = bench.task()
    with bench.connect() as connection:
        for number in range(count):
            found = connection.execute("SELECT logs FROM public.tasks WHERE id = %s", [task]).fetchone()
            assert found
            logs = [*found[0], {"type": "info", "message": line(number)}]
            connection.execute(
                "UPDATE public.tasks SET logs = %s, updated_at = now() WHERE id = %s", [Jsonb(logs), task]
            )


def claimed(bench: Bench, database: Database) -> queue.Claim:
    """A task that this benchmark runs."""
    claim = queue.claim(
        database,
        bench.task(),
        holder="bench",
        celery_id=None,
        ttl=timedelta(hours=1),
        per_user=1,
        prompt_limit=1000,
    )
    assert claim
    return claim
