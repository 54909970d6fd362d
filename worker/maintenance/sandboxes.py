"""Machines at E2B that their runs left behind, as when the worker was killed: ended, and paid for no longer."""

from dataclasses import dataclass

import structlog
from sqlalchemy.orm import Session

from db.queries import sandboxes
from db.queries.maintenance import Expired, Removed, Right
from worker.errors import CommandFailed
from worker.sandbox import e2b
from worker.sandbox.e2b import Account

log = structlog.get_logger(__name__)

KEPT = "E2B did not say that it is gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class StraySandboxes:
    """Those whose attempt nobody has any more, by the ids that the worker itself noted: never by a task's row."""

    account: Account

    @property
    def rights(self) -> tuple[Right, ...]:
        """What it takes."""
        return (
            Right(table="worker.sandboxes", privileges=("SELECT", "DELETE")),
            Right(table="worker.leases", privileges=("SELECT",)),
        )

    def remove(self, session: Session, size: int, after: str | None) -> Removed:
        """End the next few, one by one; what could not be ended stays noted."""
        found = sandboxes.stray(session, size, after=after)
        session.commit()
        ended = [each for each in found if self._killed(each)]
        count = sum(sandboxes.forget(session, each) for each in ended)
        kept = len(found) - len(ended)
        last = found[-1] if len(found) == size else None
        return Removed(count=count, last=last, skipped={KEPT: kept} if kept else {})

    def expired(self, session: Session) -> Expired:
        """All that could be ended now."""
        return sandboxes.expired(session)

    def _killed(self, sandbox: str) -> bool:
        try:
            e2b.kill(self.account, sandbox)
        except CommandFailed as fault:
            log.warning("sandbox.kept", sandbox=sandbox, reason=str(fault))
            return False
        return True
