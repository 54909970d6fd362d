"""Projects: created, listed with their latest message, changed, put into the bin and out of it, deleted for good."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypedDict, Unpack
from uuid import UUID

from sqlalchemy import ColumnElement, Select, delete, func, insert, select, true, update
from sqlalchemy.orm import Session

from db.models import Message, Project, ProjectStatus
from db.queries.changes import only, was_done
from db.queries.paging import newest_first, place
from db.queries.storable import readable, storable

ACTIVE = (ProjectStatus.ACTIVE,)
NOT_DELETED = (ProjectStatus.ACTIVE, ProjectStatus.ARCHIVED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A project as a dashboard shows it. A time is None where its owner wrote none that Python can hold."""

    id: UUID
    user_id: UUID
    team_id: UUID | None
    title: str
    description: str | None
    template_id: str | None
    status: ProjectStatus | None
    is_public: bool
    metadata: Any
    created_at: datetime | None
    updated_at: datetime | None
    deleted_at: datetime | None
    latest_message: Any
    """The content of the message with the highest sequence number; None without messages."""
    last_activity: datetime | None
    """When that message came, or when the project was created."""


class Changes(TypedDict, total=False):
    """What its owner may change of a project; what is left out stays."""

    title: str
    description: str | None
    template_id: str | None
    team_id: UUID | None
    is_public: bool
    metadata: Any


def create(
    session: Session,
    title: str,
    *,
    user_id: UUID,
    team_id: UUID | None = None,
    template_id: str | None = None,
    description: str | None = None,
    is_public: bool = False,
    metadata: Mapping[str, Any] | None = None,
) -> UUID:
    """Add an active project; answers its id."""
    values = {
        "user_id": user_id,
        "team_id": team_id,
        "title": title,
        "description": description,
        "template_id": template_id,
        "is_public": is_public,
        "metadata_": metadata or {},
    }
    return session.execute(insert(Project).values(storable(values)).returning(Project.id)).scalar_one()


def get(session: Session, project_id: UUID) -> Seen | None:
    """The project, also one in the bin; None when there is none."""
    return next(iter(_seen(session, select(Project).where(Project.id == project_id))), None)


def newest(
    session: Session,
    limit: int,
    *,
    user_id: UUID | None = None,
    team_id: UUID | None = None,
    statuses: Collection[ProjectStatus] = ACTIVE,
    before: Seen | None = None,
) -> list[Seen]:
    """
    The last updated first; the next page is `before` the last project of this one.

    Of one user, of one team, or of one user within a team; without either, whatever the session may see.
    """
    wanted = select(Project).where(Project.status.in_(statuses), *_whose(user_id, team_id))
    last = None if before is None else (before.updated_at, before.id)
    return _seen(session, newest_first(wanted, Project.updated_at, Project.id, before=last).limit(limit))


def change(session: Session, project_id: UUID, **changes: Unpack[Changes]) -> bool:
    """Write what is given; False when there is no such project, or it is another's."""
    return _updated(session, project_id, NOT_DELETED, only(Changes, changes))


def archive(session: Session, project_id: UUID) -> bool:
    """Put an active project aside; False when there is none."""
    return _updated(session, project_id, ACTIVE, {"status": ProjectStatus.ARCHIVED})


def delete_softly(session: Session, project_id: UUID) -> bool:
    """Put a project into the bin, where maintenance finds it in time; False when there is none outside of it."""
    return _updated(session, project_id, NOT_DELETED, {"status": ProjectStatus.DELETED, "deleted_at": func.now()})


def restore(session: Session, project_id: UUID) -> bool:
    """Make an archived project, or one in the bin, active again; False when there is none."""
    which = (ProjectStatus.ARCHIVED, ProjectStatus.DELETED)
    return _updated(session, project_id, which, {"status": ProjectStatus.ACTIVE, "deleted_at": None})


def delete_for_good(session: Session, project_id: UUID) -> bool:
    """Delete a project with its messages, fragments and files' rows; False when there is none."""
    return was_done(session, delete(Project).where(Project.id == project_id))


def _updated(session: Session, project_id: UUID, leaving: Collection[ProjectStatus], values: Mapping[str, Any]) -> bool:
    which = (Project.id == project_id, Project.status.in_(leaving))
    return was_done(session, update(Project).where(*which).values(**values, updated_at=func.now()))


def _whose(user_id: UUID | None, team_id: UUID | None) -> list[ColumnElement[bool]]:
    wanted = {Project.user_id: user_id, Project.team_id: team_id}
    return [column == value for column, value in wanted.items() if value is not None]


def _seen(session: Session, wanted: Select[Project]) -> list[Seen]:
    # The page is cut first, then one look along an index finds the latest message of each project on it.
    page = wanted.with_only_columns(
        *(Project.id, Project.user_id, Project.team_id, Project.title, Project.description, Project.template_id),
        *(Project.status, func.coalesce(Project.is_public, False).label("is_public")),
        Project.metadata_.label("metadata"),
        *(readable(time).label(time.key) for time in (Project.created_at, Project.updated_at, Project.deleted_at)),
        place(Project.updated_at).label("place"),
    ).subquery("page")
    latest = (
        select(Message.content, readable(Message.created_at).label("created_at"))
        .where(Message.project_id == page.c.id)
        .order_by(Message.sequence_number.desc())
        .limit(1)
        .lateral("latest")
    )
    found = select(
        *(column for column in page.c if column.key != "place"),
        latest.c.content.label("latest_message"),
        func.coalesce(latest.c.created_at, page.c.created_at).label("last_activity"),
    ).select_from(page.outerjoin(latest, true()))
    rows = session.execute(found.order_by(page.c.place.desc(), page.c.id.desc()))
    return [Seen(**row) for row in rows.mappings()]
