"""Writes the diagrams of docs/database.md, between their two markers, from the models in db/models.

    .venv/bin/python tools/er_diagram.py [--check]

With --check nothing is written, and the exit code is 1 when the page holds other diagrams than it would.
"""

import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from sqlalchemy import Column, ForeignKey, Table, UniqueConstraint
from sqlalchemy.dialects import postgresql

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from db.models import Base  # noqa: E402 - the checkout's own, once it is found

PAGE = ROOT / "docs" / "database.md"
BEGIN, END = "<!-- diagrams: tools/er_diagram.py -->", "<!-- /diagrams -->"
AREAS = {
    "Users' accounts": "public.accounts",
    "Teams": "public.teams",
    "Projects": "public.projects",
    "Files": "public.workspace",
    "Tasks": "public.tasks",
    "Chats": "public.chat",
    "Threads": "public.threads",
    "Workflows": "public.workflows",
    "Embeddings": "public.embeddings",
    "Signing in": "auth",
    "Storage": "storage",
    "The worker": "worker",
}
"""Each a module of db/models; a table of none of them is an error."""
MOST = 8
"""Columns of a table that are shown besides its keys."""
USUAL = re.compile(r"metadata|(created|updated)_at")
SHORT = {"TIMESTAMP WITH TIME ZONE": "timestamptz", "BOOLEAN": "bool", "INTEGER": "int"}
DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy's


def main() -> None:
    """Write the page, or check it."""
    text = PAGE.read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        sys.exit(f"{PAGE.relative_to(ROOT)} lacks the markers {BEGIN} and {END}")
    fresh = f"{before}{BEGIN}\n{diagrams()}{END}{after}"
    if sys.argv[1:] == ["--check"]:
        sys.exit(0 if fresh == text else "docs/database.md is stale: run .venv/bin/python tools/er_diagram.py")
    PAGE.write_text(fresh)


def diagrams() -> str:
    """One for each area, under its heading and the sentence that its module begins with."""
    left = set(Base.metadata.tables.values())
    parts = []
    for heading, module in AREAS.items():
        tables = of_area(module)
        left -= set(tables)
        sentence = (import_module(f"db.models.{module}").__doc__ or "").strip()
        parts.append(f"\n### {heading}\n\n{sentence}\n\n```mermaid\nerDiagram\n{''.join(diagram(tables))}```\n")
    if left:
        sys.exit(f"Tables of no area: {', '.join(sorted(table.fullname for table in left))}. Name it in AREAS.")
    return "".join(parts)


def of_area(module: str) -> list[Table]:
    """The tables of one module of models, in its order."""
    modules = {mapper.local_table: mapper.class_.__module__ for mapper in Base.registry.mappers}
    return [table for table in Base.metadata.tables.values() if modules.get(table) == f"db.models.{module}"]


def diagram(tables: list[Table]) -> Iterator[str]:
    """Each table with its columns, then what refers to what."""
    for table in tables:
        yield f"    {entity(table)} {{\n"
        yield from (f"        {kind(column)} {column.name} {keys(column)}".rstrip() + "\n" for column in shown(table))
        yield "    }\n"
    yield from sorted({relation(key) for table in tables for key in table.foreign_keys})


def shown(table: Table) -> list[Column[object]]:
    """Its keys, and the first of its other columns; what every table has is left out."""
    others = [column for column in table.columns if not keys(column) and not USUAL.fullmatch(column.name)]
    return [column for column in table.columns if keys(column) or column in others[:MOST]]


def keys(column: Column[object]) -> str:
    """What the column is a key to, as Mermaid marks it."""
    marks = {"PK": column.primary_key, "FK": bool(column.foreign_keys), "UK": unique(column)}
    return ", ".join(mark for mark, is_so in marks.items() if is_so)


def unique(column: Column[object]) -> bool:
    """Whether no two rows have the same."""
    constraints = (each for each in column.table.constraints if isinstance(each, UniqueConstraint))
    return any(list(each.columns) == [column] for each in constraints)


def kind(column: Column[object]) -> str:
    """Its type in one word."""
    written = column.type.compile(dialect=DIALECT).rpartition(".")[2]
    return SHORT.get(written, written.lower().replace(" ", "_"))


def relation(key: ForeignKey) -> str:
    """How many rows of the one table belong to how many of the other, and by which column."""
    child: Column[object] = key.parent
    one = "|o" if child.nullable else "||"
    many = "o|" if unique(child) or (child.primary_key and len(child.table.primary_key.columns) == 1) else "o{"
    return f"    {entity(key.column.table)} {one}--{many} {entity(child.table)} : {child.name}\n"


def entity(table: object) -> str:
    """A table's name, with its schema where that is not the app's."""
    name = str(table)
    return name.removeprefix("public.") if name.startswith("public.") else f'"{name}"'


if __name__ == "__main__":
    main()
