"""Pages by key: each begins where the last one ended, however many came in between."""

from datetime import datetime
from typing import Any, TypeVarTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Select, SQLColumnExpression, Text, cast, func, literal, tuple_
from sqlalchemy.dialects.postgresql import TIMESTAMP

from db.models import FileUpload, Fragment
from db.queries.storable import readable

Columns = TypeVarTuple("Columns")
Time = SQLColumnExpression[datetime] | SQLColumnExpression[datetime | None]
LONG_AGO = cast(literal("-infinity", Text), TIMESTAMP(timezone=True))


def place(time: Time) -> ColumnElement[Any]:
    """What rows are ordered by; those whose time is NULL, or one that Python cannot hold, come last."""
    return func.coalesce(readable(time), LONG_AGO)


def only_of(
    wanted: Select[*Columns], model: type[FileUpload | Fragment], *, user_id: UUID | None, project_id: UUID | None
) -> Select[*Columns]:
    """What is of this user, and in this project; None is any."""
    if user_id is not None:
        wanted = wanted.where(model.user_id == user_id)
    return wanted if project_id is None else wanted.where(model.project_id == project_id)


def newest_first(
    wanted: Select[*Columns], time: Time, key: SQLColumnExpression[UUID], *, before: tuple[datetime | None, UUID] | None
) -> Select[*Columns]:
    """The latest `time` first; from the row that has this time and key on, without it."""
    if before is not None:
        then, last = before
        at = LONG_AGO if then is None else literal(then, TIMESTAMP(timezone=True))
        wanted = wanted.where(tuple_(place(time), key) < tuple_(at, literal(last)))
    return wanted.order_by(place(time).desc(), key.desc())
