"""What benchmarks share: a row of results, and the servers they measure on."""

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Self
from uuid import uuid4

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from db import migrate
from db.url import DatabaseUrl
from worker.local.servers import Addresses


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measurement: the median of its repeats; `ratio` is value / (the value of `against`), from the same run."""

    bench: str
    case: str
    value: float
    unit: str
    low: float
    high: float
    repeats: int
    against: str | None = None
    ratio: float | None = None

    @classmethod
    def of(cls, bench: str, case: str, values: Sequence[float], unit: str, *, against: "Row | None" = None) -> Self:
        """The row of what was found, beside what it is compared with."""
        middle = median(values)
        return cls(
            bench=bench,
            case=case,
            value=middle,
            unit=unit,
            low=min(values),
            high=max(values),
            repeats=len(values),
            against=against.case if against else None,
            ratio=middle / against.value if against else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A migrated database of the benchmark's own, a broker, and a folder for what its processes write."""

    url: DatabaseUrl
    redis_url: str = field(repr=False)
    folder: Path
    repeats: int
    password: str = field(repr=False)
    """Of the role that workers have."""
    template: DatabaseUrl
    """The migrated database that nobody is connected to, for copies."""

    @classmethod
    def on(cls, addresses: Addresses, folder: Path, *, repeats: int) -> Self:
        """Migrate the database, and let the workers' role log in."""
        migrate.upgrade(addresses.database_url)
        bench = cls(
            url=addresses.database_url,
            template=addresses.database_url,
            redis_url=addresses.redis_url,
            folder=folder,
            repeats=repeats,
            password=secrets.token_hex(16),
        )
        with bench.connect() as connection:
            connection.execute(sql.SQL("ALTER ROLE task_worker PASSWORD {}").format(sql.Literal(bench.password)))
        return bench

    @property
    def worker_url(self) -> DatabaseUrl:
        """The same database for the role that workers have."""
        return self.url.as_role("task_worker", self.password)

    @contextmanager
    def copied(self) -> Iterator["Bench"]:
        """The same with a database as `template` is, gone when the block is left."""
        name = f"bench_{uuid4().hex[:12]}"
        template = str(conninfo_to_dict(self.template.libpq)["dbname"])
        self._administer(sql.SQL("CREATE DATABASE {} TEMPLATE {}"), name, template)
        try:
            yield replace(self, url=self.url.with_database(name))
        finally:
            self._administer(sql.SQL("DROP DATABASE {} WITH (FORCE)"), name)

    def _administer(self, statement: sql.SQL, *databases: str) -> None:
        with psycopg.connect(self.url.with_database("postgres").libpq, autocommit=True) as connection:
            connection.execute(statement.format(*map(sql.Identifier, databases)))

    def connect(self) -> psycopg.Connection:
        """A connection of the owner's, in autocommit."""
        return psycopg.connect(self.url.libpq, autocommit=True)

    def task(self, prompt: str = "bench") -> int:
        """A new pending task of a new user."""
        with self.connect() as connection:
            return insert_task(connection, new_user(connection), prompt=prompt)

    def run_of_tasks(self, *, users: int, each: int, prompt: str = "bench") -> None:
        """New users with so many pending tasks each, in one transaction."""
        with self.connect() as connection:
            connection.execute(
                """WITH fresh AS (INSERT INTO auth.users (id) SELECT gen_random_uuid() FROM generate_series(1, %s)
                   RETURNING id) INSERT INTO public.tasks (user_id, prompt, selected_agent)
                   SELECT fresh.id, %s, 'rehearsal' FROM generate_series(1, %s), fresh""",
                [users, prompt, each],
            )


def new_user(connection: psycopg.Connection) -> str:
    """Somebody who has no task yet."""
    user = str(uuid4())
    connection.execute("INSERT INTO auth.users (id) VALUES (%s)", [user])
    return user


def insert_task(connection: psycopg.Connection, user: str, *, prompt: str = "bench") -> int:
    """A pending task, as the web app inserts it."""
    insert = "INSERT INTO public.tasks (user_id, prompt, selected_agent) VALUES (%s, %s, 'rehearsal') RETURNING id"
    return int(one(connection.execute(insert, [user, prompt])))


def one(cursor: psycopg.Cursor) -> int:
    """The single number that a statement answers."""
    found = cursor.fetchone()
    assert found
    return int(found[0])


def wal_position(connection: psycopg.Connection) -> int:
    """Bytes of WAL written so far."""
    return one(connection.execute("SELECT pg_current_wal_insert_lsn() - '0/0'"))
