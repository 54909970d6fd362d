"""One period of a policy, done once: its slot is taken, the sweep carried out, and what came of it recorded."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from socket import gethostname

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from db.queries import maintenance, slots
from worker.maintenance import sweep
from worker.maintenance.retention import RetentionPolicy
from worker.maintenance.schedule import Job, due
from worker.maintenance.sweep import Bounds, Clocked, Ended, Report

log = structlog.get_logger(__name__)

LAPSED = timedelta(hours=1)
"""After so long whoever took a slot and did not finish it is taken for dead: any budget, any redelivery is shorter."""
JITTER = timedelta(seconds=3)
"""How long a sweep may wait before it begins, so that not everything of everybody begins on the minute."""


class SlotsUnavailable(Exception):
    """There is no database for slots, or no right to them; the message says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """One period of one job, in somebody's hands."""

    name: str
    scheduled_for: datetime
    holder: str


def once(
    policy: RetentionPolicy,
    job: Job,
    engine: Engine | None,
    *,
    holder: str,
    stop: Callable[[], bool],
    jitter: timedelta = JITTER,
    clock: Callable[[Session], datetime] = slots.now,
) -> Report | None:
    """
    Carry the policy out for the period that is due by now; None where that was done, or somebody is at it.

    The clock is the database's, by which all hosts agree. Without slots every message is carried out: sweeps that
    overlap are harmless.
    """
    try:
        period = taken(policy, job, engine, holder=holder, clock=clock)
    except SlotsUnavailable as why:
        log.warning("slot.unavailable", policy=policy.name, reason=str(why))
        return sweep.carry_out(policy, engine, Bounds(stop=stop))
    if period is None:
        return None
    sweep.wait(jitter * random.random(), stop)  # noqa: S311 - jitter
    report = sweep.carry_out(policy, engine, Bounds(stop=stop))
    record(period, report, engine)
    return report


def taken(
    policy: RetentionPolicy,
    job: Job,
    engine: Engine | None,
    *,
    holder: str,
    clock: Callable[[Session], datetime],
) -> Period | None:
    """
    The period that is due by now, if it is the holder's to do.

    Raises:
        SlotsUnavailable: there are no slots to be had, and the policy can do without.
    """
    name = f"{policy.name}@{gethostname()}" if policy.each_host else policy.name
    if engine is None:
        raise SlotsUnavailable("there is no address of a database")
    try:
        with Clocked(engine) as session, session.begin():
            if lacking := maintenance.lacking(session, slots.RIGHTS):
                raise SlotsUnavailable(f"the role lacks rights: {' '.join(lacking)}")
            scheduled_for = due(job.when, clock(session))
            mine = slots.take(session, name, scheduled_for=scheduled_for, holder=holder, lapsed=LAPSED)
    except DBAPIError as fault:
        if policy.each_host:  # a disk is swept while the database is away
            raise SlotsUnavailable(str(fault.orig).partition("\n")[0]) from fault
        raise
    return Period(name=name, scheduled_for=scheduled_for, holder=holder) if mine else None


def record(period: Period, report: Report, engine: Engine | None) -> None:
    """Finish the slot; one that was told to stop halfway is left to the next message instead."""
    write = slots.interrupt if report.ended is Ended.STOPPED else slots.finish
    with Clocked(engine) as session, session.begin():
        mine = write(
            session,
            period.name,
            scheduled_for=period.scheduled_for,
            holder=period.holder,
            report=report.as_dict(),
        )
    if not mine:
        log.warning("slot.lost", policy=report.policy, scheduled_for=period.scheduled_for.isoformat())


def note(report: Report, engine: Engine) -> None:
    """Put what an operator did into the history, as far as their role may."""
    with Clocked(engine) as session, session.begin():
        if not maintenance.lacking(session, slots.RIGHTS):
            slots.note(session, report.policy, holder=f"operator@{gethostname()}", report=report.as_dict())
