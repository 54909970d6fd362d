"""The tasks that `up` shows, as they were at the last look."""

from dataclasses import dataclass, replace

from sqlalchemy.orm import Session

from db.queries import tasks
from db.queries.tasks import Seen
from worker.run.text import storable

KEPT = 30
"""How many tasks are followed; of older ones the ended are let go first."""
AT_ONCE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One task, fit for a terminal. `cancelled` is the status of one whose row was deleted."""

    id: int
    agent: str
    status: str
    progress: int
    branch: str | None
    message: str

    @property
    def over(self) -> bool:
        """Whether nothing more happens to it by itself."""
        return self.status in tasks.ENDED or self.status == "cancelled"


class Board:
    """Follows the tasks that were added after it was made."""

    def __init__(self, session: Session) -> None:
        self.rows: dict[int, Row] = {}
        self._last = tasks.last_id(session)

    def look(self, session: Session) -> list[Row]:
        """Look at all of them; answers those that changed."""
        found = {task.id: row(task) for task in tasks.several(session, list(self.rows))}
        found |= {task.id: row(task) for task in tasks.since(session, self._last, limit=AT_ONCE)}
        gone = {at: cancelled(was) for at, was in self.rows.items() if at not in found}
        changed = [now for at, now in sorted((found | gone).items()) if self.rows.get(at) != now]
        self.rows.update({now.id: now for now in changed})
        self._last = max((self._last, *found))
        return changed

    def forget(self) -> None:
        """Show none of those that are over any more; what still goes on stays."""
        self.rows = {at: now for at, now in self.rows.items() if not now.over}

    def trim(self) -> None:
        """Let go of the oldest that are over, beyond the number that is kept."""
        over = [at for at, now in sorted(self.rows.items()) if now.over]
        for at in over[: max(0, len(self.rows) - KEPT)]:
            del self.rows[at]


def row(task: Seen) -> Row:
    """A task as it is shown."""
    return Row(
        id=task.id,
        agent=line(task.agent or "claude"),
        status=line(task.status),
        progress=task.progress,
        branch=line(task.branch) if task.branch else None,
        message=line(task.last_message or ""),
    )


def cancelled(was: Row) -> Row:
    """The same task after its row was deleted."""
    if was.status == "cancelled":
        return was
    message = "Its owner deleted it while it ran." if was.status == "processing" else "Its owner deleted it."
    return replace(was, status="cancelled", message=message)


def line(value: object) -> str:
    """One line that no terminal obeys: owners write what they like into their rows."""
    return " ".join(storable(str(value)).split())
