"""Deleting a user removes everything of theirs and nothing of anyone else, at a cost that follows what is theirs."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Connection, ForeignKey, Table, delete, exists, inspect, select, text

from db.engine import engine
from db.models import Base, User
from db.url import DatabaseUrl
from tests.support.population import TABLES, populate

OF_A_TEAM = {
    "public.teams",
    "public.team_usage_limits",
    "public.billing_info",
    "public.subscription_events",
    "public.workflows",
}
"""A team outlives a member, even its last: whoever pays for it is asked first."""
FILES = {
    "storage.buckets",
    "storage.objects",
    "storage.s3_multipart_uploads",
    "storage.s3_multipart_uploads_parts",
}
"""Supabase lets no row go before its bytes: the Storage API deletes both."""
REFERENCES = [key for table in TABLES for key in sorted(table.foreign_keys, key=lambda key: key.parent.name)]


@pytest.fixture
def connection(owner_url: DatabaseUrl) -> Iterator[Connection]:
    """One transaction of the owner, rolled back."""
    database = engine(owner_url)
    with database.connect() as opened:
        yield opened
    database.dispose()


def remaining(connection: Connection, rows: Mapping[str, Any]) -> set[str]:
    """The tables in which these rows still are."""
    return {name for name, key in rows.items() if _is_there(connection, Base.metadata.tables[name], key)}


def _is_there(connection: Connection, table: Table, key: Any) -> bool:
    return bool(connection.scalar(select(exists().where(table.primary_key.columns[0] == key))))


def naming(connection: Connection, user: UUID, *, among: Collection[str]) -> set[str]:
    """The tables in which a row names the user, in whichever column."""
    whole_row = "SELECT EXISTS (SELECT FROM {} AS it WHERE it::text LIKE :user)"
    return {name for name in among if connection.scalar(text(whole_row.format(name)), {"user": f"%{user}%"})}


def test_deleting_a_user_removes_everything_of_theirs_and_nothing_of_anyone_else(connection: Connection) -> None:
    leaving, staying = uuid4(), uuid4()
    theirs, others = populate(connection, leaving), populate(connection, staying)
    connection.execute(delete(User).where(User.id == leaving))

    assert remaining(connection, theirs) == OF_A_TEAM | FILES
    assert naming(connection, leaving, among=set(theirs) - OF_A_TEAM) == FILES
    assert remaining(connection, others) == set(others)


@pytest.mark.parametrize("key", REFERENCES, ids=lambda key: str(key.parent))
def test_what_hangs_on_a_row_is_found_by_an_index(connection: Connection, key: ForeignKey) -> None:
    if not inspect(connection).has_table(key.parent.table.name, schema=key.parent.table.schema):
        pytest.skip("there is no pgvector here")
    # The tables are empty, so the question is whether there is an index to use, not whether it pays.
    connection.execute(text("SET LOCAL enable_seqscan = off"))
    some = select(key.column).scalar_subquery()
    hanging = delete(key.parent.table).where(key.parent == some)
    plan = connection.scalar(text(f"EXPLAIN (FORMAT JSON) {hanging.compile(connection)}"))

    assert [condition for condition in conditions(plan[0]["Plan"]) if condition.startswith(f"({key.parent.name} = ")]


def conditions(node: Mapping[str, Any]) -> Iterator[str]:
    """What the indexes of a plan are asked for."""
    if "Index Cond" in node:
        yield node["Index Cond"]
    for child in node.get("Plans", ()):
        yield from conditions(child)
