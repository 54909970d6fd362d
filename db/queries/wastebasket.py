"""The wastebasket: taking a deleted project out of it, while it is kept."""

from datetime import timedelta
from enum import StrEnum
from uuid import UUID

from sqlalchemy import and_, func, or_, select, update
from sqlalchemy.orm import Session

from db.models import Project, ProjectStatus


class Answer(StrEnum):
    """What became of it."""

    RESTORED = "restored"
    KEPT = "kept"
    """It is not in there."""
    TOO_LATE = "too late"
    """It has been there for longer than it is kept: its purge may have begun."""
    ABSENT = "absent"


def take_out(session: Session, project_id: UUID, *, kept: timedelta) -> Answer:
    """
    Make a project active that was deleted less than `kept` ago.

    A purge that has it locked is waited for; one that comes later finds it active, and leaves it.
    """
    since = func.now() - kept
    undated = and_(Project.deleted_at.is_(None), Project.status == ProjectStatus.DELETED)
    active = {"status": ProjectStatus.ACTIVE, "deleted_at": None, "updated_at": func.now()}
    which = (Project.id == project_id, or_(Project.deleted_at >= since, undated))
    if session.execute(update(Project).where(*which).values(active).returning(Project.id)).scalar():
        return Answer.RESTORED
    deleted = session.execute(select(Project.deleted_at.is_not(None)).where(Project.id == project_id)).scalar()
    return Answer.ABSENT if deleted is None else Answer.TOO_LATE if deleted else Answer.KEPT
