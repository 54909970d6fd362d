"""Ends that are nobody's plan: lapsed leases, crashes, shutdowns, overload; and what operators do by hand."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from db.engine import Database
from db.queries import queue
from tests.integration.queue.conftest import append, finish, offer, recover
from tests.support.rows import Rows

Claiming = Callable[..., queue.Claim]


def give_back(database: Database, claim: queue.Claim, cause: str, *, bound: int = 3) -> str:
    return queue.give_back(database, claim.task_id, fence=claim.fence, cause=cause, bound=bound, delay=timedelta())


def test_what_nobody_renewed_runs_again_and_the_log_says_why(database: Database, rows: Rows, claim: Claiming) -> None:
    task = rows.task()
    claim(task)
    rows.age_lease(task)

    assert recover(database) == [queue.Recovered(task_id=task, became="pending")]
    assert rows.runs(task)[0]["outcome"] == "lapsed"
    assert "will run again" in rows.messages(task)[-1]
    assert offer(database) == [task]


def test_a_task_that_kills_its_worker_each_time_ends_in_error(database: Database, rows: Rows, claim: Claiming) -> None:
    task = rows.task()
    became = []
    for _ in range(3):
        claim(task)
        rows.age_lease(task)
        became += [found.became for found in recover(database)]

    assert became == ["pending", "pending", "error"]
    assert rows.status(task) == "error"
    assert rows.lease(task) is None


def test_shutdowns_have_no_bound_and_do_not_count_as_crashes(database: Database, rows: Rows, claim: Claiming) -> None:
    task = rows.task()
    became = [give_back(database, claim(task), "shutdown") for _ in range(10)]

    lease = rows.lease(task)
    assert became == ["pending"] * 10
    assert lease
    assert (lease["attempt"], lease["interruptions"], lease["crashes"]) == (10, 10, 0)


def test_an_overloaded_provider_is_waited_for_within_bounds(database: Database, rows: Rows, claim: Claiming) -> None:
    task = rows.task()
    became = [give_back(database, claim(task), "overloaded", bound=2) for _ in range(3)]

    assert became == ["pending", "pending", "error"]


def test_a_row_that_is_processing_without_a_lease_is_never_touched(database: Database, rows: Rows) -> None:
    task = rows.task(status="processing")
    before = rows.see(task)

    assert recover(database) == []
    assert offer(database) == []
    assert rows.see(task) == before


def test_leases_of_deleted_and_ended_rows_are_removed(database: Database, rows: Rows, claim: Claiming) -> None:
    deleted, ended, running = (rows.task() for _ in range(3))
    offer(database)
    claim(running)
    rows.execute("DELETE FROM public.tasks WHERE id IN (%s, %s)", deleted, running)
    rows.execute("UPDATE public.tasks SET status = 'completed' WHERE id = %s", ended)
    rows.age_lease(running)

    found = {found.task_id: found.became for found in recover(database)}

    assert found == {deleted: "gone", ended: "completed", running: "gone"}
    assert rows.execute("SELECT FROM worker.leases") == []


def test_a_task_taken_from_a_dead_worker_is_free_again(database: Database, rows: Rows, claim: Claiming) -> None:
    task = rows.task()
    claim(task)
    rows.execute("UPDATE public.tasks SET status = 'pending'")
    rows.age_lease(task)

    recover(database)

    assert offer(database) == [task]


def test_recovery_passes_over_a_row_that_is_in_somebodys_hands(database: Database, rows: Rows, claim: Claiming) -> None:
    held, free = rows.task(), rows.task()
    for task in (held, free):
        claim(task)
        rows.age_lease(task)
    with rows.connection.transaction():
        rows.execute("UPDATE public.tasks SET prompt = 'Mine' WHERE id = %s", held)
        assert [found.task_id for found in recover(database)] == [free]

    assert [found.task_id for found in recover(database)] == [held]


@pytest.mark.parametrize("status", ["pending", "processing"])
def test_cancel_ends_a_task_and_its_run_learns_of_it(
    database: Database, rows: Rows, claim: Claiming, status: str
) -> None:
    task = rows.task()
    claimed = claim(task) if status == "processing" else None

    assert queue.cancel(database, task, why="Cancelled by an operator.") == status
    assert rows.status(task) == "error"
    assert rows.messages(task) == ["Cancelled by an operator."]
    assert claimed is None or append(database, claimed, "more").refusal == "taken"


def test_cancel_leaves_what_has_ended(database: Database, rows: Rows) -> None:
    task = rows.task(status="completed")

    assert queue.cancel(database, task, why="too late") == "completed"
    assert rows.messages(task) == []
    assert queue.cancel(database, 10**9, why="no such") is None


@pytest.mark.parametrize("status", ["completed", "error", "processing"])
def test_retry_puts_back_what_ended_and_what_nobody_holds(database: Database, rows: Rows, status: str) -> None:
    task = rows.task(status=status, progress=70)

    assert queue.retry(database, task) == status
    assert (rows.status(task), rows.see(task)["progress"]) == ("pending", 0)
    assert offer(database) == [task]


def test_retry_resets_the_counters(database: Database, rows: Rows, claim: Claiming) -> None:
    task = rows.task()
    for _ in range(3):
        give_back(database, claim(task), "crash")
    assert rows.status(task) == "error"
    queue.retry(database, task)
    give_back(database, claim(task), "crash")

    lease = rows.lease(task)
    assert lease
    assert (lease["crashes"], lease["attempt"]) == (1, 1)


def test_retry_leaves_what_a_worker_holds(database: Database, rows: Rows, claim: Claiming) -> None:
    task = rows.task()
    claimed = claim(task)

    assert queue.retry(database, task) == "running"
    assert finish(database, claimed) == "completed"


def test_a_task_cancelled_and_retried_while_its_run_still_stops_waits_for_it(
    database: Database, rows: Rows, claim: Claiming
) -> None:
    task = rows.task()
    first = claim(task)
    queue.cancel(database, task, why="no")
    queue.retry(database, task)

    assert offer(database) == []
    assert finish(database, first) == "taken"
    assert offer(database) == [task]


def test_one_task_that_cannot_be_written_does_not_hold_up_the_others(
    database: Database, rows: Rows, claim: Claiming
) -> None:
    """As when the application has a trigger of its own that refuses."""
    refused, other = rows.task(prompt="refused"), rows.task()
    for task in (refused, other):
        claim(task)
        rows.age_lease(task)
    rows.execute(
        """CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
           $$ BEGIN RAISE EXCEPTION 'not with me'; END $$;
           CREATE TRIGGER refuse BEFORE UPDATE ON public.tasks FOR EACH ROW WHEN (OLD.prompt = 'refused')
           EXECUTE FUNCTION refuse();"""
    )

    found = {found.task_id: found.became for found in recover(database)}

    assert found == {refused: "failed: not with me", other: "pending"}


def test_nothing_is_recovered_by_whoever_had_no_answer_for_long(
    database: Database, rows: Rows, claim: Claiming
) -> None:
    """It is the server's clock that tells: a statement may have waited in a server that was frozen."""
    task = rows.task()
    claim(task)
    rows.age_lease(task)
    quiet = timedelta(seconds=10)
    now = database.call("SELECT now() AS now")[0]["now"]

    for seen in (None, now - timedelta(seconds=11)):
        answer = queue.recover(database, max_crashes=3, seen=seen, quiet=quiet)
        assert (answer.awake, answer.recovered) == (False, ())
    assert queue.recover(database, max_crashes=3, seen=answer.at, quiet=quiet).recovered


def test_an_attempt_that_lost_its_task_closes_itself_and_nothing_else(
    database: Database, rows: Rows, claim: Claiming
) -> None:
    task = rows.task()
    first = claim(task)
    assert queue.abandon(database, task, fence=first.fence) == "mine"
    assert rows.status(task) == "processing"

    rows.execute("UPDATE public.tasks SET status = 'error'")

    assert queue.abandon(database, task, fence=first.fence) == "taken"
    assert rows.lease(task) is None
    assert rows.runs(task)[0]["outcome"] == "taken"
