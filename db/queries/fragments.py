"""Fragments, the pieces of code that users keep, and their executions in sandboxes."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypedDict, Unpack
from uuid import UUID

from sqlalchemy import Select, delete, func, insert, select, update
from sqlalchemy.orm import Session

from db.models import Fragment, FragmentExecution
from db.queries.changes import only, was_done
from db.queries.paging import newest_first, only_of
from db.queries.storable import readable, storable

Outcome = Literal["completed", "failed", "timeout"]
GOING_ON = ("pending", "running")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A fragment; a time is None where its owner wrote none that Python can hold."""

    id: UUID
    user_id: UUID
    project_id: UUID | None
    title: str
    description: str | None
    template: str
    code: str
    file_path: str
    additional_dependencies: list[str] | None
    install_dependencies_command: str | None
    port: int | None
    is_public: bool
    metadata: Any
    created_at: datetime | None
    updated_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """One execution of a fragment; `completed_at` is None while it goes on."""

    id: UUID
    fragment_id: UUID
    user_id: UUID
    sandbox_id: str | None
    template: str
    status: str | None
    execution_url: str | None
    stdout: str | None
    stderr: str | None
    runtime_error: str | None
    cell_results: Any
    execution_time_ms: int | None
    started_at: datetime | None
    completed_at: datetime | None


class Changes(TypedDict, total=False):
    """What its owner may change of a fragment; what is left out stays."""

    title: str
    description: str | None
    template: str
    code: str
    file_path: str
    additional_dependencies: list[str]
    install_dependencies_command: str | None
    port: int | None
    is_public: bool
    metadata: Any


def create(
    session: Session,
    title: str,
    *,
    user_id: UUID,
    template: str,
    code: str,
    file_path: str,
    project_id: UUID | None = None,
    description: str | None = None,
    additional_dependencies: Collection[str] = (),
    install_dependencies_command: str | None = None,
    port: int | None = None,
    is_public: bool = False,
    metadata: Mapping[str, Any] | None = None,
) -> UUID:
    """Keep a fragment; answers its id."""
    values = {
        "user_id": user_id,
        "project_id": project_id,
        "title": title,
        "description": description,
        "template": template,
        "code": code,
        "file_path": file_path,
        "additional_dependencies": list(additional_dependencies),
        "has_additional_dependencies": bool(additional_dependencies),
        "install_dependencies_command": install_dependencies_command,
        "port": port,
        "is_public": is_public,
        "metadata_": metadata or {},
    }
    return session.execute(insert(Fragment).values(storable(values)).returning(Fragment.id)).scalar_one()


def get(session: Session, fragment_id: UUID) -> Seen | None:
    """The fragment, None when there is none."""
    return next(iter(_seen(session, _looking().where(Fragment.id == fragment_id))), None)


def newest(
    session: Session,
    limit: int,
    *,
    user_id: UUID | None = None,
    project_id: UUID | None = None,
    before: Seen | None = None,
) -> list[Seen]:
    """The newest first, of a user, of a project, or all; the next page is `before` the last fragment of this one."""
    wanted = only_of(_looking(), Fragment, user_id=user_id, project_id=project_id)
    place = None if before is None else (before.created_at, before.id)
    return _seen(session, newest_first(wanted, Fragment.created_at, Fragment.id, before=place).limit(limit))


def change(session: Session, fragment_id: UUID, **changes: Unpack[Changes]) -> bool:
    """Write what is given; False when there is no such fragment, or it is another's."""
    values = {**only(Changes, changes), "updated_at": func.now()}
    if "additional_dependencies" in values:
        values["has_additional_dependencies"] = bool(values["additional_dependencies"])
    return was_done(session, update(Fragment).where(Fragment.id == fragment_id).values(values))


def delete_for_good(session: Session, fragment_id: UUID) -> bool:
    """Delete a fragment with its executions; False when there is none."""
    return was_done(session, delete(Fragment).where(Fragment.id == fragment_id))


def execute(
    session: Session, fragment_id: UUID, *, user_id: UUID, template: str, sandbox_id: str | None = None
) -> UUID:
    """Note that an execution has begun; answers its id."""
    values = {
        "fragment_id": fragment_id,
        "user_id": user_id,
        "template": template,
        "sandbox_id": sandbox_id,
        "status": "running",
    }
    started = insert(FragmentExecution).values(storable(values)).returning(FragmentExecution.id)
    return session.execute(started).scalar_one()


def finish(
    session: Session,
    execution_id: UUID,
    *,
    outcome: Outcome,
    execution_url: str | None = None,
    stdout: str | None = None,
    stderr: str | None = None,
    runtime_error: str | None = None,
    cell_results: Any = None,
    execution_time_ms: int | None = None,
) -> bool:
    """End an execution that goes on; False when it has ended already, or there is none."""
    values = {
        "status": outcome,
        "execution_url": execution_url,
        "stdout": stdout,
        "stderr": stderr,
        "runtime_error": runtime_error,
        "cell_results": cell_results,
        "execution_time_ms": execution_time_ms,
    }
    which = (FragmentExecution.id == execution_id, FragmentExecution.status.in_(GOING_ON))
    ended = update(FragmentExecution).where(*which).values(**storable(values), completed_at=func.now())
    return was_done(session, ended)


def executions(session: Session, fragment_id: UUID, *, limit: int, before: Execution | None = None) -> list[Execution]:
    """The last begun first; the next page is `before` the last execution of this one."""
    it = FragmentExecution
    wanted = select(
        *(it.id, it.fragment_id, it.user_id, it.sandbox_id, it.template, it.status, it.execution_url, it.stdout),
        *(it.stderr, it.runtime_error, it.cell_results, it.execution_time_ms),
        *(readable(time).label(time.key) for time in (it.started_at, it.completed_at)),
    ).where(it.fragment_id == fragment_id)
    place = None if before is None else (before.started_at, before.id)
    found = session.execute(newest_first(wanted, it.started_at, it.id, before=place).limit(limit))
    return [Execution(**row) for row in found.mappings()]


def _looking() -> Select[*tuple[Any, ...]]:
    it = Fragment
    return select(
        *(it.id, it.user_id, it.project_id, it.title, it.description, it.template, it.code, it.file_path),
        *(it.additional_dependencies, it.install_dependencies_command, it.port),
        func.coalesce(it.is_public, False).label("is_public"),
        it.metadata_.label("metadata"),
        *(readable(time).label(time.key) for time in (it.created_at, it.updated_at)),
    )


def _seen(session: Session, wanted: Select[*tuple[Any, ...]]) -> list[Seen]:
    return [Seen(**row) for row in session.execute(wanted).mappings()]
