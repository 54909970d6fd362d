"""Brings a database to the version of this release, back again, and says how one differs from it."""

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from psycopg import sql
from sqlalchemy import Connection, select, text

from db import catalog, vector
from db.engine import engine
from db.errors import PoolerRefused, UpgradeBusy
from db.migrations.created import TIMEOUTS
from db.models import Base, CreatedObject
from db.url import DatabaseUrl

HERE = Path(__file__).parent
PROTOCOL = (HERE / "sql" / "queue.sql").read_text()
LOCK = int.from_bytes(b"codingit")
"""The advisory lock that two upgrades of one database contend for."""
LOCK_WITHIN = 300.0
"""Seconds that an upgrade waits for another one."""
VERSIONS_IN = "worker"
"""The schema in which Alembic keeps its version."""
TABLES = frozenset(table.fullname for table in Base.metadata.tables.values())


def upgrade(url: DatabaseUrl) -> str:
    """
    Migrate to this release's version and install its protocol; answers the version.

    Safe to repeat, and to run twice at once.

    Raises:
        PoolerRefused: the address is a transaction pooler's.
        UpgradeBusy: another upgrade went on for too long.
    """
    with _exclusive(url) as connection:
        command.upgrade(_config(connection), "head")
        with Operations.context(MigrationContext.configure(connection)):
            vector.install()
        connection.commit()
        _install_protocol(connection)
        return _version(connection) or ""


def downgrade(url: DatabaseUrl, revision: str) -> None:
    """Go back to `revision`; `base` removes all that we made and nothing else."""
    with _exclusive(url) as connection:
        command.downgrade(_config(connection), revision)
        if _version(connection) is None:
            connection.execute(text("DROP SCHEMA worker CASCADE"))
            connection.commit()


def current(url: DatabaseUrl) -> str | None:
    """The version that the database is at; None when we were never there."""
    with _connected(url) as connection:
        return _version(connection)


def newest() -> str:
    """The version that this release needs."""
    return ScriptDirectory.from_config(_config(None)).get_current_head() or ""


def differences(url: DatabaseUrl) -> list[str]:
    """How the database differs from what this release expects, a sentence each; empty when it is right."""
    with _connected(url) as connection:
        version = _version(connection)
        if version != newest():
            return [
                f"It is at version {version or 'none'}, this release needs {newest()}. Run: codingit-worker db upgrade"
            ]
        # With nothing of ours on the search path, every name is reflected with its schema, as the models write it.
        connection.execute(text("SET search_path = pg_catalog"))
        connection.dialect.default_schema_name = "pg_catalog"
        context = MigrationContext.configure(connection, opts=_scope(connection))
        found = [_sentence(change) for change in compare_metadata(context, Base.metadata)]
        made = _made(connection)
        if made.get("protocol") != _fingerprint():
            found.append("The protocol's functions are another release's. Run: codingit-worker db upgrade")
        parts = catalog.fingerprints(connection)
        found += [f"Changed since the last upgrade: {part}" for part in parts if parts[part] != made.get(part)]
        return found


def left_out(url: DatabaseUrl) -> list[str]:
    """What an upgrade could not make here, and how to have it made later, a sentence each."""
    with _connected(url) as connection:
        return [sentence for sentence in (vector.left_out(connection),) if sentence]


def _scope(connection: Connection) -> dict[str, Any]:
    """What Alembic compares: the tables in `public` and `worker`, and those of Supabase's schemas that we made."""
    made = set(connection.scalars(select(CreatedObject.name).where(CreatedObject.kind == "table")))
    compared = {table for table in TABLES if table in made or not table.startswith(("auth.", "storage."))}
    if vector.left_out(connection):
        compared.discard(vector.TABLE)

    def ours(thing: Any, name: str | None, kind: str, reflected: bool, counterpart: Any) -> bool:  # noqa: ARG001, FBT001 - Alembic's signature
        table = thing if kind == "table" else getattr(thing, "table", None)
        return table is None or f"{table.schema}.{table.name}" in compared

    return {"target_metadata": Base.metadata, "include_schemas": True, "include_object": ours}


@contextmanager
def _exclusive(url: DatabaseUrl) -> Iterator[Connection]:
    # Polled, for waiting in pg_advisory_lock beside CREATE INDEX CONCURRENTLY is a deadlock.
    with _connected(url) as connection:
        give_up = time.monotonic() + LOCK_WITHIN
        while not connection.scalar(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": LOCK}):
            connection.commit()
            if time.monotonic() > give_up:
                raise UpgradeBusy
            time.sleep(0.2)
        for limit in TIMEOUTS:
            connection.execute(text(limit))
        connection.execute(text("CREATE SCHEMA IF NOT EXISTS worker"))
        connection.commit()
        yield connection


@contextmanager
def _connected(url: DatabaseUrl) -> Iterator[Connection]:
    if url.pooled:
        raise PoolerRefused
    database = engine(url)
    try:
        with database.connect() as connection:
            yield connection
    finally:
        database.dispose()


def _config(connection: Connection | None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(HERE / "migrations"))
    config.attributes["connection"] = connection
    return config


def _version(connection: Connection) -> str | None:
    context = MigrationContext.configure(connection, opts={"version_table_schema": VERSIONS_IN})
    version = context.get_current_revision()
    connection.rollback()
    return version


def _install_protocol(connection: Connection) -> None:
    # Through psycopg itself, which takes many statements at once and leaves colons and percent signs alone.
    made = _made(connection)
    wanted = {
        "version": newest(),
        "protocol": _fingerprint(),
        "functions": catalog.fingerprints(connection)["functions"],
    }
    if wanted.items() - made.items():
        psycopg_connection = connection.connection.driver_connection
        assert isinstance(psycopg_connection, psycopg.Connection)  # noqa: S101 - for the type checker
        psycopg_connection.execute(PROTOCOL.encode())
        now = {**wanted, **catalog.fingerprints(connection)}
        psycopg_connection.execute(sql.SQL("COMMENT ON SCHEMA worker IS {}").format(json.dumps(now)))
    connection.commit()


def _made(connection: Connection) -> dict[str, str]:
    """What the last upgrade noted of its work, in the comment of our schema; empty when there is no such note."""
    noted = connection.scalar(text("SELECT obj_description(to_regnamespace('worker'), 'pg_namespace')"))
    try:
        return dict(json.loads(noted))
    except (TypeError, ValueError):
        return {}


def _fingerprint() -> str:
    return hashlib.sha256(PROTOCOL.encode()).hexdigest()[:16]


def _sentence(change: Any) -> str:
    # Alembic answers tuples of (verb, things…), or a list of them for one column.
    verb, *things = change[0] if isinstance(change, list) else change
    named = ", ".join(str(getattr(thing, "name", thing)) for thing in things if thing is not None)
    return f"{verb.replace('_', ' ')}: {named}"
