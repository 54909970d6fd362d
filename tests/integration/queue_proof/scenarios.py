"""Moments that no history reaches by single steps: calls that wait for each other, and what they find afterwards."""

from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import timedelta

from db.engine import Database
from db.queries import queue
from db.url import DatabaseUrl
from tests.integration.queue.conftest import append, finish, recover, try_claim
from tests.support.databases import impatient
from tests.support.rows import Rows
from tests.support.waiting import callers

PUSH = queue.Pushed(branch="b", head="a" * 40, base=None)
Write = Callable[[Database, queue.Claim], str | None]
WRITES: Mapping[str, Write] = {
    "append": lambda database, claim: append(database, claim, "line").refusal,
    "name_branch": lambda database, claim: queue.name_branch(database, claim.task_id, fence=claim.fence, branch="b"),
    "record_push": lambda database, claim: queue.record_push(database, claim.task_id, fence=claim.fence, push=PUSH),
    "finish": finish,
    "give_back": lambda database, claim: queue.give_back(
        database, claim.task_id, fence=claim.fence, cause="shutdown", bound=0, delay=timedelta()
    ),
    "abandon": lambda database, claim: queue.abandon(database, claim.task_id, fence=claim.fence),
}
"""What a run does under its fence."""
WAITERS: Mapping[str, Write] = {
    **WRITES,
    "cancel": lambda database, claim: queue.cancel(database, claim.task_id, why="Cancelled."),
    "retry": lambda database, claim: queue.retry(database, claim.task_id),
}
"""Every call that waits for the task's row."""
CHANGES: Mapping[str, tuple[str, str | None]] = {
    "prompt": ("UPDATE public.tasks SET prompt = 'Changed' WHERE id = %s", None),
    "status": ("UPDATE public.tasks SET status = 'error' WHERE id = %s", "taken"),
    "row": ("DELETE FROM public.tasks WHERE id = %s", "gone"),
}
"""What an owner changes while a run wants to write, and why nothing is written then."""


def running(url: DatabaseUrl, rows: Rows) -> queue.Claim:
    """A fresh task that a worker holds."""
    with Database(url) as database:
        claim = try_claim(database, rows.task())
    assert claim is not None
    return claim


def a_claim_that_waited_for_the_limit_counts_anew(url: DatabaseUrl, rows: Rows) -> None:
    """Two claims for one user with one free slot, the first not yet committed when the second comes to count."""
    user = rows.user()
    first, second = rows.task(user=user), rows.task(user=user)
    with callers(url, 1) as (late,), Database(url) as early:
        early.connection().execute("BEGIN")
        assert try_claim(early, first, per_user=1)
        answer = late.start_and_wait(lambda database: try_claim(database, second, per_user=1), rows)
        early.connection().execute("COMMIT")
        assert answer.result(timeout=10) is None


def two_calls_behind_an_owner_both_get_through(url: DatabaseUrl, rows: Rows, *, first: str, second: str) -> None:
    """Both want the row that its owner is about to let go, in a known order."""
    claim = running(url, rows)
    with callers(url, 2) as (one, other):
        with rows.connection.transaction():
            rows.execute("UPDATE public.tasks SET prompt = 'Changed' WHERE id = %s", claim.task_id)
            answers = [
                one.start_and_wait(lambda database: WAITERS[first](database, claim), rows),
                other.start_and_wait(lambda database: WAITERS[second](database, claim), rows),
            ]
        for answer in answers:
            assert answer.exception(timeout=10) is None


def recovery_passes_over_a_row_in_its_owners_hands(url: DatabaseUrl, rows: Rows) -> None:
    """The lease has lapsed, and its owner has not committed an edit of the row."""
    claim = running(url, rows)
    rows.age_lease(claim.task_id)
    with Database(impatient(url)) as dispatcher:
        with rows.connection.transaction():
            rows.execute("UPDATE public.tasks SET prompt = 'Changed' WHERE id = %s", claim.task_id)
            assert recover(dispatcher) == []
        assert [found.task_id for found in recover(dispatcher)] == [claim.task_id]


def a_lease_renewed_during_recovery_is_kept(url: DatabaseUrl, owner_url: DatabaseUrl, rows: Rows) -> None:
    """Recovery has found two lapsed leases and is kept with the first; the second's holder comes back meanwhile."""
    claims = {claim.task_id: claim for claim in (running(url, rows), running(url, rows))}
    for task in claims:
        rows.age_lease(task)
    with callers(url, 1) as (dispatcher,), Database(url) as database, closing(Rows(owner_url)) as keeper:
        with keeper.connection.transaction():
            keeper.execute("SELECT FROM worker.runs WHERE task_id = ANY (%s) FOR UPDATE", list(claims))
            answer = dispatcher.start_and_wait(recover, rows)
            untouched = rows.execute(
                "SELECT id FROM public.tasks WHERE id = ANY (%s) FOR UPDATE SKIP LOCKED", list(claims)
            )
            renewed = claims[untouched[0]["id"]]
            queue.tick(database, renewed.task_id, fence=renewed.fence, ttl=timedelta(seconds=30))
        recovered = {found.task_id for found in answer.result(timeout=10)}
        assert recovered == set(claims) - {renewed.task_id}, "a lease was ended after it had been renewed"
