"""How long an inserted row waits until it is processing: with LISTEN, by polling alone, and with a slow network."""

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import quantiles

import psycopg

from bench.fleet import NOTHING, Fleet, until
from bench.measure import Bench, Row, insert_task, new_user, one
from bench.network import slowed

SEED = 3
ROUND_TRIP = 0.020
"""Seconds that the slow network adds to each round trip to the database, half of it each way."""
LOOK_EVERY = 0.0005
"""Seconds between two looks at the row; what is measured is so much too long at most."""
POOLED = "?pgbouncer=true"
"""Says that no LISTEN is to be had at this address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A way to learn of new rows, the network to the database, and how to look for it."""

    name: str
    suffix: str
    round_trip: float
    samples: int
    pause: float
    """Seconds between two tasks at most; as long as a poll, so that they come at any moment of it."""


CASES = (
    Case(name="LISTEN", suffix="", round_trip=0, samples=150, pause=0.1),
    Case(name="LISTEN, 20 ms a round trip", suffix="", round_trip=ROUND_TRIP, samples=80, pause=0.1),
    Case(name="poll alone", suffix=POOLED, round_trip=0, samples=20, pause=1.0),
    Case(name="poll alone, 20 ms a round trip", suffix=POOLED, round_trip=ROUND_TRIP, samples=20, pause=1.0),
)


def measure(bench: Bench) -> Iterator[Row]:
    """The median and the 99th percentile of each case; the first case is what the others are compared with."""
    first: tuple[Row | None, Row | None] = (None, None)
    for case in CASES:
        halves, hundredths = zip(*latencies(bench, case), strict=True)
        rows = (
            Row.of("pickup", f"{case.name}, p50", halves, "ms", against=first[0]),
            Row.of("pickup", f"{case.name}, p99", hundredths, "ms", against=first[1]),
        )
        yield from rows
        first = (first[0] or rows[0], first[1] or rows[1])


def latencies(bench: Bench, case: Case) -> Iterator[tuple[float, float]]:
    """p50 and p99 in milliseconds, once a repeat."""
    with (
        slowed(bench.worker_url, round_trip=case.round_trip) as url,
        Fleet(bench, DATABASE_URL=url.libpq + case.suffix, CODINGIT_CONCURRENCY="2") as fleet,
        bench.connect() as connection,
    ):
        fleet.worker(NOTHING)
        fleet.dispatcher()
        chance = random.Random(SEED)  # noqa: S311 - no secret
        user = new_user(connection)
        for _ in range(5):
            latency(connection, user)
        for _ in range(bench.repeats):
            cuts = quantiles([measured(connection, user, chance, case) for _ in range(case.samples)], n=100)
            yield cuts[49] * 1000, cuts[98] * 1000


def measured(connection: psycopg.Connection, user: str, chance: random.Random, case: Case) -> float:
    """One latency, after a pause."""
    time.sleep(chance.uniform(case.pause / 10, case.pause))
    return latency(connection, user)


def latency(connection: psycopg.Connection, user: str) -> float:
    """Seconds from the answer to the INSERT until the row is seen not to be pending any more."""
    task = insert_task(connection, user)
    began = time.perf_counter()
    taken = "SELECT count(*) FROM public.tasks WHERE id = %s AND status <> 'pending'"
    until(lambda: one(connection.execute(taken, [task])), every=LOOK_EVERY, what="the task is taken")
    seconds = time.perf_counter() - began
    over = "SELECT count(*) FROM public.tasks WHERE id = %s AND status = 'completed'"
    until(lambda: one(connection.execute(over, [task])), what="the task is over")
    return seconds
