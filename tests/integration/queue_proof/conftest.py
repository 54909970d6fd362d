"""One database for all tests of a module, and the connections to it."""

from collections.abc import Iterator

import pytest

from db.url import DatabaseUrl
from tests.conftest import WORKER_PASSWORD
from tests.integration.queue_proof.bench import Bench, bench
from tests.support.databases import copied
from tests.support.rows import Rows
from worker.local.servers import Addresses


@pytest.fixture(scope="module")
def shared_url(stack: Addresses, template: str) -> Iterator[DatabaseUrl]:
    """A database of the module's own, as its owner."""
    with copied(stack.database_url, template) as url:
        yield url


@pytest.fixture(scope="module")
def shared_worker_url(shared_url: DatabaseUrl) -> DatabaseUrl:
    """The same database as the role that workers have."""
    return shared_url.as_role("task_worker", WORKER_PASSWORD)


@pytest.fixture(scope="module")
def shared_rows(shared_url: DatabaseUrl) -> Iterator[Rows]:
    """The application's side of it."""
    opened = Rows(shared_url)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def at_bench(shared_url: DatabaseUrl, shared_worker_url: DatabaseUrl) -> Iterator[Bench]:
    """The connections of all who take part in histories."""
    with bench(shared_url, shared_worker_url) as taken:
        yield taken
