"""Brings a database to the version of this release, back again, and says how one differs from it."""

import hashlib
import json
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from psycopg import sql
from sqlalchemy import Connection, text

from db import catalog, vector
from db.declared.finding import Finding
from db.declared.findings import findings
from db.declared.harden import Outcome, mended
from db.declared.install import install
from db.engine import engine
from db.errors import PoolerRefused, UpgradeBusy
from db.migrations.created import TIMEOUTS
from db.url import DatabaseUrl

HERE = Path(__file__).parent
PROTOCOL = (HERE / "sql" / "queue.sql").read_text()
LOCK = int.from_bytes(b"codingit")
"""The advisory lock that two upgrades of one database contend for."""
LOCK_WITHIN = 300.0
"""Seconds that an upgrade waits for another one."""
VERSIONS_IN = "worker"
"""The schema in which Alembic keeps its version."""


def upgrade(url: DatabaseUrl) -> str:
    """
    Migrate to this release's version, install its protocol, and make so what is declared; answers the version.

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
        install(connection)
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


def differences(url: DatabaseUrl) -> list[Finding]:
    """How the database differs from what this release expects; empty when it is right."""
    with _connected(url) as connection:
        return _differences(connection)


def harden(url: DatabaseUrl, names: Collection[str] | None = None) -> Iterator[Outcome]:
    """
    Mend the differences that have one of these names, or all, and tell what became of each, in turn.

    Looks again when it is through: what was mended may leave something needless behind. Nothing is tried twice.

    Raises:
        PoolerRefused: the address is a transaction pooler's.
        UpgradeBusy: an upgrade goes on, for too long.
    """
    tried: set[str] = set()
    with _exclusive(url) as connection:
        while chosen := [
            finding
            for finding in _differences(connection)
            if (names is None or finding.name in names) and finding.name not in tried
        ]:
            connection.commit()
            tried.update(finding.name for finding in chosen)
            yield from mended(connection, chosen)


def _differences(connection: Connection) -> list[Finding]:
    version = _version(connection)
    if version != newest():
        words = f"It is at version {version or 'none'}, this release needs {newest()}. Run: codingit-worker db upgrade"
        return [Finding(name="version", sentence=words)]
    found = findings(connection)
    made = _made(connection)
    if made.get("protocol") != _fingerprint():
        words = "The protocol's functions are another release's. Run: codingit-worker db upgrade"
        found.append(Finding(name="protocol", sentence=words))
    parts = catalog.fingerprints(connection)
    changed = (part for part in parts if parts[part] != made.get(part))
    return found + [
        Finding(
            name=f"worker:{part}", sentence=f"The queue's own {part} changed since the last upgrade. {_remedy(part)}"
        )
        for part in changed
    ]


def _remedy(part: str) -> str:
    """What to do about a part of the queue's own that somebody changed."""
    if part == "functions":
        return "Run: codingit-worker db upgrade"
    return "An upgrade leaves that as it is: take back what was changed."


def left_out(url: DatabaseUrl) -> list[str]:
    """What an upgrade could not make here, and how to have it made later, a sentence each."""
    with _connected(url) as connection:
        return [sentence for sentence in (vector.left_out(connection),) if sentence]


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
