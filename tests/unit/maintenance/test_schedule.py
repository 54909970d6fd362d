"""When each policy is due: in UTC, whatever the wall clocks of the world do, and on days that are rare."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from celery.schedules import BaseSchedule, crontab, schedule
from freezegun import freeze_time

import beat_schedule
from worker.errors import WrongUse
from worker.maintenance.policies import policies
from worker.maintenance.schedule import due, gap, jobs
from worker.settings import Settings, read

DAILY, HOURLY = crontab(minute="30", hour="2"), crontab(minute="7")
BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def settings_of(**values: Any) -> Settings:
    return Settings(_env_file=None, **values)


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A host whose own clock shows Berlin's time."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.delenv("TZ")
    time.tzset()


@pytest.mark.parametrize(
    ("when", "now", "expected"),
    [
        (DAILY, "2026-05-05 02:30", "2026-05-05 02:30"),
        (DAILY, "2026-05-05 02:29:20", "2026-05-04 02:30"),
        (DAILY, "2026-05-05 02:29:31", "2026-05-05 02:30"),
        (DAILY, "2026-01-01 00:00", "2025-12-31 02:30"),
        (HOURLY, "2026-05-05 00:06", "2026-05-04 23:07"),
        (HOURLY, "2026-05-05 00:07", "2026-05-05 00:07"),
        (crontab(minute="*/10"), "2026-05-05 12:09:29", "2026-05-05 12:00"),
        (crontab(minute="0", hour="3", day_of_month="29", month_of_year="2"), "2027-12-31 00:00", "2024-02-29 03:00"),
        (crontab(minute="0", hour="3", day_of_month="29", month_of_year="2"), "2028-02-29 03:00", "2028-02-29 03:00"),
        (crontab(minute="0", hour="3", day_of_month="29", month_of_year="2"), "2103-01-01 00:00", "2096-02-29 03:00"),
        (
            crontab(minute="0", hour="3", day_of_month="29", month_of_year="2", day_of_week="mon"),
            "2028-02-28 00:00",
            "2016-02-29 03:00",
        ),
        (crontab(minute="0", hour="3", day_of_month="31"), "2026-05-01 00:00", "2026-03-31 03:00"),
        (crontab(minute="0", hour="3", day_of_week="sun"), "2026-11-23 00:00", "2026-11-22 03:00"),
        (crontab(minute="0", hour="3", day_of_week="0"), "2026-11-22 02:59", "2026-11-15 03:00"),
        (schedule(timedelta(minutes=5)), "2026-05-05 00:04:29", "2026-05-05 00:00"),
        (schedule(timedelta(minutes=5)), "2026-05-05 00:05", "2026-05-05 00:05"),
    ],
)
def test_a_period_begins_when_it_was_last_due(when: BaseSchedule, now: str, expected: str) -> None:
    assert due(when, at(now)) == at(expected)


@pytest.mark.parametrize("day", ["2026-03-29", "2026-10-25"])
def test_on_days_when_clocks_are_changed_each_period_comes_once(day: str, berlin: None) -> None:
    moments = [(at(f"{day} 00:00") + timedelta(minutes=10 * number)).astimezone(BERLIN) for number in range(6 * 24)]
    hourly = [due(HOURLY, moment) for moment in moments]

    assert {moment.utcoffset() for moment in moments} == {timedelta(hours=1), timedelta(hours=2)}
    assert sorted(set(hourly)) == [at(f"{day} 00:07") + timedelta(hours=number) for number in range(-1, 24)]
    assert len({due(DAILY, moment) for moment in moments}) == 2


def test_what_is_due_does_not_ask_the_host_for_its_hour(berlin: None) -> None:
    assert time.localtime(0).tm_hour == 1
    with freeze_time("2026-10-25 00:45:00"):
        assert due(DAILY, datetime.now(UTC).astimezone(BERLIN)) == at("2026-10-24 02:30")


def test_a_clock_that_steps_back_names_a_period_that_was_done() -> None:
    with freeze_time("2026-05-05 02:31") as clock:
        first = due(DAILY, datetime.now(UTC))
        clock.move_to("2026-05-05 02:10")
        before = due(DAILY, datetime.now(UTC))
        clock.move_to("2026-05-05 02:35")
        again = due(DAILY, datetime.now(UTC))

    assert first == again == at("2026-05-05 02:30")
    assert before == first - timedelta(days=1)


def test_what_celery_sends_belongs_to_the_period_in_which_it_is_sent() -> None:
    """Beat's own idea of when the next is due, and ours of which one that is, over a leap year's end of February."""
    for when in (DAILY, HOURLY, crontab(minute="*/10"), crontab(minute="0", hour="3", day_of_week="mon,thu")):
        last = at("2028-02-27 00:00")
        when.nowfun = lambda last=last: last
        for _ in range(60):
            following = next_of(when, last)
            assert due(when, following) == following
            assert due(when, following - timedelta(seconds=31)) < following
            last = following


def next_of(when: Any, last: datetime) -> datetime:
    """As Celery's beat would find it."""
    begin, delta, _ = when.remaining_delta(last)
    found: datetime = begin + delta
    return found


def test_every_policy_has_a_line_and_expires_before_its_next_period() -> None:
    now = at("2026-05-05 12:00")
    assert {policy.name for policy in policies(settings_of())} == set(beat_schedule.JOBS)
    for job in jobs(settings_of(), now=now).values():
        assert 0 < job.expires < gap(job.when, now).total_seconds()
        assert job.why


def test_the_settings_move_a_policy_and_leave_another_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODINGIT_MAINTENANCE_TIMES", "runs = 15 4 * * 1,4; workspaces=5m")
    monkeypatch.setenv("CODINGIT_MAINTENANCE_OFF", "transcripts")
    found = jobs(read(env_file=None), now=at("2026-11-24 00:00"))

    assert "transcripts" not in found
    assert due(found["runs"].when, at("2026-11-24 00:00")) == at("2026-11-23 04:15")
    assert found["runs"].expires == pytest.approx(0.9 * 4 * 86400)
    assert found["workspaces"].expires == 270
    assert found["expired_sessions"].when == beat_schedule.JOBS["expired_sessions"][0]


@pytest.mark.parametrize(
    ("variable", "value", "fault"),
    [
        ("CODINGIT_MAINTENANCE_TIMES", "run=5m", "nothing is called 'run'; did you mean runs?"),
        ("CODINGIT_MAINTENANCE_TIMES", "runs=61 * * * *", "'61 * * * *' is no crontab"),
        ("CODINGIT_MAINTENANCE_TIMES", "runs=0 3 30 2 *", "never occurs"),
        ("CODINGIT_MAINTENANCE_TIMES", "runs=often", "a duration is a number"),
        ("CODINGIT_MAINTENANCE_TIMES", "runs=10s", "an interval must be a minute or more"),
        ("CODINGIT_MAINTENANCE_OFF", "session", "nothing is called 'session'"),
        ("CODINGIT_FINISHED_TASK_STATUSES", "pending", "each must be one of completed, error"),
    ],
)
def test_a_wrong_time_is_a_fault_of_the_settings(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, fault: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(WrongUse, match=variable) as wrong:
        read(env_file=None)
    assert fault in str(wrong.value)
