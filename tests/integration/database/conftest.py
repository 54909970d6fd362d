"""A migrated database, and people in it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from uuid import UUID

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from db.engine import engine
from db.rls import acting_as, as_service
from db.url import DatabaseUrl
from tests.support.rows import Rows

As = Callable[[UUID], AbstractContextManager[Session]]
"""A transaction in a user's name."""


@pytest.fixture
def connected(owner_url: DatabaseUrl) -> Iterator[Engine]:
    """The database as its owner, who may act as anybody."""
    opened = engine(owner_url)
    yield opened
    opened.dispose()


@pytest.fixture
def me(rows: Rows) -> UUID:
    """Somebody who is signed in."""
    return rows.user()


@pytest.fixture
def stranger(rows: Rows) -> UUID:
    """Somebody else."""
    return rows.user()


@pytest.fixture(params=["the user", "the service"])
def session(connected: Engine, me: UUID, request: pytest.FixtureRequest) -> Iterator[Session]:
    """A transaction of mine under row level security, or of the service's: the same queries serve both."""
    with acting_as(connected, me) if request.param == "the user" else as_service(connected) as opened:
        yield opened


@pytest.fixture
def as_(connected: Engine) -> As:
    """A transaction in the name of whomever."""
    return lambda user: acting_as(connected, user)
