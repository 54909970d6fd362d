"""What tests of the clean-up share: a Storage on loopback that lives on the rows of the test's database."""

from collections.abc import Iterator

import pytest

from db.url import DatabaseUrl
from tests.support.storage import Storage, storage_of


@pytest.fixture
def storage(owner_url: DatabaseUrl) -> Iterator[Storage]:
    with storage_of(owner_url) as server:
        yield server
