"""Fixtures: one PostgreSQL and one Valkey for all tests, a fresh copy of a migrated database for each."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from db import migrate
from db.engine import Database
from db.url import DatabaseUrl
from tests.support.other_postgres import VARIABLE, postgres_of
from tests.support.rows import Rows
from worker.local.servers import Addresses, servers

# Whoever runs the tests in the background may have SIGINT ignored, and what they start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

TEMPLATE = "codingit_template"
WORKER_PASSWORD = "task-worker-password"
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "200"}


@pytest.fixture(scope="session")
def stack() -> Iterator[Addresses]:
    """The servers of this test session, in a folder of their own that other users may enter; see `other_postgres`."""
    folder = Path(tempfile.mkdtemp(prefix="codingit-tests-"))
    folder.chmod(0o755)
    try:
        with servers(folder, postgres_settings=FAST) as addresses, ExitStack() as other:
            programs = os.environ.get(VARIABLE)
            url = other.enter_context(postgres_of(Path(programs), FAST)) if programs else addresses.database_url
            yield replace(addresses, database_url=url)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def template(stack: Addresses) -> str:
    """The name of a database at the newest version, to be copied."""
    with psycopg.connect(stack.database_url.libpq, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(TEMPLATE)))
        migrate.upgrade(stack.database_url.with_database(TEMPLATE))
        connection.execute(sql.SQL("ALTER ROLE task_worker PASSWORD {}").format(sql.Literal(WORKER_PASSWORD)))
    return TEMPLATE


@pytest.fixture
def owner_url(stack: Addresses, template: str) -> Iterator[DatabaseUrl]:
    """A fresh database, as its owner."""
    name = f"test_{uuid4().hex[:12]}"
    with psycopg.connect(stack.database_url.libpq, autocommit=True) as connection:
        create = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        connection.execute(create.format(sql.Identifier(name), sql.Identifier(template)))
        yield stack.database_url.with_database(name)
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def worker_url(owner_url: DatabaseUrl) -> DatabaseUrl:
    """The same database as the role that workers have."""
    return owner_url.as_role("task_worker", WORKER_PASSWORD)


@pytest.fixture
def database(worker_url: DatabaseUrl) -> Iterator[Database]:
    """A worker's connection."""
    with Database(worker_url) as opened:
        yield opened


@pytest.fixture
def rows(owner_url: DatabaseUrl) -> Iterator[Rows]:
    """The application's side of the same database."""
    opened = Rows(owner_url)
    yield opened
    opened.close()


@pytest.fixture(autouse=True)
def _no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests see no setting of whoever runs them."""
    for name in list(os.environ):
        if name.startswith("CODINGIT_") or name.endswith("DATABASE_URL") or name == "REDIS_URL":
            monkeypatch.delenv(name)
