"""What the protocol costs on a large queue: the plans that are really used, and the rows and pages that they touch."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from typing import TypeVar
from urllib.parse import urlsplit

import psycopg
import pytest

from db.engine import Database
from db.queries import queue
from db.url import DatabaseUrl
from tests.conftest import WORKER_PASSWORD
from tests.integration.queue.conftest import TTL, append, finish, offer, recover, try_claim
from tests.integration.queue_proof import crowd
from tests.support.databases import copied
from tests.support.plans import Plans, Watched
from tests.support.rows import Rows
from worker.local.servers import Addresses

Thing = TypeVar("Thing")
AGAIN = 8
"""Calls of each kind: after the fifth, PostgreSQL may choose a plan that fits any parameters."""
BATCH = 100


@pytest.fixture(scope="module")
def crowded(stack: Addresses, template: str) -> Iterator[DatabaseUrl]:
    """A large queue, to be copied."""
    with copied(stack.database_url, template) as url:
        crowd.fill(url, users=2_000, pending=200_000, of_one=20_000, ended=500_000, running=2_000)
        yield url


@pytest.fixture(scope="module", params=["analysed", "never analysed"])
def owner_of_many(stack: Addresses, crowded: DatabaseUrl, request: pytest.FixtureRequest) -> Iterator[DatabaseUrl]:
    """A copy of it, with the statistics that autovacuum makes, or with none as right after a bulk load."""
    with copied(stack.database_url, urlsplit(crowded.libpq).path.removeprefix("/")) as url:
        if request.param == "analysed":
            with psycopg.connect(url.libpq, autocommit=True) as connection:
                connection.execute("ANALYZE")
        yield url


@pytest.fixture(scope="module")
def many(owner_of_many: DatabaseUrl) -> Iterator[Watched]:
    """A worker there."""
    yield from watching(owner_of_many)


@pytest.fixture(scope="module")
def at_first(stack: Addresses, crowded: DatabaseUrl) -> Iterator[Watched]:
    """A worker at the same queue when nothing of it was ever offered, and the statistics say so."""
    with copied(stack.database_url, urlsplit(crowded.libpq).path.removeprefix("/")) as url:
        with psycopg.connect(url.libpq, autocommit=True) as connection:
            connection.execute("TRUNCATE worker.leases, worker.runs")
            connection.execute("ANALYZE")
        yield from watching(url)


@pytest.fixture
def few(owner_url: DatabaseUrl) -> Iterator[Watched]:
    """A worker at a small queue: 20 users, 2,000 pending tasks."""
    crowd.fill(owner_url, users=20, pending=2_000)
    yield from watching(owner_url)


def watching(owner_url: DatabaseUrl) -> Iterator[Watched]:
    """A worker whose plans are reported."""
    crowd.report_plans(owner_url)
    opened = Watched(owner_url.as_role("task_worker", WORKER_PASSWORD))
    yield opened
    opened.close()


def plans_of(worker: Watched, call: Callable[[Database, Thing], object], things: Iterable[Thing]) -> list[Plans]:
    """Those of the same call for each thing."""

    def of(thing: Thing) -> Plans:
        return worker.plans(lambda database: call(database, thing))

    return [of(thing) for thing in things]


def offers(worker: Watched) -> list[Plans]:
    return plans_of(worker, offer, [BATCH] * AGAIN)


def claims(worker: Watched) -> list[Plans]:
    return plans_of(worker, try_claim, offered(worker))


def ticks(worker: Watched) -> list[Plans]:
    def tick(database: Database, run: queue.Claim) -> object:
        return queue.tick(database, run.task_id, fence=run.fence, ttl=TTL)

    return plans_of(worker, tick, running(worker)[:1] * AGAIN)


def appends(worker: Watched) -> list[Plans]:
    run = running(worker)[0]

    def flush(database: Database, number: int) -> object:
        return append(database, run, "line", flush=number)

    return plans_of(worker, flush, range(1, AGAIN + 1))


def finishes(worker: Watched) -> list[Plans]:
    return plans_of(worker, finish, running(worker))


def returns(worker: Watched) -> list[Plans]:
    def give_back(database: Database, run: queue.Claim) -> object:
        return queue.give_back(database, run.task_id, fence=run.fence, cause="crash", bound=3, delay=timedelta())

    return plans_of(worker, give_back, running(worker))


def recoveries(worker: Watched) -> list[Plans]:
    return [worker.plans(recover) for _ in range(AGAIN)]


CALLS: Mapping[str, Callable[[Watched], list[Plans]]] = {
    "offer": offers,
    "claim": claims,
    "tick": ticks,
    "append": appends,
    "finish": finishes,
    "give_back": returns,
    "recover": recoveries,
}
BOUNDED_BY_LEASES = frozenset({"recover"})
"""Recovery looks at every lease, of which there are as many as tasks offered, running or put off: `expires_at` is in no
index, so that heartbeats stay heap-only."""


def offered(worker: Watched) -> list[int]:
    return offer(worker.database, AGAIN)


def running(worker: Watched) -> list[queue.Claim]:
    claimed = [try_claim(worker.database, task) for task in offered(worker)]
    return [claim for claim in claimed if claim]


@pytest.mark.parametrize("name", CALLS)
def test_no_call_reads_a_table_from_end_to_end_or_sorts_what_is_pending(many: Watched, name: str) -> None:
    tables = ("tasks", "runs") if name in BOUNDED_BY_LEASES else ("tasks", "runs", "leases")
    found = CALLS[name](many)

    assert found
    for plans in found:
        assert plans.scans(*tables) == []
        assert plans.sorts(above=BATCH) == []


@pytest.mark.parametrize("name", sorted(CALLS.keys() - {"offer", "recover"}))
def test_what_a_run_does_touches_a_handful_of_rows(many: Watched, name: str) -> None:
    for plans in CALLS[name](many):
        assert plans.rows_of("tasks", "leases", "runs") <= 20
        assert plans.pages < 300


def test_an_offer_costs_by_what_it_offers_among_many_users(many: Watched) -> None:
    assert offers(many)[-1].rows_of("tasks", "leases") <= 10 * BATCH


def test_an_offer_costs_by_what_it_offers_when_it_is_the_first(at_first: Watched) -> None:
    for plans in offers(at_first):
        assert plans.scans("tasks") == []
        assert plans.rows_of("tasks") <= 10 * BATCH


def test_an_offer_costs_by_what_it_offers_among_few_users(few: Watched) -> None:
    assert offers(few)[0].rows_of("tasks", "leases") <= 10 * BATCH


def test_heartbeats_are_heap_only_updates(database: Database, rows: Rows) -> None:
    runs = [claim for claim in (try_claim(database, rows.task()) for _ in range(5)) if claim]
    before = updates(database, rows)
    for flush in range(1, 41):
        for run in runs:
            queue.tick(database, run.task_id, fence=run.fence, ttl=TTL)
            append(database, run, "line", flush=flush)

    after = updates(database, rows)
    assert [now - then for now, then in zip(after, before, strict=True)] == [2 * 40 * len(runs)] * 2


def updates(database: Database, rows: Rows) -> tuple[int, int]:
    """How many updates of leases there were, and how many of them heap-only, once this worker has reported its own."""
    database.call("SELECT pg_stat_force_next_flush()")
    database.call("SELECT 1 AS one")
    found = rows.execute(
        """SELECT n_tup_upd AS every, n_tup_hot_upd AS hot
           FROM pg_stat_user_tables WHERE relid = 'worker.leases'::regclass"""
    )[0]
    return found["every"], found["hot"]
