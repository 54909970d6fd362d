"""docs/security.md names tests; there are tests of these names."""

import re
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
TESTS = CHECKOUT / "tests/integration"
TRIED = (CHECKOUT / "docs/security.md").read_text().partition("## What was tried")[2].partition("\n## ")[0]
CELLS = [line.split("|")[3].strip() for line in TRIED.splitlines() if line.startswith("|")][2:]


def named(cell: str) -> list[str]:
    return [part.strip() for part in re.sub(r"`[^`]*`:?,?", "", cell).split(";") if part.strip()]


def plain(name: str) -> str:
    """As it stands in the page: words alone."""
    return re.sub("[^a-z0-9]+", " ", name.lower().replace("'", "")).strip()


def known() -> set[str]:
    """Functions, and attempts, whose names are the keys of a table."""
    text = "\n".join(path.read_text() for path in TESTS.rglob("test_*.py"))
    return {
        plain(name) for name in re.findall(r"def test_(\w+)|^    \"([^\"]+)\": ", text, re.MULTILINE) for name in name
    }


@pytest.mark.parametrize("cell", CELLS)
def test_every_test_that_the_page_names_is_there(cell: str) -> None:
    assert {plain(name) for name in named(cell)} <= known()
    assert all((TESTS / path).exists() for path in re.findall(r"`([a-z_]+/[a-z_]+\.py)`", cell))
