"""Each period of the schedule is done once: two beats, two workers, redelivery, death, skewed clocks, outages."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from socket import gethostname
from typing import Any

import pytest
from celery.schedules import crontab, schedule
from sqlalchemy import Engine

from db.engine import engine as engine_of
from db.queries import slots
from db.url import DatabaseUrl
from tests.support.auth import Auth, policy
from tests.support.rows import Rows
from worker.maintenance import periods
from worker.maintenance.periods import LAPSED, once
from worker.maintenance.schedule import Job
from worker.maintenance.sweep import Clocked, Ended, Report

SESSIONS = replace(policy("expired_sessions"), first=10, largest=10, pause=timedelta())
DAILY = Job(name="expired_sessions", when=crontab(minute="0", hour="0"), expires=60, why="A test's.")
Once = Callable[..., Report | None]


@pytest.fixture
def asked(engine: Engine) -> Once:
    """A message with an id of its own, for the period of today, or of what the database's clock says."""
    number = iter(range(100))

    def asked(
        *, stop: Callable[[], bool] = lambda: False, job: Job = DAILY, at: datetime | None = None
    ) -> Report | None:
        clock = (lambda _: at) if at else slots.now
        holder = f"maintenance@a message-{next(number)}"
        return once(SESSIONS, job, engine, holder=holder, stop=stop, jitter=timedelta(), clock=clock)

    return asked


def the_slots(rows: Rows) -> list[Any]:
    return rows.execute("SELECT * FROM worker.schedule_slots ORDER BY taken_at")


def test_a_period_is_done_once_however_many_beats_ask_for_it(auth: Auth, asked: Once, rows: Rows) -> None:
    auth.many(5)
    first, second = asked(), asked()

    assert first
    assert first.removed == 5
    assert second is None
    [slot] = the_slots(rows)
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    assert slot["scheduled_for"] in {today, today + timedelta(days=1)}  # the latter within 30 s before midnight
    assert slot["finished_at"] >= slot["taken_at"]
    assert (slot["report"]["removed"], slot["report"]["ended"]) == (5, "done")


def test_of_many_workers_at_once_one_has_it(auth: Auth, owner_url: DatabaseUrl, rows: Rows) -> None:
    engines = [engine_of(owner_url) for _ in range(4)]

    def one(number: int) -> Report | None:
        holder = f"maintenance@{number} message-{number}"
        return once(SESSIONS, DAILY, engines[number], holder=holder, stop=lambda: False, jitter=timedelta())

    with ThreadPoolExecutor(4) as pool:
        reports = list(pool.map(one, range(4)))

    assert sum(report is not None for report in reports) == 1
    assert len(the_slots(rows)) == 1
    for engine in engines:
        engine.dispose()


def taken(engine: Engine, message: str, scheduled_for: datetime) -> bool:
    with Clocked(engine) as session, session.begin():
        return slots.take(
            session, "expired_sessions", scheduled_for=scheduled_for, holder=f"maintenance@b {message}", lapsed=LAPSED
        )


DUE = datetime(2026, 5, 5, tzinfo=UTC)


def test_a_message_that_comes_again_takes_over_what_was_never_finished(engine: Engine, rows: Rows) -> None:
    assert taken(engine, "first", DUE)
    assert not taken(engine, "second", DUE)
    assert taken(engine, "first", DUE)
    with Clocked(engine) as session, session.begin():
        slots.finish(session, "expired_sessions", scheduled_for=DUE, holder="maintenance@b first", report={})
    assert not taken(engine, "first", DUE)


def test_a_name_that_looks_like_a_pattern_is_none(engine: Engine) -> None:
    assert taken(engine, "a1", DUE)
    assert not taken(engine, "a_", DUE)
    assert not taken(engine, "%", DUE)


def test_whoever_did_not_finish_within_an_hour_is_taken_for_dead(engine: Engine, rows: Rows) -> None:
    assert taken(engine, "first", DUE)
    rows.execute("UPDATE worker.schedule_slots SET taken_at = now() - interval '59 minutes'")
    assert not taken(engine, "second", DUE)
    rows.execute("UPDATE worker.schedule_slots SET taken_at = now() - interval '61 minutes'")
    assert taken(engine, "second", DUE)


