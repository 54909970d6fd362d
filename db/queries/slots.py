"""The periods of the schedule: who does which, and what came of it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import and_, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from db.models import ScheduleSlot
from db.queries.maintenance import Right

RIGHTS = (Right(table="worker.schedule_slots", privileges=("SELECT", "INSERT", "UPDATE")),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One period of one job."""

    name: str
    scheduled_for: datetime
    taken_at: datetime
    finished_at: datetime | None
    holder: str
    report: dict[str, Any] | None


def now(session: Session) -> datetime:
    """The database's time, by which all hosts agree what is due."""
    return session.execute(select(func.now())).scalar_one()


def take(session: Session, name: str, *, scheduled_for: datetime, holder: str, lapsed: timedelta) -> bool:
    """
    Whether the period is the holder's to do now.

    A holder is `node message`. One that was taken and never finished is taken over by the same message, delivered
    again because its worker died; by anybody after `lapsed`; and at once when its holder stopped halfway.
    """
    _, _, message = holder.rpartition(" ")
    unfinished = ScheduleSlot.finished_at.is_(None)
    free = or_(
        ScheduleSlot.holder.endswith(f" {message}", autoescape=True),
        ScheduleSlot.taken_at < func.now() - lapsed,
        ScheduleSlot.report.is_not(None),
    )
    wanted = insert(ScheduleSlot).values(name=name, scheduled_for=scheduled_for, holder=holder)
    taken = wanted.on_conflict_do_update(
        index_elements=[ScheduleSlot.name, ScheduleSlot.scheduled_for],
        set_={"holder": holder, "taken_at": func.now(), "report": None},
        where=and_(unfinished, free),
    )
    return session.execute(taken.returning(ScheduleSlot.name)).scalar() is not None


def finish(session: Session, name: str, *, scheduled_for: datetime, holder: str, report: dict[str, Any]) -> bool:
    """Record that the period is done, unless somebody else has taken it over; answers whether."""
    return _recorded(session, name, scheduled_for, holder, {"finished_at": func.now(), "report": report})


def interrupt(session: Session, name: str, *, scheduled_for: datetime, holder: str, report: dict[str, Any]) -> bool:
    """Record that the holder stopped halfway: the next message for the period goes on with it."""
    return _recorded(session, name, scheduled_for, holder, {"report": report})


def note(session: Session, name: str, *, holder: str, report: dict[str, Any]) -> None:
    """Record what somebody did just now, outside of the schedule."""
    done = {"scheduled_for": func.now(), "finished_at": func.now()}
    session.execute(insert(ScheduleSlot).values(name=name, holder=holder, report=report, **done))


def history(session: Session, limit: int, *, name: str | None = None) -> list[Slot]:
    """The latest first; of a job by its name alone on all hosts, by `name@host` on one."""
    wanted = select(*(getattr(ScheduleSlot, column) for column in Slot.__slots__))
    on_hosts = ScheduleSlot.name.startswith(f"{name}@", autoescape=True)
    which = [or_(ScheduleSlot.name == name, on_hosts)] if name else []
    found = session.execute(wanted.where(*which).order_by(ScheduleSlot.taken_at.desc()).limit(limit))
    return [Slot(**row) for row in found.mappings()]


def _recorded(session: Session, name: str, scheduled_for: datetime, holder: str, values: dict[str, Any]) -> bool:
    period = (ScheduleSlot.name == name, ScheduleSlot.scheduled_for == scheduled_for)
    mine = (ScheduleSlot.holder == holder, ScheduleSlot.finished_at.is_(None))
    changed = session.execute(update(ScheduleSlot).where(*period, *mine).values(values))
    return bool(cast("Any", changed).rowcount)
