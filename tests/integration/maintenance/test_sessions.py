"""What is expired: sessions by each of their limits, tokens, tasks and our own history, to the hour."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from tests.support.auth import Auth, policy
from tests.support.rows import Rows
from worker.maintenance import sweep
from worker.maintenance.sweep import Bounds, Ended, Report

Swept = Callable[..., Report]
DAYS = 24


def test_a_session_goes_three_days_after_it_expired_and_its_tokens_with_it(auth: Auth, swept: Swept) -> None:
    long_expired, lately, to_come = auth.session(expired=72.1), auth.session(expired=71.9), auth.session(expired=-1)
    auth.token(long_expired, updated=1, revoked=False)
    kept = auth.token(lately, updated=1, revoked=False)

    report = swept("expired_sessions")

    assert (report.removed, report.ended, report.remaining) == (1, Ended.DONE, 0)
    assert auth.sessions() == {lately, to_come}
    assert auth.tokens() == {kept}


def test_a_session_without_an_end_never_expires(auth: Auth, swept: Swept) -> None:
    endless = auth.session(created=10 * 365 * DAYS, updated=10 * 365 * DAYS)

    assert swept("expired_sessions").removed == 0
    assert auth.sessions() == {endless}


def test_the_grace_is_a_setting(auth: Auth, swept: Swept) -> None:
    auth.session(expired=1.1)
    kept = auth.session(expired=0.9)

    assert swept("expired_sessions", session_grace=timedelta(hours=1)).removed == 1
    assert auth.sessions() == {kept}


def test_a_timebox_and_a_limit_of_inactivity_are_heeded_only_where_they_are_set(auth: Auth, swept: Swept) -> None:
    auth.session(created=1000, updated=1000, refreshed=1000)

    assert swept("overlong_sessions").ended is Ended.OFF
    assert swept("inactive_sessions").ended is Ended.OFF
    assert len(auth.sessions()) == 1


def test_a_session_goes_when_its_timebox_and_the_grace_are_over(auth: Auth, swept: Swept) -> None:
    auth.session(created=24 + 72.1, updated=80, refreshed=80)
    young = auth.session(created=24 + 71.9, updated=80, refreshed=80)
    auth.session(created=1000, updated=1, refreshed=1)  # its user may be busy: it is over all the same

    assert swept("overlong_sessions", session_timebox=timedelta(days=1)).removed == 2
    assert auth.sessions() == {young}


def test_a_session_goes_when_nobody_refreshed_it_for_too_long(auth: Auth, swept: Swept) -> None:
    auth.session(created=1000, updated=24 + 72.1, refreshed=24 + 72.1)
    never_refreshed = auth.session(created=24 + 72.1, updated=24 + 72.1)
    auth.token(never_refreshed, updated=24 + 72.1, revoked=False)
    kept = {
        auth.session(created=1000, updated=24 + 71.9, refreshed=24 + 71.9),
        auth.session(created=1000, updated=1000, refreshed=1),
        auth.session(created=1000, updated=1, refreshed=1000),
        by_token := auth.session(created=1000, updated=1000),
    }
    auth.token(by_token, updated=24 + 71.9, revoked=False)

    assert swept("inactive_sessions", session_inactivity=timedelta(days=1)).removed == 2
    assert auth.sessions() == kept


@pytest.mark.parametrize("zone", ["America/Los_Angeles", "Asia/Tokyo"])
def test_the_time_of_a_refresh_is_taken_for_utc_whatever_the_database_thinks(
    auth: Auth, rows: Rows, swept: Swept, zone: str
) -> None:
    rows.connection.execute(f"ALTER DATABASE {rows.connection.info.dbname} SET timezone = '{zone}'".encode())
    kept = auth.session(created=1000, updated=1000, refreshed=24 + 71)
    auth.session(created=1000, updated=1000, refreshed=24 + 73)

    assert swept("inactive_sessions", session_inactivity=timedelta(days=1)).removed == 1
    assert auth.sessions() == {kept}


def test_a_token_goes_thirty_days_after_it_was_revoked(auth: Auth, swept: Swept) -> None:
    session = auth.session()
    auth.token(session, updated=30 * DAYS + 1, revoked=True)
    kept = {
        auth.token(session, updated=30 * DAYS - 1, revoked=True),
        auth.token(session, updated=900 * DAYS, revoked=False),
        auth.token(session, updated=900 * DAYS, revoked=None),
    }

    assert swept("revoked_refresh_tokens").removed == 1
    assert auth.tokens() == kept
    assert auth.sessions() == {session}


def test_a_session_refreshed_between_two_batches_survives(auth: Auth, rows: Rows, engine: object) -> None:
    """The second batch would have it; its user comes back while the first is under way."""
    for _ in range(101):
        auth.session(created=1000, updated=900, refreshed=900)
    saved = max(auth.sessions())  # they go in the order of their ids

    def refresh(_removed: int) -> None:
        rows.execute(
            "UPDATE auth.sessions SET refreshed_at = timezone('UTC', now()), updated_at = now() WHERE id = %s", saved
        )

    inactive = policy("inactive_sessions", session_inactivity=timedelta(days=1))
    report = sweep.carry_out(inactive, engine, Bounds(progress=refresh))  # type: ignore[arg-type]

    assert (report.removed, report.batches) == (100, 2)
    assert auth.sessions() == {saved}


def test_finished_tasks_stay_unless_a_retention_is_set(rows: Rows, swept: Swept) -> None:
    old = [rows.task(status=status) for status in ("completed", "error", "pending", "processing")]
    retried, young = rows.task(status="completed"), rows.task(status="completed")
    rows.execute("UPDATE public.tasks SET created_at = '-infinity', updated_at = now() - interval '8 days'")
    rows.execute("UPDATE public.tasks SET updated_at = now() WHERE id = %s", retried)
    rows.execute("UPDATE public.tasks SET created_at = 'infinity', updated_at = 'infinity' WHERE id = %s", young)

    assert swept("finished_tasks").ended is Ended.OFF
    assert swept("finished_tasks", finished_task_retention=timedelta(days=7)).removed == 2
    assert [row["id"] for row in rows.execute("SELECT id FROM public.tasks ORDER BY id")] == [*old[2:], retried, young]


def test_only_the_statuses_that_are_named_are_finished(rows: Rows, swept: Swept) -> None:
    kept, _ = rows.task(status="completed"), rows.task(status="error")
    rows.execute("UPDATE public.tasks SET created_at = now() - interval '9 days', updated_at = created_at")
    rows.execute("UPDATE public.tasks SET updated_at = now() - interval '9 days'")

    report = swept("finished_tasks", finished_task_retention=timedelta(days=7), finished_task_statuses=("error",))

    assert report.removed == 1
    assert [row["id"] for row in rows.execute("SELECT id FROM public.tasks")] == [kept]


def test_old_history_goes(rows: Rows, swept: Swept) -> None:
    rows.execute(
        """INSERT INTO worker.runs (fence, task_id, user_id, attempt, holder, started_at)
        SELECT n, 1, gen_random_uuid(), 1, 'h', now() - make_interval(days => n) FROM unnest(ARRAY[89, 91]) AS n"""
    )
    rows.execute(
        """INSERT INTO worker.schedule_slots (name, scheduled_for, taken_at, holder)
        SELECT 'runs', now() - make_interval(days => n), now() - make_interval(days => n), 'h'
        FROM unnest(ARRAY[29, 31]) AS n"""
    )

    assert swept("runs").removed == 1
    assert swept("schedule_slots").removed == 1
    assert rows.execute("SELECT fence FROM worker.runs") == [{"fence": 89}]
    assert rows.execute("SELECT count(*) AS left FROM worker.schedule_slots") == [{"left": 1}]
