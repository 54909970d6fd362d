"""Projects that were put into the bin long ago: removed for good, a few at a time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from uuid import UUID

from sqlalchemy.orm import Session

from db.queries import purge
from db.queries.maintenance import LOCKED, Expired, Removed, Right, past
from db.queries.purge import Doomed
from worker.maintenance.retention import Refused
from worker.settings import PREFIX

ROWS = 250
"""How many rows are removed at most for each project that a batch is large."""
UNSAFE = (
    "Any user can put any project into the bin, so nothing in it is removed. Replace the function that lets them: "
    f"codingit-worker db harden {purge.FINDING}, or set {PREFIX}PURGE_DESPITE={purge.FINDING}."
)
LEAVES = ("messages", "fragments", "fragment_executions", "workspace_files", "file_uploads")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletedProjects:
    """
    Projects whose `deleted_at` is long ago, with all that hangs on them; their stored files go to the outbox.

    A project goes whole in one transaction, in which it is locked, unless it has more rows than a batch may remove:
    then its rows go first in as many as it takes, and the project with the last of them.
    """

    kept: timedelta
    despite: Sequence[str] = ()
    """Findings of `db check` that are known and do not keep anything from being removed."""

    @property
    def rights(self) -> tuple[Right, ...]:
        """What it takes."""
        leaves = (Right(table=f"public.{name}", privileges=("SELECT", "DELETE")) for name in LEAVES)
        outbox = Right(table="worker.orphaned_files", privileges=("INSERT",))
        return (Right(table="public.projects"), *leaves, outbox)

    def remove(self, session: Session, size: int, after: Sequence[str] | None) -> Removed:
        """Remove up to `size` projects; one that was restored before it is locked here stays."""
        if after is None and self._is_unsafe(session):
            raise Refused(UNSAFE)
        most = size * ROWS
        doomed = purge.hold(session, size, kept=self.kept, after=after or purge.START)
        rows = purge.weights(session, [each.id for each in doomed if each.held], most=most)
        whole = within(doomed, rows, most=most)
        if doomed and not whole:
            purge.nibble(session, doomed[0].id, most=most)
            return Removed(count=0, last=after or purge.START)
        held = [each.id for each in whole if each.held]
        locked = len(whole) - len(held)
        return Removed(
            count=purge.purge(session, held, kept=self.kept),
            last=None if len(whole) < size and whole == doomed else whole[-1].place,
            skipped={LOCKED: locked} if locked else {},
        )

    def pass_over(self, session: Session, after: Sequence[str] | None) -> Removed:
        """Go past the next project, of which somebody holds a row."""
        found = purge.hold(session, 1, kept=self.kept, after=after or purge.START)
        return past(found[0].place if found else None)

    def expired(self, session: Session) -> Expired:
        """Which projects there are to remove."""
        found = purge.expired(session, kept=self.kept)
        return replace(found, staying={UNSAFE: found.count}) if found.count and self._is_unsafe(session) else found

    def _is_unsafe(self, session: Session) -> bool:
        return purge.FINDING not in self.despite and purge.anyone_may_delete(session)


def within(doomed: Sequence[Doomed], rows: Mapping[UUID, int], *, most: int) -> list[Doomed]:
    """The first of these projects that have no more than so many rows together; none where the first alone has."""
    taken: list[Doomed] = []
    for each in doomed:
        most -= rows.get(each.id, 0)
        if most < 0:
            break
        taken.append(each)
    return taken
