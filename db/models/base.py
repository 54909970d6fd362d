"""The base of all models, and the column types that they share."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from sqlalchemy import DateTime, MetaData, Text, Uuid, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, mapped_column

NAMES = {
    "pk": "%(table_name)s_pkey",
    "fk": "%(table_name)s_%(column_0_name)s_fkey",
    "uq": "%(table_name)s_%(column_0_name)s_key",
    "ck": "%(table_name)s_%(constraint_name)s_check",
}
"""PostgreSQL's own names for constraints, which the application's migrations left to it."""

Timestamp = Annotated[datetime, mapped_column(DateTime(timezone=True))]
CreatedNow = Annotated[datetime, mapped_column(DateTime(timezone=True), server_default=func.now())]
Count = Annotated[int, mapped_column(server_default=text("0"))]


class Base(DeclarativeBase):
    """All tables, in every schema."""

    metadata = MetaData(naming_convention=NAMES)
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy's own way to say it
        datetime: DateTime(timezone=True),
        str: Text,
        UUID: Uuid,
        dict[str, Any]: JSONB,
    }
