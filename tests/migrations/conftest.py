"""Databases that no upgrade has seen yet."""

from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from db.url import DatabaseUrl
from worker.local.servers import Addresses

ROLES = ("task_worker", "authenticator", "anon", "authenticated", "service_role")


@pytest.fixture
def empty(stack: Addresses, template: str) -> Iterator[DatabaseUrl]:
    """A database in which nothing was made yet, on a server that has the roles."""
    yield from _database(stack.database_url)


@pytest.fixture
def pristine(stack: Addresses, template: str) -> Iterator[DatabaseUrl]:
    """A database in which nothing was made yet, on a server that has none of our roles either."""
    with psycopg.connect(stack.database_url.libpq, autocommit=True) as connection:
        _rename(connection, "{}", "{}_aside")
        yield from _database(stack.database_url)
        for role in _present(connection, ROLES):
            connection.execute(sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(sql.Identifier(role)))
        _rename(connection, "{}_aside", "{}")


def _database(server: DatabaseUrl) -> Iterator[DatabaseUrl]:
    name = f"empty_{uuid4().hex[:12]}"
    with psycopg.connect(server.libpq, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        yield server.with_database(name)
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _rename(connection: psycopg.Connection, old: str, new: str) -> None:
    for role in ROLES:
        for name in _present(connection, [old.format(role)]):
            rename = sql.SQL("ALTER ROLE {} RENAME TO {}")
            connection.execute(rename.format(sql.Identifier(name), sql.Identifier(new.format(role))))


def _present(connection: psycopg.Connection, roles: tuple[str, ...] | list[str]) -> list[str]:
    found = connection.execute("SELECT rolname FROM pg_roles WHERE rolname = ANY(%s)", [list(roles)])
    return [name for (name,) in found]
