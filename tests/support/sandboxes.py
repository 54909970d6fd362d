"""The sandboxes that tests run in; one that this machine lacks is skipped, and missed where CI=true."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from worker.sandbox import choice
from worker.sandbox.base import Sandbox
from worker.sandbox.bubblewrap import Bubblewrap
from worker.sandbox.process import ProcessSandbox

NAMES = ("process", "bubblewrap")


def sandbox(name: str, *writable: Path) -> Sandbox:
    """The sandbox of that name, with these folders to write in."""
    return ProcessSandbox() if name == "process" else isolating(writable)


def isolating(writable: Sequence[Path], *, processes: int = 512, memory: int | None = None) -> Bubblewrap:
    """A sandbox that isolates, or the end of the test."""
    why = choice.fault()
    if why and os.environ.get("CI") == "true":
        pytest.fail(why)
    if why:
        pytest.skip(why)
    return Bubblewrap(writable=writable, processes=processes, memory=memory)
