"""What operators do to leases besides the protocol."""

from dataclasses import dataclass

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from db.models import Lease


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A task in some worker's hands, and the fence that it has."""

    task_id: int
    fence: int


def forget_offers(session: Session) -> None:
    """Take back every offer that nobody claimed: for a broker that is new, where no message waits any more."""
    waiting = (Lease.holder.is_(None), Lease.offered_at.is_not(None))
    session.execute(update(Lease).where(*waiting).values(offered_at=None))


def held_by(session: Session, node: str) -> list[Held]:
    """What a worker of this name holds, whose holder is `node celery-id`."""
    held = select(Lease.task_id, Lease.fence).where(Lease.holder.startswith(f"{node} ", autoescape=True))
    return [Held(task_id=row.task_id, fence=row.fence) for row in session.execute(held)]
