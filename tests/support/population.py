"""One valid row in each of the 44 tables, all of one user: what rights and deletions are tried on."""

from collections.abc import Collection, Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Column, Connection, DateTime, Enum, Integer, Table, Uuid, func, inspect, select
from sqlalchemy.dialects.postgresql import INET, JSONB, insert
from sqlalchemy.types import TypeEngine

from db.models import Base

TABLES = [table for table in Base.metadata.sorted_tables if table.schema != "worker"]
CHOSEN = {
    "mfa_factors.factor_type": "totp",
    "mfa_factors.status": "verified",
    "one_time_tokens.token_type": "recovery_token",
    "user_integrations.service_name": "github",
    "team_members.role": "owner",
    "team_usage_limits.usage_type": "api_calls",
    "user_usage.usage_type": "api_calls",
    "billing_info.company_email": "invoices@example.com",
    "chat_export_requests.export_type": "json",
    "chat_message_cache.role": "user",
    "workflow_executions.status": "running",
}
"""Where a CHECK wants one of a few words."""
PLAIN: Mapping[type[TypeEngine[Any]], Any] = {
    Uuid: func.gen_random_uuid(),
    DateTime: func.now(),
    Integer: 1,
    JSONB: {},
    INET: "127.0.0.1",
}
OWNERS = frozenset({"user_id", "owner", "owner_id"})
"""Columns that name a user, with a foreign key or without."""


def populate(
    connection: Connection,
    user: UUID,
    *,
    schemas: Collection[str] = ("auth", "storage", "public"),
    words: Mapping[str, str] = CHOSEN,
) -> dict[str, Any]:
    """
    Make `user` and a row of theirs in every table that there is, each hanging on the others wherever it can.

    Answers the primary keys by table, as `public.tasks`; the caller commits. A table that is new gets its row too.
    """
    made: dict[str, Any] = {}
    inspector = inspect(connection)
    for table in TABLES:
        wanted = table.schema in schemas or table.fullname == "auth.users"
        if wanted and inspector.has_table(table.name, schema=table.schema):
            made[table.fullname] = _row(connection, table, _values(table, user, made=made, words=words))
    return made


def _row(connection: Connection, table: Table, values: Mapping[str, Any]) -> Any:
    key = table.primary_key.columns[0]
    inserted = connection.execute(insert(table).values(values).on_conflict_do_nothing().returning(key)).scalar()
    if inserted is not None:
        return inserted
    theirs = table.c.user_id == values["user_id"]  # a trigger was there first
    return connection.execute(select(key).where(theirs)).scalar_one()


def _values(table: Table, user: UUID, *, made: Mapping[str, Any], words: Mapping[str, str]) -> dict[str, Any]:
    return {
        column.name: words.get(f"{table.name}.{column.name}") or _value(column, user, made)
        for column in table.columns
        if required(column)
    }


def required(column: Column[Any]) -> bool:
    if column.foreign_keys or column.name in OWNERS:
        return True
    numbered = column.primary_key and isinstance(column.type, BigInteger)
    return not (column.nullable or column.server_default is not None or numbered)


def _value(column: Column[Any], user: UUID, made: Mapping[str, Any]) -> Any:
    for reference in column.foreign_keys:
        return made[reference.column.table.fullname]
    if column.name in OWNERS or column.table.fullname == "auth.users":
        return user if isinstance(column.type, Uuid) else str(user)
    return _some(column, user)


def _some(column: Column[Any], user: UUID) -> Any:
    if isinstance(column.type, Enum):
        return column.type.enums[0]
    plain = next((value for kind, value in PLAIN.items() if isinstance(column.type, kind)), None)
    return f"{column.name} of {user}" if plain is None else plain
