"""The diagrams of docs/database.md are those of the models."""

import os
import re
import subprocess
import sys
from pathlib import Path

from db.models import Base

CHECKOUT = Path(__file__).parents[2]
PAGE = CHECKOUT / "docs" / "database.md"


def test_the_diagrams_are_what_the_models_say() -> None:
    checked = subprocess.run(
        (sys.executable, "tools/er_diagram.py", "--check"),
        cwd=CHECKOUT,
        env={"PATH": os.defpath},
        capture_output=True,
        text=True,
        check=False,
    )

    assert checked.returncode == 0, checked.stderr


def test_every_table_is_shown_once() -> None:
    shown = re.findall(r'^    "?([\w.]+)"? \{$', PAGE.read_text(), re.MULTILINE)

    assert sorted(shown) == sorted(name.removeprefix("public.") for name in Base.metadata.tables)
