"""What cleaning up costs, and whom: in batches, as a sweep does, and by one DELETE that cascades, as the seed does."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from multiprocessing import get_context
from statistics import quantiles
from time import perf_counter, sleep
from typing import LiteralString

from bench.jobs import JOBS, Job
from bench.measure import Bench, Row, one, wal_position
from bench.traffic import LIVE, Calls, beside
from db.engine import engine
from worker import log
from worker.maintenance import policies, sweep
from worker.maintenance.retention import RetentionPolicy
from worker.maintenance.sweep import Ended, Report
from worker.settings import Settings

SMALLER = 10
"""The smaller size is the larger one divided by this."""
QUIET = 10.0
"""Seconds for which calls are timed while nothing is cleaned up."""


@dataclass(slots=True, kw_only=True)
class Found:
    """What one way of doing it took with nothing else going on, an entry a repeat."""

    seconds: list[float] = field(default_factory=list)
    longest: list[float] = field(default_factory=list)
    """Milliseconds of the longest transaction."""
    wal: list[float] = field(default_factory=list)
    """Bytes."""


def measure(bench: Bench) -> Iterator[Row]:
    """Each job at two sizes; at the larger against one DELETE, and what other users notice of either."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as worker:
        worker.submit(awake).result()  # a worker has long begun when a sweep does
        for job in JOBS:
            with filled(bench, replace(job, count=job.count // SMALLER)) as less, filled(bench, job) as all_of_it:
                yield from compared(less, all_of_it, job)
                yield from noticed(all_of_it, job, worker)


def compared(less: Bench, all_of_it: Bench, job: Job) -> Iterator[Row]:
    """What a sweep costs beside one DELETE, which takes turns with it, and beside a sweep of a tenth."""
    tenth, ours, single = Found(), Found(), Found()
    smaller = replace(job, count=job.count // SMALLER)
    for _ in range(all_of_it.repeats):
        for source, some, way, found in (
            (less, smaller, in_batches, tenth),
            (all_of_it, job, in_batches, ours),
            (all_of_it, job, at_once, single),
        ):
            with fresh(source) as copy:
                way(copy, some, found)
                with copy.connect() as connection:
                    assert one(connection.execute(some.kept)) == some.removed
    seconds = partial(pair, job, f"{job.count:,} of {2 * job.count:,}", "s")
    yield from seconds(single.seconds, ours.seconds)
    fewer = row(job, f"{smaller.count:,} of {2 * smaller.count:,}, sweep", tenth.seconds, "s")
    yield fewer
    yield row(job, "ten times as many, sweep", ours.seconds, "s", against=fewer)
    yield from pair(job, "speed", "rows/s", *([job.removed / each for each in way.seconds] for way in (single, ours)))
    yield from pair(job, "longest transaction", "ms", single.longest, ours.longest)
    yield from pair(job, "WAL", "bytes/row", *([each / job.removed for each in way.wal] for way in (single, ours)))


def noticed(bench: Bench, job: Job, worker: Executor) -> Iterator[Row]:
    """The p99 of a claim and of a refresh, of all repeats together, beside nothing, a sweep, and one DELETE."""
    alone, ours, single = Calls(), Calls(), Calls()
    for _ in range(bench.repeats):
        for meanwhile, calls in (
            (nothing, alone),
            (partial(sweep_in, worker, job), ours),
            (partial(delete, job.single), single),
        ):
            with fresh(bench) as copy:
                beside(copy, meanwhile, calls)
    for call, of in (("claim", claims_of), ("refresh", refreshes_of)):
        base = row(job, f"p99 of a {call} beside nothing", [p99(of(alone))], "ms")
        yield base
        for way, calls in (("one DELETE", single), ("a sweep", ours)):
            yield row(job, f"p99 of a {call} beside {way}", [p99(of(calls))], "ms", against=base)
    yield row(job, "live refreshes held up, sweep", [ours.held_up], "refreshes")


def pair(job: Job, name: str, unit: str, single: Sequence[float], ours: Sequence[float]) -> tuple[Row, Row]:
    """What the single DELETE took, and beside it what a sweep did."""
    base = row(job, f"{name}, one DELETE", single, unit)
    return base, row(job, f"{name}, sweep", ours, unit, against=base)


def row(job: Job, case: str, values: Sequence[float], unit: str, *, against: Row | None = None) -> Row:
    """One row of this job."""
    return Row.of("lifecycle", f"{job.policy}: {case}", values, unit, against=against)


def p99(values: Sequence[float]) -> float:
    """What 99 of 100 did not exceed."""
    return quantiles(values, n=100)[98]


def claims_of(calls: Calls) -> Sequence[float]:
    """Milliseconds of each claim."""
    return calls.claims


def refreshes_of(calls: Calls) -> Sequence[float]:
    """Milliseconds of each refresh."""
    return calls.refreshes


@contextmanager
def filled(bench: Bench, job: Job) -> Iterator[Bench]:
    """A database with twice as many as there are to remove, its statistics known, to be copied."""
    with bench.copied() as copy:
        with copy.connect() as connection:
            connection.execute("SET session_replication_role = replica")  # foreign keys are not checked
            for statement in (LIVE + ";\n" + job.fill.format(count=job.count)).split(";\n"):
                connection.execute(statement.encode())
            connection.execute("VACUUM ANALYZE")
        yield replace(copy, template=copy.url)


@contextmanager
def fresh(filled: Bench) -> Iterator[Bench]:
    """A copy, on disk as what was written long ago; and in memory, of which else each size would have its own share."""
    with filled.copied() as copy:
        with copy.connect() as connection:
            connection.execute("CHECKPOINT")
            connection.execute("CREATE EXTENSION pg_prewarm")
            connection.execute("SELECT pg_prewarm(oid) FROM pg_class WHERE relkind IN ('r', 'i', 't')")
        yield copy


def in_batches(bench: Bench, job: Job, found: Found) -> None:
    """A sweep, without its pauses, which are for others' sake."""
    with bench.connect() as watching:
        before = wal_position(watching)
        report = carry_out(bench, job, gently=False)
        found.wal.append(wal_position(watching) - before)
    found.seconds.append(report.seconds)
    found.longest.append(1000 * report.longest)


def at_once(bench: Bench, job: Job, found: Found) -> None:
    """One statement, whose cascades do the rest."""
    with bench.connect() as connection:
        before, began = wal_position(connection), perf_counter()
        connection.execute(job.single)
        seconds = perf_counter() - began
        found.wal.append(wal_position(connection) - before)
    found.seconds.append(seconds)
    found.longest.append(1000 * seconds)


def carry_out(bench: Bench, job: Job, *, gently: bool) -> Report:
    """A sweep of all there is to remove."""
    database = engine(bench.url)
    try:
        report = sweep.carry_out(policy_of(job.policy, gently=gently), database)
    finally:
        database.dispose()
    assert (report.ended, report.removed) == (Ended.DONE, job.count), report
    return report


def policy_of(name: str, *, gently: bool) -> RetentionPolicy:
    """As it is without any settings; `gently` is with its pauses."""
    policy = replace(policies.named(Settings(_env_file=None), name), budget=timedelta(hours=1))
    return policy if gently else replace(policy, pause=timedelta())


def awake() -> None:
    """Let a process have everything imported, and its log out of what is printed."""
    log.configure(level="INFO", form="console")


def nothing(_bench: Bench) -> None:
    """Let some time pass."""
    sleep(QUIET)


def sweep_in(worker: Executor, job: Job, bench: Bench) -> None:
    """A sweep in a process of its own, pauses included."""
    worker.submit(carry_out, bench, job, gently=True).result()


def delete(statement: LiteralString, bench: Bench) -> None:
    """One DELETE."""
    with bench.connect() as connection:
        connection.execute(statement)
