"""Commands to be supervised, and what became of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import Marked


@pytest.fixture
def marked(tmp_path: Path) -> Iterator[Marked]:
    made = Marked(tmp_path)
    yield made
    made.end()
