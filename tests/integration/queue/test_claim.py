"""Claims: one at a time, within the user's limit, with what the owner wrote."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from db.engine import Database
from db.queries import queue
from tests.integration.queue.conftest import append, finish, offer, recover, try_claim
from tests.support.rows import Rows

Claiming = Callable[..., queue.Claim]


def test_a_claim_takes_the_task_and_tells_what_to_do(database: Database, rows: Rows) -> None:
    task = rows.task(prompt="Add a README", repo_url="https://example.com/a", branch_name="fix", selected_model="m")
    offer(database)

    claimed = try_claim(database, task, holder="worker@here 7", celery_id="abc")

    assert claimed is not None
    assert (claimed.prompt, claimed.repo_url, claimed.branch, claimed.model) == (
        "Add a README",
        "https://example.com/a",
        "fix",
        "m",
    )
    row, run = rows.see(task), rows.runs(task)[0]
    assert (row["status"], row["progress"]) == ("processing", 10)
    assert (run["fence"], run["holder"], run["celery_id"], run["agent"]) == (
        claimed.fence,
        "worker@here 7",
        "abc",
        "rehearsal",
    )
    assert queue.fence_of(database, task, celery_id="abc") == claimed.fence


def test_a_second_claim_of_the_same_task_gets_nothing(database: Database, rows: Rows, claim: Claiming) -> None:
    task = rows.task()
    claim(task)

    assert try_claim(database, task) is None


@pytest.mark.parametrize("status", ["processing", "completed", "error"])
def test_what_is_not_pending_cannot_be_claimed(database: Database, rows: Rows, status: str) -> None:
    task = rows.task(status=status)

    assert try_claim(database, task) is None
    assert rows.status(task) == status


def test_sixteen_claims_at_once_at_a_limit_of_two_give_two(database: Database, rows: Rows) -> None:
    user = uuid4()
    tasks = [rows.task(user=user) for _ in range(16)]
    start = threading.Barrier(16)

    def claim_one(task: int) -> queue.Claim | None:
        with Database(database.url) as mine:
            mine.connection()
            start.wait()
            return try_claim(mine, task, per_user=2)

    with ThreadPoolExecutor(16) as pool:
        claimed = [result for result in pool.map(claim_one, tasks) if result]

    assert len(claimed) == 2


def test_a_row_in_its_owners_hands_is_not_waited_for(database: Database, rows: Rows) -> None:
    task = rows.task()
    with rows.connection.transaction():
        rows.execute("UPDATE public.tasks SET prompt = 'Changed' WHERE id = %s", task)
        assert try_claim(database, task) is None

    assert offer(database) == [task]


def test_a_long_prompt_is_cut_one_character_past_the_limit(database: Database, rows: Rows, claim: Claiming) -> None:
    claimed = claim(rows.task(prompt="x" * 10_000_000))

    assert len(claimed.prompt) == 1001


def test_timestamps_that_python_cannot_hold_do_no_harm(database: Database, rows: Rows, claim: Claiming) -> None:
    task = rows.task(created_at="infinity", updated_at="-infinity")

    assert finish(database, claim(task)) == "completed"


def test_a_task_set_back_to_pending_while_it_runs_waits_for_the_run_to_end(
    database: Database, rows: Rows, claim: Claiming
) -> None:
    task = rows.task()
    first = claim(task)
    rows.execute("UPDATE public.tasks SET status = 'pending' WHERE id = %s", task)

    assert offer(database) == []
    assert try_claim(database, task) is None
    assert append(database, first, "still here").refusal == "taken"
    assert finish(database, first) == "taken"

    assert offer(database) == [task]
    assert claim(task).fence > first.fence


def test_the_next_attempt_learns_of_the_heads_that_earlier_ones_recorded(
    database: Database, rows: Rows, claim: Claiming
) -> None:
    task = rows.task()
    first = claim(task)
    push = queue.Pushed(branch="codingit/1", head="a" * 40, base="b" * 40)
    assert queue.record_push(database, task, fence=first.fence, push=push) is None
    rows.age_lease(task)
    recover(database)

    assert claim(task).pushes == (push,)
