"""The fence: who may write, and what everybody else is told."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from db.engine import Database
from db.queries import queue
from tests.integration.queue.conftest import TTL, append, finish, recover
from tests.support.rows import Rows

Claiming = Callable[..., queue.Claim]
PUSH = queue.Pushed(branch="b", head="a" * 40, base=None)
WRITES: dict[str, Callable[[Database, queue.Claim], str | None]] = {
    "append": lambda database, claim: append(database, claim, "mine?").refusal,
    "name_branch": lambda database, claim: queue.name_branch(database, claim.task_id, fence=claim.fence, branch="b"),
    "record_sandbox": lambda database, claim: queue.record_sandbox(
        database, claim.task_id, fence=claim.fence, sandbox="m", url="https://m.test"
    ),
    "record_push": lambda database, claim: queue.record_push(database, claim.task_id, fence=claim.fence, push=PUSH),
    "finish": finish,
    "give_back": lambda database, claim: queue.give_back(
        database, claim.task_id, fence=claim.fence, cause="shutdown", bound=0, delay=timedelta()
    ),
}


@pytest.mark.parametrize("write", WRITES)
def test_a_holder_that_went_silent_cannot_write_over_its_successor(
    database: Database, rows: Rows, claim: Claiming, write: str
) -> None:
    """The lease runs out, the task is claimed again, and then the first holder wakes."""
    task = rows.task()
    first = claim(task, holder="first")
    rows.age_lease(task)
    recover(database)
    second = claim(task, holder="second")
    before = rows.see(task)

    assert WRITES[write](database, first) in {"lost", "lapsed"}
    assert rows.see(task) == before
    assert finish(database, second) == "completed"


@pytest.mark.parametrize("write", WRITES)
def test_a_deleted_row_ends_the_run(database: Database, rows: Rows, claim: Claiming, write: str) -> None:
    claimed = claim(rows.task())
    rows.execute("DELETE FROM public.tasks")

    assert WRITES[write](database, claimed) == "gone"


@pytest.mark.parametrize("status", ["pending", "completed", "error"])
@pytest.mark.parametrize("write", WRITES)
def test_a_status_that_its_owner_changed_ends_the_run(
    database: Database, rows: Rows, claim: Claiming, write: str, status: str
) -> None:
    task = rows.task()
    claimed = claim(task)
    rows.execute("UPDATE public.tasks SET status = %s WHERE id = %s", status, task)
    before = rows.see(task)

    assert WRITES[write](database, claimed) == "taken"
    assert rows.see(task) == before


def test_a_run_that_may_not_write_still_closes_its_attempt_and_frees_its_lease(
    database: Database, rows: Rows, claim: Claiming
) -> None:
    task = rows.task()
    claimed = claim(task)
    rows.execute("DELETE FROM public.tasks")

    assert finish(database, claimed) == "gone"
    assert rows.lease(task) is None
    assert rows.runs(task)[0]["outcome"] == "gone"


def test_finish_repeated_by_the_same_fence_answers_what_it_did(database: Database, rows: Rows, claim: Claiming) -> None:
    task = rows.task()
    claimed = claim(task)

    assert [finish(database, claimed), finish(database, claimed, outcome="error")] == ["completed", "completed"]
    assert rows.messages(task) == ["done"]
    assert (rows.status(task), rows.see(task)["progress"]) == ("completed", 100)


def test_give_back_repeated_by_the_same_fence_does_nothing_twice(
    database: Database, rows: Rows, claim: Claiming
) -> None:
    task = rows.task()
    first = claim(task)
    again = [
        queue.give_back(database, task, fence=first.fence, cause="crash", bound=3, delay=timedelta()) for _ in range(2)
    ]

    assert again == ["pending", "crash"]
    lease = rows.lease(task)
    assert lease
    assert lease["crashes"] == 1


def test_a_tick_renews_however_late_and_tells_the_status(database: Database, rows: Rows, claim: Claiming) -> None:
    task = rows.task()
    claimed = claim(task)
    rows.age_lease(task)

    assert queue.tick(database, task, fence=claimed.fence, ttl=TTL) == "processing"
    assert recover(database) == []
    rows.execute("UPDATE public.tasks SET status = 'error'")
    assert queue.tick(database, task, fence=claimed.fence, ttl=TTL) == "error"
    assert queue.tick(database, task, fence=claimed.fence + 1, ttl=TTL) == "lost"
    rows.execute("DELETE FROM public.tasks")
    assert queue.tick(database, task, fence=claimed.fence, ttl=TTL) is None


def test_progress_only_grows_within_an_attempt(database: Database, rows: Rows, claim: Claiming) -> None:
    task = rows.task()
    claimed = claim(task)
    append(database, claimed, flush=1, progress=50)
    append(database, claimed, flush=2, progress=40)
    assert rows.see(task)["progress"] == 50

    queue.give_back(database, task, fence=claimed.fence, cause="shutdown", bound=0, delay=timedelta())
    assert rows.see(task)["progress"] == 50
    claim(task)
    assert rows.see(task)["progress"] == 10


def test_every_write_of_ours_sets_updated_at(database: Database, rows: Rows, claim: Claiming) -> None:
    task = rows.task()

    def touched() -> bool:
        found = rows.execute("SELECT updated_at > '-infinity' AS yes FROM public.tasks WHERE id = %s", task)[0]["yes"]
        rows.execute("UPDATE public.tasks SET updated_at = '-infinity'")
        return bool(found)

    touched()
    claimed = claim(task)
    assert touched()
    append(database, claimed, "line")
    assert touched()
    queue.name_branch(database, task, fence=claimed.fence, branch="b")
    assert touched()
    finish(database, claimed)
    assert touched()
    queue.retry(database, task)
    assert touched()
    queue.cancel(database, task, why="no")
    assert touched()
