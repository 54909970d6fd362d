"""A session with the database of a command, whose faults are sentences that say what to do."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from worker.errors import CommandFailed

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from db.url import DatabaseUrl


@contextmanager
def opened(url: "DatabaseUrl") -> "Iterator[Session]":
    """
    A session; what the block leaves is committed.

    Raises:
        CommandFailed: the database does not answer, or refuses.
    """
    from sqlalchemy.orm import Session

    from db.engine import engine

    connected = engine(url)
    try:
        with explained(url), Session(connected) as session:
            yield session
            session.commit()
    finally:
        connected.dispose()


@contextmanager
def explained(url: "DatabaseUrl") -> Iterator[None]:
    """Faults of the database as CommandFailed."""
    import psycopg
    from sqlalchemy.exc import DBAPIError

    from db.errors import DatabaseUnreachable

    try:
        yield
    except DatabaseUnreachable as fault:
        raise CommandFailed(f"The database {url} does not answer: {fault}") from fault
    except DBAPIError as fault:
        raise CommandFailed(sentence(fault.orig, url)) from fault
    except psycopg.Error as fault:
        raise CommandFailed(sentence(fault, url)) from fault


def sentence(fault: BaseException | None, url: "DatabaseUrl") -> str:
    """What a fault of psycopg's means to whoever typed the command."""
    from psycopg import OperationalError, errors

    first = str(fault).strip().partition("\n")[0]
    if isinstance(fault, errors.UndefinedTable | errors.UndefinedFunction | errors.InvalidSchemaName):
        return f"The database {url} lacks what this release needs. Run: codingit-worker db upgrade"
    if isinstance(fault, errors.InsufficientPrivilege):
        return f"The role {url.user} may not do this ({first}). Set ADMIN_DATABASE_URL to the owner's address."
    if isinstance(fault, OperationalError) and fault.sqlstate is None:
        return f"The database {url} does not answer: {first}"
    return f"The database refused: {first}"
