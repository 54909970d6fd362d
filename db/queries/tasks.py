"""Tasks as people look at them: added, listed, watched, deleted. What workers do to them is `queue`."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Float,
    Select,
    String,
    Text,
    column,
    delete,
    func,
    insert,
    literal,
    literal_column,
    select,
)
from sqlalchemy import cast as sql_cast
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from db.models import Run, Task, TaskStatus

CREATED = "Task created, preparing to start..."
"""The first entry of every log, as the web app writes it."""
PROMPT, CELL = 1_000_000, 1_000
"""How many characters are read of one task's prompt, and of whatever else an owner may have made long."""
ENDED = frozenset({TaskStatus.COMPLETED.value, TaskStatus.ERROR.value})


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A task as it stands. All but its id is its owner's to write, so none of it is fit for a terminal as it is."""

    id: int
    user_id: UUID
    status: str
    progress: int
    prompt: str
    repo_url: str | None
    agent: str | None
    model: str | None
    branch: str | None
    last_message: str | None
    version: str
    """Differs whenever the row was written."""

    @property
    def ended(self) -> bool:
        """Whether nothing more happens to it by itself."""
        return self.status in ENDED


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry of a log; an owner may have left out or twisted any part."""

    id: str | None
    timestamp: str | None
    type: str | None
    message: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt at a task; `seconds` count up to now while it runs."""

    attempt: int
    worker: str
    seconds: float
    outcome: str | None
    error: str | None
    branch: str | None
    head: str | None


def create(
    session: Session,
    prompt: str,
    *,
    user_id: UUID,
    agent: str,
    model: str | None = None,
    repo_url: str | None = None,
    branch: str | None = None,
) -> int:
    """Add a pending task, with the first log entry that the web app gives it; answers its id."""
    values = {
        "user_id": user_id,
        "prompt": prompt,
        "selected_agent": agent,
        "selected_model": model,
        "repo_url": repo_url,
        "branch_name": branch,
        "logs": func.jsonb_build_array(_first_entry()),
    }
    created = session.execute(insert(Task).values(values).returning(Task.id))
    return created.scalar_one()


def get(session: Session, task_id: int) -> Seen | None:
    """The task, None when there is none."""
    return next(iter(_seen(session, _looking(prompt=PROMPT).where(Task.id == task_id))), None)


def several(session: Session, task_ids: Collection[int]) -> list[Seen]:
    """Those of these tasks that there still are, by id."""
    return _seen(session, _looking().where(Task.id.in_(task_ids)).order_by(Task.id))


def newest(
    session: Session,
    limit: int,
    *,
    before: int | None = None,
    statuses: Collection[TaskStatus] = (),
    user_id: UUID | None = None,
) -> list[Seen]:
    """The newest first, by id; the next page is `before` the last id of this one. No status means any."""
    wanted = _looking().where(*_which(statuses, user_id))
    if before is not None:
        wanted = wanted.where(Task.id < before)
    return _seen(session, wanted.order_by(Task.id.desc()).limit(limit))


def since(session: Session, task_id: int, *, limit: int) -> list[Seen]:
    """The first tasks that came after this id."""
    return _seen(session, _looking().where(Task.id > task_id).order_by(Task.id).limit(limit))


def last_id(session: Session) -> int:
    """The highest id that there is, 0 without tasks."""
    return session.execute(select(func.coalesce(func.max(Task.id), 0))).scalar_one()


def entries(session: Session, task_id: int) -> list[Entry]:
    """The log, in order, whichever way it is stored; none where it cannot be read or there is no such task."""
    array = func.public.task_log(Task.logs)
    each = func.jsonb_array_elements(array).table_valued(column("value", JSONB), with_ordinality="n").render_derived()
    parts = [func.jsonb_extract_path_text(each.c.value, name).label(name) for name in Entry.__slots__]
    joined = select(*parts).select_from(Task).join(each, literal(True))
    found = session.execute(joined.where(Task.id == task_id).order_by(each.c.n))
    return [Entry(**row) for row in found.mappings()]


def attempts(session: Session, task_id: int) -> list[Attempt]:
    """Every attempt at the task, in order; they are kept when the task is deleted."""
    took = func.extract("epoch", func.coalesce(Run.finished_at, func.now()) - Run.started_at)
    wanted = select(
        Run.attempt,
        Run.holder.label("worker"),
        sql_cast(took, Float).label("seconds"),
        Run.outcome,
        Run.error,
        Run.pushed_branch.label("branch"),
        Run.pushed_head.label("head"),
    )
    found = session.execute(wanted.where(Run.task_id == task_id).order_by(Run.fence))
    return [Attempt(**row) for row in found.mappings()]


def count(session: Session, *, statuses: Collection[TaskStatus] = (), user_id: UUID | None = None) -> Mapping[str, int]:
    """How many tasks there are of each status; a status without any is left out."""
    status = sql_cast(Task.status, Text)
    found = session.execute(select(status, func.count()).where(*_which(statuses, user_id)).group_by(status))
    return {row[0]: row[1] for row in found}


def delete_in(session: Session, statuses: Collection[TaskStatus], *, user_id: UUID | None = None) -> int:
    """Delete what is in one of these statuses now; answers how many. One that runs is cancelled by it."""
    if not statuses:
        return 0
    return _deleted(session, *_which(statuses, user_id))


def delete_these(session: Session, task_ids: Collection[int]) -> list[int]:
    """Delete these tasks; answers the ids of those that there were."""
    return list(session.execute(delete(Task).where(Task.id.in_(task_ids)).returning(Task.id)).scalars())


def _first_entry() -> ColumnElement[Any]:
    # As the protocol's worker.entry makes them, which nobody may call who acts as a user.
    return func.jsonb_build_object(
        *("id", func.left(func.replace(sql_cast(func.gen_random_uuid(), Text), "-", ""), 21)),
        *("timestamp", func.to_char(func.timezone("UTC", func.now()), 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')),
        *("type", "info", "message", CREATED),
    )


def _looking(*, prompt: int = CELL) -> Select[Any]:
    last = func.jsonb_extract_path_text(func.public.task_log(Task.logs), "-1", "message")
    return select(
        Task.id,
        Task.user_id,
        sql_cast(Task.status, Text).label("status"),
        Task.progress,
        func.left(Task.prompt, prompt).label("prompt"),
        func.left(Task.repo_url, CELL).label("repo_url"),
        func.left(Task.selected_agent, CELL).label("agent"),
        func.left(Task.selected_model, CELL).label("model"),
        func.left(Task.branch_name, CELL).label("branch"),
        func.left(last, CELL).label("last_message"),
        literal_column("tasks.xmin::text", Text).label("version"),
    )


def _which(statuses: Collection[TaskStatus], user_id: UUID | None) -> Sequence[ColumnElement[bool]]:
    # Status is the enum or text with a CHECK: a plain literal is compared with both, and can use the index.
    wanted = [literal(status.value, String, literal_execute=True) for status in statuses]
    by_status = [Task.status.in_(wanted)] if wanted else []
    return [*by_status, *([Task.user_id == user_id] if user_id else [])]


def _seen(session: Session, wanted: Select[Any]) -> list[Seen]:
    return [Seen(**row) for row in session.execute(wanted).mappings()]


def _deleted(session: Session, *which: ColumnElement[bool]) -> int:
    return cast("int", cast("Any", session.execute(delete(Task).where(*which))).rowcount)
