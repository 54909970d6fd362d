"""The base of all models, and the column types that they share."""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address
from typing import Annotated, Any
from uuid import UUID

from sqlalchemy import BigInteger, DateTime, Enum, ForeignKey, MetaData, Numeric, String, Text, Uuid, func, text
from sqlalchemy.dialects.postgresql import ARRAY, INET, JSONB
from sqlalchemy.orm import DeclarativeBase, mapped_column

NAMES = {
    "pk": "%(table_name)s_pkey",
    "fk": "%(table_name)s_%(column_0_name)s_fkey",
    "uq": "%(table_name)s_%(column_0_name)s_key",
    "ck": "%(table_name)s_%(constraint_name)s_check",
}
"""PostgreSQL's own names for constraints, which the application's migrations left to it."""

Id = Annotated[UUID, mapped_column(primary_key=True, server_default=text("gen_random_uuid()"))]
Owner = Annotated[UUID, mapped_column(ForeignKey("auth.users.id", ondelete="CASCADE"))]
OfTeam = Annotated[UUID, mapped_column(ForeignKey("public.teams.id", ondelete="CASCADE"))]
OfProject = Annotated[UUID, mapped_column(ForeignKey("public.projects.id", ondelete="CASCADE"))]
Timestamp = Annotated[datetime, mapped_column(DateTime(timezone=True))]
Now = Annotated[datetime, mapped_column(DateTime(timezone=True), server_default=func.now())]
"""The time of the transaction, unless another is given."""
Varchar = Annotated[str, mapped_column(String)]
Yes = Annotated[bool, mapped_column(server_default=text("true"))]
No = Annotated[bool, mapped_column(server_default=text("false"))]
Count = Annotated[int, mapped_column(server_default=text("0"))]
Big = Annotated[int, mapped_column(BigInteger)]
BigCount = Annotated[int, mapped_column(BigInteger, server_default=text("0"))]
Amount = Annotated[Decimal, mapped_column(Numeric, server_default=text("0"))]
Json = Annotated[Any, mapped_column(JSONB(none_as_null=True))]
"""Any JSON; None is an SQL NULL."""
Document = Annotated[Any, mapped_column(JSONB(none_as_null=True), server_default=text("'{}'::jsonb"))]
Address = Annotated[IPv4Address | IPv6Address, mapped_column(INET)]
EMAIL = r"'^[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}$'"
"""What the application takes for an e-mail address, as SQL writes a pattern."""


class Base(DeclarativeBase):
    """All tables, in every schema."""

    metadata = MetaData(naming_convention=NAMES)
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy's own way to say it
        datetime: DateTime(timezone=True),
        str: Text,
        UUID: Uuid,
        dict[str, Any]: JSONB,
        list[str]: ARRAY(Text),
        list[UUID]: ARRAY(Uuid),
    }


def enumeration(kind: type[StrEnum], name: str, *, schema: str = "public") -> Enum:
    """PostgreSQL's enum `name` with the values of `kind`."""
    return Enum(kind, name=name, schema=schema, values_callable=lambda kinds: [each.value for each in kinds])
