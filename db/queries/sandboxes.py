"""Machines of a provider's whose attempt has ended, or is somebody else's by now."""

from sqlalchemy import Text, and_, delete, exists, func, select
from sqlalchemy import cast as sql_cast
from sqlalchemy.orm import Session

from db.models import Lease, RemoteSandbox
from db.queries.changes import rows_changed
from db.queries.maintenance import SAMPLE, Expired

STRAY = ~exists().where(and_(Lease.task_id == RemoteSandbox.task_id, Lease.fence == RemoteSandbox.fence))
"""No lease is of the attempt that it was made for: each claim and each recovery gives a lease another fence."""


def stray(session: Session, size: int, *, after: str | None) -> list[str]:
    """The ids of the next few beyond `after`."""
    wanted = select(RemoteSandbox.id).where(STRAY)
    if after is not None:
        wanted = wanted.where(RemoteSandbox.id > after)
    return list(session.scalars(wanted.order_by(RemoteSandbox.id).limit(size)))


def forget(session: Session, sandbox: str) -> int:
    """Strike off one that is gone; answers how many that were."""
    return rows_changed(session, delete(RemoteSandbox).where(RemoteSandbox.id == sandbox))


def expired(session: Session) -> Expired:
    """All that are stray."""
    oldest = sql_cast(func.min(RemoteSandbox.made_at), Text)
    count, since = session.execute(select(func.count(), oldest).select_from(RemoteSandbox).where(STRAY)).one()
    return Expired(count=count, oldest=since, sample=tuple(stray(session, SAMPLE, after=None)))