def test_whoever_wakes_after_it_was_taken_over_records_nothing(engine: Engine, rows: Rows) -> None:
    taken(engine, "first", DUE)
    rows.execute("UPDATE worker.schedule_slots SET taken_at = now() - interval '61 minutes'")
    taken(engine, "second", DUE)
    late = periods.Period(name="expired_sessions", scheduled_for=DUE, holder="maintenance@b first")

    periods.record(late, Report(policy="expired_sessions", ended=Ended.DONE), engine)

    assert the_slots(rows)[0]["finished_at"] is None


def test_one_that_is_told_to_stop_is_gone_on_with_by_the_next_message(auth: Auth, asked: Once, rows: Rows) -> None:
    auth.many(30)
    looks = iter([False, True])

    first = asked(stop=lambda: next(looks, True))
    assert first
    assert (first.ended, first.removed) == (Ended.STOPPED, 10)
    assert the_slots(rows)[0]["finished_at"] is None

    second = asked()
    assert second
    assert (second.ended, second.removed) == (Ended.DONE, 20)
    assert asked() is None


def test_a_missed_period_is_caught_up_once(asked: Once, rows: Rows) -> None:
    """Nobody was there for three days: when beat begins it asks for what is due, and the last period alone is done."""
    day = datetime(2026, 5, 5, 0, 1, tzinfo=UTC)
    assert asked(at=day)
    assert asked(at=day + timedelta(days=3, hours=7))
    assert asked(at=day + timedelta(days=3, hours=7)) is None

    assert [slot["scheduled_for"].day for slot in the_slots(rows)] == [5, 8]


def test_a_clock_that_steps_back_does_nothing_twice(asked: Once, rows: Rows) -> None:
    day = datetime(2026, 5, 5, 0, 1, tzinfo=UTC)
    assert asked(at=day - timedelta(days=1))
    assert asked(at=day)
    assert asked(at=day - timedelta(hours=2)) is None
    assert asked(at=day) is None


def test_a_beat_whose_clock_is_a_little_ahead_is_not_lost(asked: Once) -> None:
    assert asked(at=datetime(2026, 5, 4, 12, 0, tzinfo=UTC))
    assert asked(at=datetime(2026, 5, 4, 23, 59, 45, tzinfo=UTC))  # it is midnight for the beat that asks
    assert asked(at=datetime(2026, 5, 5, 0, 0, 10, tzinfo=UTC)) is None


def test_an_interval_has_periods_too(asked: Once) -> None:
    job = replace(DAILY, when=schedule(timedelta(minutes=5)))
    assert asked(job=job, at=datetime(2026, 5, 5, 12, 0, 1, tzinfo=UTC))
    assert asked(job=job, at=datetime(2026, 5, 5, 12, 4, tzinfo=UTC)) is None
    assert asked(job=job, at=datetime(2026, 5, 5, 12, 5, tzinfo=UTC))


def test_every_host_has_its_own_slot_for_its_own_disk(engine: Engine, rows: Rows, tmp_path: Path) -> None:
    (tmp_path / "workspaces" / "1-2-x").mkdir(parents=True)
    disk = policy("workspaces", state_dir=tmp_path)
    job = replace(DAILY, name="workspaces")

    report = once(disk, job, engine, holder="maintenance@a m", stop=lambda: False, jitter=timedelta())

    assert report
    assert (report.removed, report.ended) == (1, Ended.DONE)
    assert [slot["name"] for slot in the_slots(rows)] == [f"workspaces@{gethostname()}"]


@pytest.mark.parametrize("url", [None, "postgresql://nobody:x@127.0.0.1:1/none"])
def test_a_disk_is_swept_without_a_database(url: str | None, tmp_path: Path) -> None:
    (tmp_path / "workspaces" / "1-2-x").mkdir(parents=True)
    disk, job = policy("workspaces", state_dir=tmp_path), replace(DAILY, name="workspaces")
    engine = engine_of(DatabaseUrl.parse(url)) if url else None

    report = once(disk, job, engine, holder="maintenance@a m", stop=lambda: False, jitter=timedelta())

    assert report
    assert report.removed == 1


def test_without_a_right_to_slots_a_policy_is_carried_out_each_time(worker_url: DatabaseUrl, rows: Rows) -> None:
    engine = engine_of(worker_url)
    report = once(SESSIONS, DAILY, engine, holder="maintenance@a m", stop=lambda: False, jitter=timedelta())
    engine.dispose()

    assert report
    assert report.ended is Ended.REFUSED
    assert the_slots(rows) == []
