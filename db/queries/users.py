"""The people whose tasks these are."""

from uuid import UUID

from sqlalchemy import Text, cast, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from db.models import User


def find(session: Session, name: UUID | str) -> UUID | None:
    """The user with this id, or with this address of email whatever its case; None when there is none."""
    which = User.id == name if isinstance(name, UUID) else func.lower(cast(User.email, Text)) == name.lower()
    return session.execute(select(User.id).where(which).order_by(User.id).limit(1)).scalar()


def ensure(session: Session, user_id: UUID, *, email: str) -> None:
    """Add a user, unless there is one with this id."""
    session.execute(insert(User).values(id=user_id, email=email).on_conflict_do_nothing())
