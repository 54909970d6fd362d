"""Databases that outlive one test, and the connections with which several tests share one."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from uuid import uuid4

import psycopg
from psycopg import sql

from db.url import DatabaseUrl


@contextmanager
def copied(server: DatabaseUrl, template: str) -> Iterator[DatabaseUrl]:
    """A fresh copy of `template` as its owner, dropped when the block is left."""
    name = f"proof_{uuid4().hex[:12]}"
    with psycopg.connect(server.libpq, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
        )
        try:
            yield server.with_database(name)
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def impatient(url: DatabaseUrl) -> DatabaseUrl:
    """The same database for sessions that give up a lock after 25 ms, and may keep a transaction open."""
    options = "-c lock_timeout=25ms -c idle_in_transaction_session_timeout=0".replace(" ", "%20").replace("=", "%3D")
    return replace(url, libpq=f"{url.libpq}?options={options}")
