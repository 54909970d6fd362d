"""Writes docs/settings.md and .env.example from the docstrings and defaults in worker/settings.py.

    .venv/bin/python tools/settings_page.py [--check]

With --check nothing is written, and the exit code is 1 when a file is not what it would be.
"""

import ast
import re
import sys
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from worker.settings import PREFIX, UNPREFIXED, Settings  # noqa: E402 - the checkout's own, once it is found

MODULE = ROOT / "worker" / "settings.py"
UNITS = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))
SIZES = ((10**9, "GB"), (10**6, "MB"), (10**3, "kB"))

ENDINGS = {"_url": "address", "_address": "host:port", "_file": "path"}
KINDS = {r"\btimedelta\b": "duration", r"\b(int|float)\b": "number", r"\btuple\b": "list", r"\bPath\b": "path"}

PAGE = """# Settings

Every setting is an environment variable, or a line in a file `.env` in the working directory; the environment
goes first. An empty value is the default. All faults are told at once when a process starts, and a name that begins
with `CODINGIT_` and is none of these is one of them.

A duration is a number with a unit: `500ms`, `30s`, `15m`, `2h`, `7d`; a bare number is in seconds. A size is
a number with a unit: `900kB`, `100MB`, `5GB`, `1GiB`; a bare number is in bytes. A list is separated by commas.

An address of PostgreSQL begins with `postgresql://` or `postgres://`. Special characters of a password are written
percent-encoded, as `%23` for `#`. Port 6543 or `?pgbouncer=true` says that a transaction pooler answers there:
statements are then not prepared, nothing is listened to, and migrations are refused. Every other parameter, `sslmode`
above all, reaches libpq untouched.
"""
EXAMPLE = """# Settings of codingit-worker: copy this file to .env, and remove the # of what you set.
# Each is explained in docs/settings.md. What is shown is the default; an empty value is the default too.
"""


def main() -> None:
    """Write both files, or check them."""
    stale = [path for path, text in files() if not path.exists() or path.read_text() != text]
    if sys.argv[1:] == ["--check"]:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is stale: run .venv/bin/python tools/settings_page.py", file=sys.stderr)
        sys.exit(bool(stale))
    for path, text in files():
        path.write_text(text)


def files() -> list[tuple[Path, str]]:
    """Each file and what belongs in it."""
    return [(ROOT / "docs" / "settings.md", page()), (ROOT / ".env.example", example())]


def page() -> str:
    """The page: a table for each section."""
    return PAGE + laid_out(
        lambda heading: f"\n## {heading}\n\n| Variable | Kind | Default | What it is |\n|---|---|---|---|\n",
        lambda name: f"| `{variable(name)}` | {kind(name)} | {shown(name)} | {docstrings()[name]} |\n",
    )


def example() -> str:
    """The example: every variable, commented out, under its explanation."""
    return EXAMPLE + laid_out(
        lambda heading: f"\n# {heading} {'-' * (97 - len(heading))}\n",
        lambda name: f"\n# {docstrings()[name].replace('`', '')}\n#{variable(name)}={quoted(name)}\n",
    )


def laid_out(heading: Callable[[str], str], setting: Callable[[str], str]) -> str:
    """Every section, headed as told, with its settings as told."""
    return "".join(part for title, names in sections() for part in (heading(title), *map(setting, names)))


def sections() -> list[tuple[str, list[str]]]:
    """The comments that head a group of settings, and the group's names, in the order of the source."""
    found: list[tuple[str, list[str]]] = []
    for line in MODULE.read_text().splitlines():
        if heading := re.match(r"    # (.+?)\.(?: |$)", line):
            found.append((heading[1], []))
        elif (field := re.match(r"    (\w+): ", line)) and field[1] in Settings.model_fields:
            found[-1][1].append(field[1])
    return found


def docstrings() -> dict[str, str]:
    """What stands under each setting in the source."""
    tree = ast.parse(MODULE.read_text())
    body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Settings")
    return {
        field.target.id: ast.literal_eval(text.value)
        for field, text in pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr)
    }


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return name.upper() if name.upper() in UNPREFIXED else PREFIX + name.upper()


def kind(name: str) -> str:
    """What its value is."""
    if known := next((word for ending, word in ENDINGS.items() if name.endswith(ending)), None):
        return known
    if "size" in str(Settings.model_fields[name].metadata):
        return "size"
    if found := choices(name):
        return " or ".join(f"`{choice}`" for choice in found)
    annotation = str(Settings.model_fields[name].annotation)
    return next((word for pattern, word in KINDS.items() if re.search(pattern, annotation)), "text")


def choices(name: str) -> list[str]:
    """The words that it may be, where only some are known."""
    annotation = Settings.model_fields[name].annotation
    nested = (annotation, *get_args(annotation))
    return [choice for each in nested if get_origin(each) is Literal for choice in get_args(each)]


def shown(name: str) -> str:
    """Its default in the table."""
    return f"`{default(name)}`" if default(name) else "not set"


def default(name: str) -> str:
    """Its default as one would write it; empty when there is none."""
    value: Any = Settings.model_fields[name].default
    if not value and not isinstance(value, int):
        return ""
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, timedelta):
        return measured(int(value.total_seconds()), UNITS)
    return measured(value, SIZES) if kind(name) == "size" else str(value)


def quoted(name: str) -> str:
    """Its default for an env file, which shells read too."""
    return f'"{default(name)}"' if " " in default(name) else default(name)


def measured(value: int, units: tuple[tuple[int, str], ...]) -> str:
    """The value in the largest unit that it is a multiple of, above one of it."""
    return next(
        (f"{value // length}{unit}" for length, unit in units if value > length and value % length == 0), f"{value}s"
    )


if __name__ == "__main__":
    main()
