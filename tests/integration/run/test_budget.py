"""What a user's runs of a day may use of models together."""

from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID

import pytest

from db.engine import Database
from db.queries import queue
from tests.support.rows import Rows
from worker.errors import TaskFailed
from worker.gateway.config import Caps
from worker.run import budget
from worker.settings import Settings

RUN = """INSERT INTO worker.runs (fence, task_id, user_id, attempt, holder, started_at, usage)
VALUES (nextval('worker.fences'), 1, %s, 1, 'x', %s, %s::jsonb)"""
MIDNIGHT = "SELECT date_trunc('day', now(), 'UTC') - %s::interval AS at"

Used = Callable[..., None]


@pytest.fixture
def used(rows: Rows) -> Used:
    """A run of a user's that began so long after midnight (UTC), and what it used."""

    def used(user: UUID, tokens: float = 0, cost: float = 0.0, *, before_midnight: str = "0 s") -> None:
        (row,) = rows.execute(MIDNIGHT, before_midnight)
        usage = f'{{"gateway_tokens": {tokens}, "gateway_cost": {cost}}}'
        rows.execute(RUN, user, row["at"], usage)

    return used


def settings(**values: object) -> Settings:
    return Settings(_env_file=None, **values)  # type: ignore[arg-type]  # names and values of settings


def test_what_is_spent_is_the_sum_of_today_and_of_nobody_else(database: Database, rows: Rows, used: Used) -> None:
    me, other = rows.user(), rows.user()
    used(me, 100, 0.5)
    used(me, 20, 0.25)
    used(me, 7000, 70.0, before_midnight="1 ms")
    used(other, 3000, 30.0)

    assert queue.spent(database, str(me)) == queue.Spent(tokens=120, cost=0.75)


def test_the_day_is_that_of_utc_wherever_the_database_is(database: Database, rows: Rows, used: Used) -> None:
    me = rows.user()
    used(me, 100)
    database.connection().execute("SET TIME ZONE 'Pacific/Kiritimati'")

    assert queue.spent(database, str(me)).tokens == 100


def test_nobody_has_spent_anything_yet_and_figures_below_nought_give_nothing_back(
    database: Database, rows: Rows, used: Used
) -> None:
    me = rows.user()
    assert queue.spent(database, str(me)) == queue.Spent(tokens=0, cost=0.0)
    used(me, -1000, -5.0)
    rows.execute(RUN, me, datetime.now(UTC), None)

    assert queue.spent(database, str(me)) == queue.Spent(tokens=0, cost=0.0)


def test_a_run_may_use_what_is_left_of_the_day_and_no_more_than_any_run(
    database: Database, rows: Rows, used: Used
) -> None:
    me = rows.user()
    used(me, 900, 1.5)

    left = budget.caps_for(
        queue.spent(database, str(me)),
        settings=settings(user_daily_tokens=1000, user_daily_cost=2.0, prices=("m=1/1",)),
    )
    plenty = budget.caps_for(
        queue.spent(database, str(me)), settings=settings(user_daily_tokens=10**9, run_tokens=500, run_requests=3)
    )

    assert left == Caps(requests=2000, tokens=100, cost=0.5)
    assert plenty == Caps(requests=3, tokens=500, cost=None)


@pytest.mark.parametrize("limit", [{"user_daily_tokens": 900}, {"user_daily_cost": 1.5, "prices": ("m=1/1",)}])
def test_when_the_day_is_used_up_its_owner_is_told_when_it_is_renewed(
    database: Database, rows: Rows, used: Used, limit: dict[str, object]
) -> None:
    me = rows.user()
    used(me, 900, 1.5)

    with pytest.raises(TaskFailed, match=r"(900 tokens|1.50 US dollars) for today\. It is renewed at 00:00 UTC"):
        budget.caps_for(queue.spent(database, str(me)), settings=settings(**limit))


def test_usage_counts_from_when_it_is_recorded_and_whatever_becomes_of_the_run(database: Database, rows: Rows) -> None:
    """Whoever cancels each task just before its end has used something all the same."""
    me = rows.user()
    claim = claimed(database, rows.task(user=me))
    queue.record_usage(database, fence=claim.fence, usage={"gateway_tokens": 10})
    assert queue.spent(database, str(me)).tokens == 10
    rows.execute("DELETE FROM public.tasks WHERE id = %s", claim.task_id)
    queue.abandon(database, claim.task_id, fence=claim.fence)

    queue.record_usage(database, fence=claim.fence, usage={"gateway_tokens": 30})

    assert queue.spent(database, str(me)).tokens == 30


def test_what_was_recorded_stands_over_what_the_agent_says(database: Database, rows: Rows) -> None:
    me = rows.user()
    claim = claimed(database, rows.task(user=me))
    queue.record_usage(database, fence=claim.fence, usage={"gateway_tokens": 30})
    said = {"gateway_tokens": 0, "turns": 3}
    queue.finish(database, claim.task_id, fence=claim.fence, outcome="completed", entries=[], error=None, usage=said)

    assert queue.spent(database, str(me)).tokens == 30
    (run,) = rows.execute("SELECT usage FROM worker.runs WHERE fence = %s", claim.fence)
    assert run["usage"] == {"gateway_tokens": 30, "turns": 3}


def test_a_large_history_is_not_read_for_it(database: Database, rows: Rows, used: Used) -> None:
    me = rows.user()
    rows.execute(
        """INSERT INTO worker.runs (fence, task_id, user_id, attempt, holder, usage)
        SELECT nextval('worker.fences'), n, gen_random_uuid(), 1, 'x', '{"gateway_tokens": 1}'
        FROM generate_series(1, 50000) n"""
    )
    used(me, 5)
    rows.execute("ANALYZE worker.runs")

    assert queue.spent(database, str(me)).tokens == 5

    plan = rows.execute(
        "EXPLAIN SELECT FROM worker.runs r WHERE r.user_id = %s AND r.started_at >= date_trunc('day', now(), 'UTC')", me
    )
    assert "runs_user_id_started_at" in str(plan)


def claimed(database: Database, task: int) -> queue.Claim:
    claim = queue.claim(
        database, task, holder="x", celery_id=None, ttl=Settings(_env_file=None).lease_ttl, per_user=5, prompt_limit=100
    )
    assert claim
    return claim
