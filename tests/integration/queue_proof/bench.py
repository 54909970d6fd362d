"""A place at which histories are made: one database, and the connections of all who take part in them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

import psycopg
from psycopg import sql

from db.engine import Database
from db.url import DatabaseUrl
from tests.support.databases import impatient
from tests.support.rows import Rows

USERS = tuple(UUID(int=n << 96) for n in (1, 2, 3))
Learn = Callable[[], object]
"""Takes over what an answer has made certain, once it is committed."""


@dataclass(slots=True)
class Run:
    """A worker's side of one attempt: it numbers its flushes, and repeats one whose answer it did not get."""

    task: int
    fence: int
    flush: int = 0
    line: str = ""
    progress: int = 0
    answered: bool = True

    def next_flush(self, line: str, progress: int) -> None:
        """Make a new flush, unless the last one still has to be repeated."""
        if self.answered:
            self.flush, self.line, self.progress, self.answered = self.flush + 1, line, progress, False


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """A transaction in the middle: an owner's edit, or a worker's call while the server carries it out."""

    task: int
    by: Literal["owner", "worker"]
    connection: psycopg.Connection[Any]
    learn: Learn


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """One database for many histories, and the connections of all who take part."""

    rows: Rows
    """The owner's, and the eyes of the test."""
    owner: psycopg.Connection[Any]
    """The owner's for a transaction that stays open."""
    worker: Database
    other: Database
    """A worker's for a call that stays uncommitted."""

    def clean(self) -> None:
        """Forget the last history, and whatever it left open."""
        self.owner.rollback()
        self.other.connection().rollback()
        self.rows.execute("TRUNCATE public.tasks, worker.leases, worker.runs")
        self.rows.execute("UPDATE worker.turn SET user_id = %s", UUID(int=0))


@contextmanager
def bench(owner_url: DatabaseUrl, worker_url: DatabaseUrl) -> Iterator[Bench]:
    """Take a place at that database. Nobody there waits long for a lock."""
    rows = Rows(impatient(owner_url))
    # Autovacuum, cutting the end off a table, would keep somebody waiting for a moment.
    for table in (("public", "tasks"), ("worker", "leases"), ("worker", "runs")):
        rows.connection.execute(sql.SQL("ALTER TABLE {} SET (autovacuum_enabled = off)").format(sql.Identifier(*table)))
    for user in USERS:
        rows.user(user)
    with (
        Database(impatient(worker_url)) as worker,
        Database(impatient(worker_url)) as other,
        psycopg.connect(impatient(owner_url).libpq, autocommit=True) as owner,
    ):
        yield Bench(rows=rows, owner=owner, worker=worker, other=other)
    rows.close()
