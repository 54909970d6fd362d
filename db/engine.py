"""Connections: `Database` for the protocol's single statements, `engine` for everything SQLAlchemy does."""

import json
import select
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from time import monotonic
from typing import Any, LiteralString, Self, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.rows import DictRow, dict_row
from sqlalchemy import Engine, create_engine

from db.errors import DatabaseBusy, DatabaseUnavailable, DatabaseUnfit, DatabaseUnreachable
from db.url import DatabaseUrl

ANSWER_WITHIN = 10.0
"""Seconds after which a call counts as unanswered; a frozen server must not freeze its clients."""

CONNECT_WITHIN = 5
"""Seconds that a server has to take a connection."""

BUSY = frozenset({"55P03", "57014", "40001", "40P01"})
"""A lock or statement timeout, or a conflict: nothing was done, and the connection is well."""
UNFIT = frozenset({"3F000", "42883", "42P01", "42501", "28000", "28P01", "3D000"})
"""Not migrated, another release's, or no right to it."""
AWAY = ("08", "53", "57P", "25006", "58")
"""Cut, out of resources, shutting down, read-only as after a failover, or broken: some day it is back."""

MOST_DIGITS = sys.int_info.default_max_str_digits
"""Of an integer that Python reads."""

LIBPQ = {
    "connect_timeout": CONNECT_WITHIN,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "application_name": "codingit-worker",
}
"""A peer that vanished without a word is noticed after about ten seconds, on any network."""


Answer = TypeVar("Answer")


class BoundedConnection(psycopg.Connection[DictRow]):
    """A connection that does not wait for an answer for longer than its `patience` says, asked again and again."""

    patience: Callable[[], float] = staticmethod(lambda: ANSWER_WITHIN)

    def wait(self, gen: PQGen[Answer], interval: float = 0.1, timeout: float | None = None) -> Answer:
        """As psycopg's own, with a limit where it has none."""
        return super().wait(gen if timeout else bounded(gen, self.patience), interval, timeout)


def bounded(gen: PQGen[Answer], patience: Callable[[], float]) -> PQGen[Answer]:
    """The same exchange with the server, given up once it has been silent and `patience` is over."""
    began = monotonic()
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if not ready and monotonic() - began > patience():
                raise psycopg.OperationalError(f"no answer within {monotonic() - began:.0f} s")
            wanted = gen.send(ready)
    except StopIteration as done:
        answer: Answer = done.value
        return answer


class Database:
    """
    One connection for single statements in autocommit, opened at the first call and again after it was lost.

    Not for several threads, and not to be opened before a fork.
    """

    def __init__(self, url: DatabaseUrl, *, patience: Callable[[], float] = lambda: ANSWER_WITHIN) -> None:
        self.url = url
        self.patience = patience
        """Seconds after which a call counts as unanswered; asked again while one goes on. See `waiting`."""
        self._connection: BoundedConnection | None = None

    def call(self, statement: LiteralString, parameters: Mapping[str, Any] | None = None) -> list[DictRow]:
        """
        The rows that one statement answers.

        Raises:
            DatabaseUnavailable: no answer came, or none that is final; see its kinds.
        """
        if self._connection is not None and hung_up(self._connection):
            self.close()  # an idle one, cut meanwhile: this call is not to fail for it
        with self._answering():
            cursor = self.connection().execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []

    def wait_for_notification(self, patience: timedelta) -> None:
        """
        Return when something this connection listens to was notified, or after `patience`, at most `ANSWER_WITHIN`.

        Raises:
            DatabaseUnavailable: the connection was lost, and what it listened to with it.
        """
        with self._answering():
            for _ in self.connection().notifies(timeout=patience.total_seconds(), stop_after=1):
                pass

    @contextmanager
    def waiting(self, patience: Callable[[], float]) -> Iterator[None]:
        """Within the block, wait for each answer as long as `patience` says, in seconds."""
        before, self.patience = self.patience, patience
        try:
            yield
        finally:
            self.patience = before

    def connection(self) -> BoundedConnection:
        """The open connection, made now if there is none."""
        if self._connection is None or self._connection.closed:
            self._connection = connect(self.url, within=self.patience())
        self._connection.patience = self.patience
        return self._connection

    def close(self) -> None:
        """Let go of the connection; the next call opens another."""
        with suppress(psycopg.Error):
            if self._connection is not None:
                self._connection.close()
        self._connection = None

    @contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as fault:
            told = kind(fault)
            if told is None:
                raise
            if told is not DatabaseBusy:
                self.close()
            raise told(reason(fault)) from fault

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def kind(fault: psycopg.Error) -> type[DatabaseUnavailable] | None:
    """Which answer this is, by its SQLSTATE; None for a fault of the call itself."""
    state = fault.sqlstate or ""
    if state in BUSY:
        return DatabaseBusy
    if state in UNFIT:
        return DatabaseUnfit
    lost = isinstance(fault, psycopg.OperationalError | psycopg.InterfaceError) and not state
    return DatabaseUnreachable if lost or state.startswith(AWAY) else None


def connect(url: DatabaseUrl, *, within: float = ANSWER_WITHIN) -> BoundedConnection:
    """
    A new connection in autocommit, whose server has `within` seconds to take it.

    Nothing is prepared: a statement of the protocol costs little to plan, and a prepared one outlives the function it
    was made for.
    """
    return BoundedConnection.connect(
        url.libpq,
        autocommit=True,
        row_factory=dict_row,
        prepare_threshold=None,
        **(LIBPQ | {"connect_timeout": max(2, min(CONNECT_WITHIN, round(within)))}),  # type: ignore[arg-type]  # libpq's own parameters
    )


def hung_up(connection: BoundedConnection) -> bool:
    """
    Whether the server closed its end since the last call, as at a restart or a pooler's idle timeout.

    Costs no round trip. Without it the first call after an idle hour would fail, whose outcome nobody could know.
    """
    if connection.closed:
        return True
    ended = select.poll()
    ended.register(connection.fileno(), getattr(select, "POLLRDHUP", 0) | select.POLLHUP | select.POLLERR)
    return bool(ended.poll(0))


def engine(url: DatabaseUrl) -> Engine:
    """SQLAlchemy's engine for `url`, for migrations and the queries of commands."""
    options = {**LIBPQ, "prepare_threshold": None}
    return create_engine(url.sqlalchemy, connect_args=options, pool_pre_ping=True, json_deserializer=document)


def document(written: str | bytes) -> Any:
    """
    The JSON that a row holds, whoever wrote it.

    A number of more digits than Python reads is an infinity, and what is nested too deep to be read comes as its text:
    neither may keep others from reading the rows beside it.
    """
    try:
        return json.loads(written, parse_int=_integer)
    except RecursionError:
        return written if isinstance(written, str) else written.decode()


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= MOST_DIGITS else float(digits)


def reason(fault: psycopg.Error) -> str:
    """The first line of what the server or libpq said, without the address's password."""
    lines: Sequence[str] = str(fault).strip().splitlines()
    return lines[0] if lines else type(fault).__name__
