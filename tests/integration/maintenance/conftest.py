"""What tests of the clean-up share: sweeps as the owner, GoTrue's rows, and a Storage that lives on the same rows."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Engine

from db.engine import engine as engine_of
from db.url import DatabaseUrl
from tests.support.auth import Auth, policy
from tests.support.projects import Projects
from tests.support.rows import Rows
from tests.support.storage import Storage, storage_of
from worker.maintenance import sweep
from worker.maintenance.sweep import Bounds, Report


@pytest.fixture
def storage(owner_url: DatabaseUrl) -> Iterator[Storage]:
    with storage_of(owner_url) as server:
        yield server


@pytest.fixture
def projects(rows: Rows) -> Projects:
    return Projects(rows)


@pytest.fixture
def engine(owner_url: DatabaseUrl) -> Iterator[Engine]:
    made = engine_of(owner_url)
    yield made
    made.dispose()


@pytest.fixture
def swept(engine: Engine) -> Callable[..., Report]:
    """Carry a policy out as the owner, with these settings."""

    def swept(name: str, *, bounds: Bounds | None = None, **values: Any) -> Report:
        return sweep.carry_out(policy(name, **values), engine, bounds)

    return swept


@pytest.fixture
def auth(rows: Rows) -> Auth:
    return Auth(rows)
