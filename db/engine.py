"""Connections: `Database` for the protocol's single statements, `engine` for everything SQLAlchemy does."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, LiteralString, Self, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.rows import DictRow, dict_row
from sqlalchemy import Engine, create_engine

from db.errors import DatabaseUnreachable
from db.url import DatabaseUrl

ANSWER_WITHIN = 10.0
"""Seconds after which a call counts as unanswered; a frozen server must not freeze its clients."""

LIBPQ = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "application_name": "codingit-worker",
}
"""A peer that vanished without a word is noticed after about ten seconds, on any network."""


Answer = TypeVar("Answer")


class BoundedConnection(psycopg.Connection[DictRow]):
    """A connection that waits `ANSWER_WITHIN` for each answer and no longer."""

    def wait(self, gen: PQGen[Answer], interval: float = 0.1, timeout: float | None = None) -> Answer:
        """As psycopg's own, with a limit where it has none."""
        return super().wait(gen, interval, ANSWER_WITHIN if timeout is None else timeout)


class Database:
    """
    One connection for single statements in autocommit, opened at the first call and again after it was lost.

    Not for several threads, and not to be opened before a fork.
    """

    def __init__(self, url: DatabaseUrl) -> None:
        self.url = url
        self._connection: BoundedConnection | None = None

    def call(self, statement: LiteralString, parameters: Mapping[str, Any] | None = None) -> list[DictRow]:
        """
        The rows that one statement answers.

        Raises:
            DatabaseUnreachable: no answer came; it may or may not have taken effect.
        """
        try:
            cursor = self.connection().execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []
        except (psycopg.OperationalError, psycopg.InterfaceError) as fault:
            self.close()
            raise DatabaseUnreachable(reason(fault)) from fault

    def wait_for_notification(self, patience: timedelta) -> None:
        """
        Return when something this connection listens to was notified, or after `patience`, at most `ANSWER_WITHIN`.

        Raises:
            DatabaseUnreachable: the connection was lost, and what it listened to with it.
        """
        try:
            for _ in self.connection().notifies(timeout=patience.total_seconds(), stop_after=1):
                pass
        except (psycopg.OperationalError, psycopg.InterfaceError) as fault:
            self.close()
            raise DatabaseUnreachable(reason(fault)) from fault

    def connection(self) -> BoundedConnection:
        """The open connection, made now if there is none."""
        if self._connection is None or self._connection.closed:
            self._connection = connect(self.url)
        return self._connection

    def close(self) -> None:
        """Let go of the connection; the next call opens another."""
        with suppress(psycopg.Error):
            if self._connection is not None:
                self._connection.close()
        self._connection = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def connect(url: DatabaseUrl) -> BoundedConnection:
    """A new connection in autocommit; without prepared statements where a transaction pooler answers."""
    return BoundedConnection.connect(
        url.libpq,
        autocommit=True,
        row_factory=dict_row,
        prepare_threshold=None if url.pooled else 5,
        **LIBPQ,  # type: ignore[arg-type]  # libpq's own parameters
    )


def engine(url: DatabaseUrl) -> Engine:
    """SQLAlchemy's engine for `url`, for migrations and the queries of commands."""
    return create_engine(
        url.sqlalchemy,
        connect_args={**LIBPQ, "prepare_threshold": None if url.pooled else 5},
        pool_pre_ping=True,
    )


def reason(fault: psycopg.Error) -> str:
    """The first line of what the server or libpq said, without the address's password."""
    lines: Sequence[str] = str(fault).strip().splitlines()
    return lines[0] if lines else type(fault).__name__
