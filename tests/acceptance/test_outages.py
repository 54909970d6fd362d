"""The dispatcher and the workers wait out whatever goes away, and go on by themselves when it is back."""

import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from tests.support.fleet import GRACE, LEASE_TTL, Fleet, until
from tests.support.proxy import Proxy, proxied
from tests.support.rows import Rows
from worker.local.servers import Addresses

Adding = Callable[..., int]
QUICK = "rehearse: pause 0\nrehearse: steps 1\n"


@pytest.fixture
def database_proxy(fleet: Fleet) -> Iterator[Proxy]:
    """Between the fleet and its database."""
    with proxied(fleet.env["DATABASE_URL"]) as (proxy, url):
        fleet.env["DATABASE_URL"] = url
        yield proxy


@pytest.fixture
def broker_proxy(fleet: Fleet) -> Iterator[Proxy]:
    """Between the fleet and its broker."""
    with proxied(fleet.env["REDIS_URL"]) as (proxy, url):
        fleet.env["REDIS_URL"] = url
        yield proxy


def completed(rows: Rows, task: int) -> Callable[[], bool]:
    return lambda: rows.status(task) == "completed"


def health(fleet: Fleet, path: str) -> tuple[int, dict[str, Any]]:
    """What the fleet's dispatcher answers."""
    found = re.search(rb"address=\x1b?\S*?(127\.0\.0\.1:\d+)", b"".join(fleet.log_of(p) for p in fleet.processes))
    assert found, fleet.text()
    try:
        with urllib.request.urlopen(f"http://{found[1].decode()}{path}", timeout=5) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, json.load(refused)


def test_a_broker_that_forgets_everything_costs_a_repeated_offer(
    fleet: Fleet, rows: Rows, add: Adding, stack: Addresses
) -> None:
    fleet.dispatcher()
    task = add(QUICK)
    until(lambda: (rows.lease(task) or {}).get("offered_at"), what=fleet.text)
    redis.Redis.from_url(stack.redis_url).flushall()
    fleet.worker()

    until(completed(rows, task), within=20, what=fleet.text)


def test_a_broker_that_goes_away_is_waited_for(fleet: Fleet, rows: Rows, add: Adding, broker_proxy: Proxy) -> None:
    fleet.dispatcher()
    fleet.worker()
    broker_proxy.cut()
    task = add(QUICK)
    until(lambda: health(fleet, "/readyz")[1]["seconds_since"]["broker"] > 2, what=fleet.text)
    assert rows.lease(task) is None, "offered although nobody could be told"

    broker_proxy.mend()

    until(completed(rows, task), within=30, what=fleet.text)


def test_an_outage_of_the_database_does_not_end_the_runs_that_it_kept_from_renewing(
    fleet: Fleet, rows: Rows, add: Adding
) -> None:
    """The dispatcher is back first, and finds a lease that ran out long ago: it waits, for nobody could renew."""
    direct = fleet.env["DATABASE_URL"]
    with proxied(direct) as (of_dispatcher, dispatcher_url), proxied(direct) as (of_worker, worker_url):
        fleet.dispatcher(DATABASE_URL=dispatcher_url)
        fleet.worker(DATABASE_URL=worker_url)
        task = add("rehearse: sleep 1\n" + QUICK)
        until(lambda: rows.see(task)["progress"] >= 40, what=fleet.text)

        of_dispatcher.cut()
        of_worker.cut()
        until(lambda: health(fleet, "/readyz")[1]["seconds_since"]["database"] > 2, what=fleet.text)
        rows.age_lease(task, seconds=LEASE_TTL + 1)
        of_dispatcher.mend()
        until(lambda: health(fleet, "/readyz")[1]["seconds_since"]["database"] < 1, what=fleet.text)
        assert rows.status(task) == "processing"
        of_worker.mend()

        until(completed(rows, task), within=30, what=fleet.text)
    assert [run["outcome"] for run in rows.runs(task)] == ["completed"]


def test_a_database_that_falls_silent_is_noticed(fleet: Fleet, rows: Rows, add: Adding, database_proxy: Proxy) -> None:
    fleet.dispatcher()
    fleet.worker()
    database_proxy.freeze()
    until(lambda: b"dispatcher.waiting" in fleet.log_of(fleet.processes[0]), within=20, what=fleet.text)
    assert health(fleet, "/healthz")[0] == 200

    database_proxy.mend()
    task = add(QUICK)

    until(completed(rows, task), within=30, what=fleet.text)


def test_listening_begins_again_after_the_connection_was_lost(fleet: Fleet, rows: Rows, add: Adding) -> None:
    def listeners() -> set[int]:
        found = rows.execute(
            "SELECT pid FROM pg_stat_activity WHERE query = 'LISTEN codingit_worker' AND datname = current_database()"
        )
        return {row["pid"] for row in found}

    fleet.dispatcher()
    fleet.worker()
    until(listeners, what=fleet.text)
    before = listeners()
    rows.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE usename = 'task_worker' AND datname = current_database()"
    )

    until(lambda: listeners() - before, what=fleet.text)
    until(completed(rows, add(QUICK)), within=20, what=fleet.text)


def test_behind_a_transaction_pooler_the_poll_alone_serves(fleet: Fleet, rows: Rows, add: Adding) -> None:
    fleet.env["DATABASE_URL"] += "?pgbouncer=true"
    fleet.dispatcher()
    fleet.worker()
    task = add(QUICK)

    until(completed(rows, task), within=20, what=fleet.text)
    seen = rows.execute(
        "SELECT query FROM pg_stat_activity WHERE usename = 'task_worker' AND datname = current_database()"
    )
    assert seen
    assert not [row for row in seen if "LISTEN" in row["query"]]


def test_two_dispatchers_and_two_workers_run_each_task_once(fleet: Fleet, rows: Rows, add: Adding) -> None:
    for _ in range(2):
        fleet.dispatcher()
    fleet.worker("one")
    fleet.worker("two")
    tasks = [add(QUICK) for _ in range(20)]
    until(lambda: all(rows.status(task) == "completed" for task in tasks), within=60, what=fleet.text)

    assert [len(rows.runs(task)) for task in tasks] == [1] * 20


def test_health_tells_the_age_of_the_last_round_trips(fleet: Fleet) -> None:
    fleet.dispatcher()
    until(lambda: health(fleet, "/readyz")[0] == 200, what=fleet.text)

    status, told = health(fleet, "/healthz")
    assert (status, told["ok"]) == (200, True)
    assert set(told["seconds_since"]) == {"loop", "database", "broker"}


def test_a_worker_stops_in_time_although_the_database_is_silent(
    fleet: Fleet, rows: Rows, add: Adding, database_proxy: Proxy
) -> None:
    fleet.dispatcher()
    worker = fleet.worker()
    task = add("rehearse: sleep 60")
    until(lambda: rows.see(task)["progress"] >= 40, what=fleet.text)
    database_proxy.freeze()

    fleet.terminate(worker, within=GRACE + 5)

    assert fleet.agents() == []
