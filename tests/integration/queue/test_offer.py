"""Offers: whose turn it is, what is due, and how many."""

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

from db.engine import Database
from db.queries import queue
from tests.integration.queue.conftest import finish, offer, try_claim
from tests.support.rows import Rows

A, B, C = (UUID(int=n << 96) for n in (1, 2, 3))
Claiming = Callable[..., queue.Claim]


def test_users_take_turns_and_within_a_user_the_lowest_id_comes_first(database: Database, rows: Rows) -> None:
    a1, a2, a3 = (rows.task(user=A) for _ in range(3))
    b1 = rows.task(user=B)
    c1, c2 = (rows.task(user=C) for _ in range(2))

    assert offer(database) == [a1, b1, c1, a2, c2, a3]


def test_the_next_call_goes_on_where_the_last_one_stopped(database: Database, rows: Rows) -> None:
    a1, _ = rows.task(user=A), rows.task(user=A)
    b1 = rows.task(user=B)
    c1 = rows.task(user=C)

    assert [offer(database, 1) for _ in range(3)] == [[a1], [b1], [c1]]


def test_created_at_which_the_owner_writes_does_not_count(database: Database, rows: Rows) -> None:
    first = rows.task(user=A)
    second = rows.task(user=A, created_at="-infinity")

    assert offer(database) == [first, second]


def test_a_user_is_offered_no_more_than_the_slots_that_are_free(
    database: Database, rows: Rows, claim: Claiming
) -> None:
    tasks = [rows.task(user=A) for _ in range(4)]
    running = claim(tasks[0])

    assert offer(database, per_user=2) == [tasks[1]]
    assert offer(database, per_user=2) == []

    finish(database, running)
    assert offer(database, per_user=2) == [tasks[2]]


def test_an_expired_lease_keeps_its_slot_until_the_run_has_ended(
    database: Database, rows: Rows, claim: Claiming
) -> None:
    first, second = rows.task(user=A), rows.task(user=A)
    claim(first)
    rows.age_lease(first)

    assert offer(database, per_user=1) == []
    assert try_claim(database, second, per_user=1) is None


def test_an_offer_nobody_claims_is_made_again_after_its_timeout(database: Database, rows: Rows) -> None:
    task = rows.task()

    assert offer(database) == [task]
    assert offer(database) == []
    rows.age_lease(task, seconds=61)
    assert offer(database) == [task]


def test_a_claim_refused_for_the_limit_is_offered_again_at_once_when_a_slot_is_free(
    database: Database, rows: Rows, claim: Claiming
) -> None:
    first, second = rows.task(user=A), rows.task(user=A)
    assert offer(database) == [first, second]
    running = claim(first, per_user=1)
    assert try_claim(database, second, per_user=1) is None

    finish(database, running)

    assert offer(database, per_user=1) == [second]


def test_a_task_put_off_is_not_offered_before_its_time(database: Database, rows: Rows, claim: Claiming) -> None:
    task = rows.task()
    claimed = claim(task)
    delay = timedelta(minutes=5)
    queue.give_back(database, task, fence=claimed.fence, cause="overloaded", bound=8, delay=delay)

    assert offer(database) == []
    assert try_claim(database, task) is None
    rows.age_lease(task, seconds=301)
    assert offer(database) == [task]


def test_a_crowd_of_users_who_wait_is_passed_in_steps(database: Database, rows: Rows) -> None:
    """A call looks at 1,000 users; the turn moves on all the same, so that those behind the crowd are reached."""
    rows.execute("INSERT INTO auth.users (id) SELECT lpad(to_hex(n), 32, '0')::uuid FROM generate_series(1, 2500) n")
    rows.execute("INSERT INTO public.tasks (user_id, prompt) SELECT id, 'wait' FROM auth.users")
    rows.execute(
        """INSERT INTO worker.leases (task_id, user_id, fence, not_before)
           SELECT id, user_id, 0, now() + interval '1 h' FROM public.tasks"""
    )
    behind = rows.task(user=UUID(int=2**127))

    assert [offer(database, 1) for _ in range(3)] == [[], [], [behind]]


def test_between_two_offers_to_one_user_everybody_else_who_waits_has_had_one(database: Database, rows: Rows) -> None:
    users = [UUID(int=n << 96) for n in range(1, 8)]
    owner = {rows.task(user=user): user for user in users for _ in range(5)}
    offered = [owner[task] for _ in range(12) for task in offer(database, 3)]

    assert len(offered) == 35
    for start in range(0, 35, 7):
        assert set(offered[start : start + 7]) == set(users)


def test_two_dispatchers_never_offer_the_same_task(database: Database, rows: Rows) -> None:
    tasks = {rows.task() for _ in range(20)}
    with Database(database.url) as other:
        offered = [*offer(database, 10), *offer(other, 10)]

    assert sorted(offered) == sorted(tasks)


def test_a_task_whose_message_still_waits_is_not_offered_again(database: Database, rows: Rows) -> None:
    """Runs may last an hour; the messages of others wait as long behind them."""
    task = rows.task()
    assert offer(database) == [task]

    for _ in range(3):
        rows.age_lease(task, seconds=50)
        assert offer(database, waiting=[task]) == []
    rows.age_lease(task, seconds=61)
    assert offer(database, waiting=[]) == [task]
