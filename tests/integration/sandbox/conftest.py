"""Commands to be supervised, and what became of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import Marked
from tests.support.sandboxes import NAMES
from tests.support.sandboxes import sandbox as named
from worker.sandbox.base import Sandbox


@pytest.fixture
def marked(tmp_path: Path) -> Iterator[Marked]:
    made = Marked(tmp_path)
    yield made
    made.end()


@pytest.fixture(params=NAMES)
def sandbox(request: pytest.FixtureRequest, marked: Marked) -> Sandbox:
    """Each that there is, with the folder of `marked` to write in."""
    return named(request.param, marked.folder)
