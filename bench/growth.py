"""What offer and claim cost as the table grows: a thousand pending rows, then a million beside a million finished."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from time import perf_counter

import psycopg

from bench.measure import Bench, Row
from db.engine import Database
from db.queries import queue

ROOM = 100
"""Tasks an offer is asked for: a whole window, the dispatcher's default."""
ROUNDS, WARM_UP = 10, 5
"""Rounds a repeat, and before the first."""
FILL = """
INSERT INTO public.tasks (user_id, status, prompt, selected_agent, logs)
SELECT users.ids[1 + n %% cardinality(users.ids)], %s, 'Add a page that says hello', 'claude',
    jsonb_build_array(worker.entry('info', 'Attempt 1 begins.'))
FROM (SELECT array_agg(id) AS ids FROM auth.users) users, generate_series(1, %s) n
"""
"""Users' rows lie scattered over the table, as they come in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How large the table is."""

    name: str
    users: int
    pending: int
    finished: int


SIZES = (
    Size(name="1k pending", users=1_000, pending=1_000, finished=0),
    Size(name="1M pending, 10k users, 1M finished", users=10_000, pending=1_000_000, finished=1_000_000),
)


@dataclass(slots=True, kw_only=True)
class Measured:
    """One size's connections and what was found: milliseconds, a list a repeat."""

    owner: psycopg.Connection
    worker: Database
    offers: list[float] = field(default_factory=list)
    claims: list[float] = field(default_factory=list)


def measure(bench: Bench) -> Iterator[Row]:
    """Both sizes take turns, so that a slow minute of the machine is both's."""
    with ExitStack() as stack:
        measured = {size.name: prepared(bench, size, stack) for size in SIZES}
        for each in measured.values():
            rounds(each, WARM_UP)
        for _ in range(bench.repeats):
            for each in measured.values():
                offer, claim = rounds(each, ROUNDS)
                each.offers.append(offer)
                each.claims.append(claim)
    small, large = measured.values()
    yield from compared(f"offer of {ROOM}", small.offers, large.offers)
    yield from compared("claim", small.claims, large.claims)


def compared(what: str, small: list[float], large: list[float]) -> tuple[Row, Row]:
    """The same call at both sizes."""
    first = Row.of("growth", f"{what}, {SIZES[0].name}", small, "ms")
    return first, Row.of("growth", f"{what}, {SIZES[1].name}", large, "ms", against=first)


def prepared(bench: Bench, size: Size, stack: ExitStack) -> Measured:
    """A table of this size, and connections to it."""
    copy = stack.enter_context(bench.copied())
    owner = stack.enter_context(copy.connect())
    owner.execute("SET session_replication_role = replica")  # rows come in without foreign keys being checked
    owner.execute("INSERT INTO auth.users (id) SELECT gen_random_uuid() FROM generate_series(1, %s)", [size.users])
    owner.execute(FILL, ["completed", size.finished])
    owner.execute(FILL, ["pending", size.pending])
    owner.execute("VACUUM ANALYZE public.tasks")
    owner.execute("CHECKPOINT")
    return Measured(owner=owner, worker=stack.enter_context(Database(copy.worker_url)))


def rounds(measured: Measured, count: int) -> tuple[float, float]:
    """Milliseconds of one offer and of one claim, the means of so many rounds."""
    offers: list[float] = []
    claims: list[float] = []
    for _ in range(count):
        began = perf_counter()
        offered = queue.offer(measured.worker, ROOM, per_user=5, timeout=timedelta(minutes=1))
        offers.append(perf_counter() - began)
        assert len(offered) == ROOM
        claims += [claim(measured.worker, task) for task in offered]
        restore(measured.owner, offered)
    return 1000 * sum(offers) / len(offers), 1000 * sum(claims) / len(claims)


def claim(database: Database, task: int) -> float:
    """Seconds of one claim."""
    began = perf_counter()
    claimed = queue.claim(
        database,
        task,
        holder="bench",
        celery_id=None,
        ttl=timedelta(minutes=5),
        per_user=5,
        prompt_limit=1000,
    )
    seconds = perf_counter() - began
    assert claimed
    return seconds


def restore(owner: psycopg.Connection, tasks: list[int]) -> None:
    """Let them be pending as before; what that leaves behind is vacuumed away, as autovacuum would in time."""
    owner.execute("UPDATE public.tasks SET status = 'pending', progress = 0 WHERE id = ANY(%s)", [tasks])
    owner.execute("DELETE FROM worker.leases")
    owner.execute("DELETE FROM worker.runs")
    owner.execute("VACUUM worker.leases, worker.runs")
