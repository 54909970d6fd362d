"""What benchmarks share: a row of results, and the database they measure on."""

from dataclasses import dataclass
from uuid import uuid4

import psycopg

from db.url import DatabaseUrl


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measurement; `ratio` is value / (the value of `against`), measured in the same run."""

    bench: str
    case: str
    value: float
    unit: str
    against: str | None = None
    ratio: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A migrated database of the benchmark's own."""

    url: DatabaseUrl

    def connect(self) -> psycopg.Connection:
        """A connection of the owner's, in autocommit."""
        return psycopg.connect(self.url.libpq, autocommit=True)

    def task(self) -> int:
        """A new pending task of a new user."""
        with self.connect() as connection:
            user = uuid4()
            connection.execute("INSERT INTO auth.users (id) VALUES (%s)", [user])
            insert = "INSERT INTO public.tasks (user_id, prompt) VALUES (%s, 'bench') RETURNING id"
            found = connection.execute(insert, [user]).fetchone()
        assert found
        return int(found[0])


def wal_position(connection: psycopg.Connection) -> int:
    """Bytes of WAL written so far."""
    found = connection.execute("SELECT pg_current_wal_insert_lsn() - '0/0'").fetchone()
    assert found
    return int(found[0])
