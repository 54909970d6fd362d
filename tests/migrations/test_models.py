"""What the migrations make is what the models say: by the catalog, beyond what Alembic compares; and its rules."""

from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import text

from db.engine import engine
from db.models import Base
from db.url import DatabaseUrl
from worker.local.servers import Addresses

OURS = """
SELECT oid FROM pg_class WHERE relkind = 'r' AND relname <> 'alembic_version' AND relnamespace IN (
    'auth'::regnamespace, 'storage'::regnamespace, 'public'::regnamespace, 'worker'::regnamespace)"""
CATALOG = f"""
SELECT attrelid::regclass::text AS of, attname::text AS name, concat_ws(
    ' ', format_type(atttypid, atttypmod), CASE WHEN attnotnull THEN 'not null' END, attidentity, attgenerated,
    pg_get_expr(adbin, adrelid)) AS definition
FROM pg_attribute LEFT JOIN pg_attrdef ON (adrelid, adnum) = (attrelid, attnum)
WHERE attnum > 0 AND attrelid IN ({OURS})
UNION ALL
SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
WHERE conrelid IN ({OURS}) AND contype <> 'n'
UNION ALL
SELECT indrelid::regclass::text, indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index
WHERE indrelid IN ({OURS})
UNION ALL
SELECT 'enum', enumtypid::regtype::text, string_agg(enumlabel, ', ' ORDER BY enumsortorder) FROM pg_enum GROUP BY 2
ORDER BY 1, 2, 3
"""  # noqa: S608 - of constants
UNINDEXED = """
SELECT conrelid::regclass::text, conname FROM pg_constraint
WHERE contype = 'f' AND NOT EXISTS (
    SELECT FROM pg_index WHERE indrelid = conrelid AND indisvalid AND indpred IS NULL
    AND (indkey::int2[])[0:cardinality(conkey) - 1] @> conkey)
"""
REDUNDANT = f"""
SELECT one.indexrelid::regclass::text, other.indexrelid::regclass::text
FROM pg_index AS one JOIN pg_index AS other USING (indrelid)
JOIN pg_class AS class ON class.oid = one.indexrelid JOIN pg_class AS other_class ON other_class.oid = other.indexrelid
WHERE one.indrelid IN ({OURS}) AND one.indexrelid <> other.indexrelid AND NOT one.indisunique
    AND class.relam = other_class.relam AND one.indexprs IS NULL AND one.indpred IS NULL AND other.indpred IS NULL
    AND (other.indkey::int2[])[0:one.indnkeyatts - 1] = one.indkey::int2[]
    AND (other.indoption::int2[])[0:one.indnkeyatts - 1] = one.indoption::int2[]
"""  # noqa: S608 - of constants


@pytest.fixture
def of_the_models(stack: Addresses, template: str) -> Iterator[DatabaseUrl]:
    """A database whose tables SQLAlchemy made, from the models alone."""
    name = f"models_{uuid4().hex[:12]}"
    with psycopg.connect(stack.database_url.libpq, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        url = stack.database_url.with_database(name)
        make_all(url)
        yield url
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def make_all(url: DatabaseUrl) -> None:
    database = engine(url)
    with database.begin() as connection:
        for schema in ("auth", "storage", "extensions", "worker"):
            connection.execute(text(f"CREATE SCHEMA {schema}"))
        tables = list(Base.metadata.tables.values())
        if connection.scalar(text("SELECT count(*) FROM pg_available_extensions WHERE name = 'vector'")):
            connection.execute(text("CREATE EXTENSION vector SCHEMA extensions"))
        else:
            tables = [table for table in tables if table.name != "code_embeddings"]
        Base.metadata.create_all(connection, tables)
    database.dispose()


def found(url: DatabaseUrl, query: str) -> list[tuple[str, ...]]:
    with psycopg.connect(url.libpq) as connection:
        connection.execute("SET search_path = pg_catalog")
        return connection.execute(query.encode()).fetchall()


def test_there_are_44_tables_besides_our_own() -> None:
    assert sum(table.schema != "worker" for table in Base.metadata.tables.values()) == 44


def test_the_migrations_make_to_the_letter_what_the_models_say(
    owner_url: DatabaseUrl, of_the_models: DatabaseUrl
) -> None:
    assert found(owner_url, CATALOG) == found(of_the_models, CATALOG)


def test_every_foreign_key_is_indexed(owner_url: DatabaseUrl) -> None:
    assert found(owner_url, UNINDEXED) == []


def test_no_index_repeats_another_or_begins_one(owner_url: DatabaseUrl) -> None:
    assert found(owner_url, REDUNDANT) == []


def test_every_table_has_row_level_security(owner_url: DatabaseUrl) -> None:
    assert found(owner_url, f"{OURS} AND NOT relrowsecurity AND relnamespace <> 'worker'::regnamespace") == []
