"""Cleaning up, as beat asks for it."""

from functools import cache

import psycopg
import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from db.engine import engine, kind, reason
from db.errors import DatabaseUnreachable
from worker.app import app, shutdown
from worker.maintenance import periods, policies, schedule
from worker.settings import settings

log = structlog.get_logger(__name__)


@cache
def database() -> Engine | None:
    """This child's connections; first asked for by a task, and so after the fork. None where no address is set."""
    url = settings().maintenance_database_url or settings().database_url
    return engine(url) if url else None


# Acknowledged late: a message whose worker died comes again, and takes over the slot that was never finished.
@app.task(name="maintenance.sweep", bind=True, acks_late=True)  # type: ignore[untyped-decorator]  # Celery has no types
def sweep(self, name: str) -> str:  # type: ignore[no-untyped-def]  # noqa: ANN001 - Celery's own task
    """Carry out the policy of this name for the period that is due, unless that was done; the answer is for Flower."""
    policy, job = policies.named(settings(), name), schedule.jobs(settings()).get(name)
    if policy.batch is None or job is None:
        return "switched off"
    node, message = self.request.hostname, self.request.id
    # Several workers of a host may have one message at once, which is no other's delivered again.
    holder = f"{node} {message}@{node}" if policy.each_host else f"{node} {message}"
    with shutdown.heeded() as notice, structlog.contextvars.bound_contextvars(policy=name):
        try:
            report = periods.once(policy, job, database(), holder=holder, stop=notice.given)
        except DBAPIError as fault:
            return cut_off(fault)
        if report is None:
            return "done already"
        log.info("sweep.finished", **report.as_dict())
        return f"{report.removed} removed, {report.ended}"


def cut_off(fault: DBAPIError) -> str:
    """Tell that the database went away or was never there: what was committed stays, and the next period goes on."""
    cause = fault.orig
    if not isinstance(cause, psycopg.Error) or kind(cause) is not DatabaseUnreachable:
        raise fault
    log.warning("sweep.cut_off", reason=reason(cause))
    return "the database is away"
