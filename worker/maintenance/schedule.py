"""When each policy is due: the table of `beat_schedule` with the settings' own times, and its periods."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from celery.schedules import BaseSchedule, crontab

import beat_schedule
from worker.settings import Settings

EARLY = timedelta(seconds=30)
"""By how much beat's clock may be ahead of the database's: a period that begins so soon has begun."""
LONGEST_GAP = 41 * 366
"""Days: a 29 February that is a Monday may be 40 years after the one before. Celery takes no day that never comes."""
DAY = timedelta(days=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One line of the schedule."""

    name: str
    when: BaseSchedule
    expires: float
    why: str


def jobs(chosen: Settings, *, now: datetime | None = None) -> Mapping[str, Job]:
    """What is to run, at the settings' times, less what they switch off."""
    now = now or datetime.now(UTC)
    kept = {name: line for name, line in beat_schedule.JOBS.items() if name not in chosen.maintenance_off}
    moved = chosen.maintenance_times
    return {
        name: Job(name=name, when=moved[name], expires=0.9 * gap(moved[name], now).total_seconds(), why=why)
        if name in moved
        else Job(name=name, when=when, expires=expires, why=why)
        for name, (when, expires, why) in kept.items()
    }


def due(when: BaseSchedule, now: datetime) -> datetime:
    """
    When the current period began, in UTC: the last time that was due by `now`, or is within `EARLY`.

    Of an interval, the periods are counted from 1970, so that every beat means the same one.
    """
    latest = now.astimezone(UTC) + EARLY
    if isinstance(when, crontab):
        return last_of(when, latest)
    period: timedelta = when.run_every
    return latest - (latest - EPOCH) % period


def last_of(when: crontab, latest: datetime) -> datetime:
    """The last minute that the crontab names, not after `latest`; all its five fields must fit, as Celery has it."""
    midnight = latest.replace(hour=0, minute=0, second=0, microsecond=0)
    days = (midnight - number * DAY for number in range(LONGEST_GAP))
    minutes = (
        day.replace(hour=hour, minute=minute)
        for day in days
        if names(when, day)
        for hour in sorted(when.hour, reverse=True)
        for minute in sorted(when.minute, reverse=True)
    )
    return next(minute for minute in minutes if minute <= latest)


def names(when: crontab, day: datetime) -> bool:
    """Whether it is due on this day at all."""
    in_month = day.day in when.day_of_month and day.month in when.month_of_year
    return in_month and day.isoweekday() % 7 in when.day_of_week


def gap(when: BaseSchedule, now: datetime) -> timedelta:
    """How long the period before the current one was."""
    current = due(when, now)
    return current - due(when, current - 2 * EARLY)


def shown(when: BaseSchedule) -> str:
    """As the settings write it."""
    if not isinstance(when, crontab):
        return f"every {when.run_every.total_seconds() / 60:g} minutes"
    fields = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
    return " ".join(str(getattr(when, f"_orig_{field}")) for field in fields)  # Celery shows them in no other way
