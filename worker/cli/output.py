"""How commands print: JSON for programs, a plain table for people."""

import json as jsonlib
import sys
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def report(value: object, words: str, *, json: bool) -> None:
    """Print for a program or for a person."""
    as_json(value) if json else typer.echo(words)


def as_json(value: Any) -> None:
    """Print a value as JSON, whatever JSON does not know as its text."""
    typer.echo(jsonlib.dumps(value, indent=2, default=str))


def events_to_stderr() -> None:
    """What a worker would log is no part of what a command prints."""
    import structlog

    structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))  # of then: a bar may stand in it


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under their columns; None is shown as a dash."""
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    # The first column holds what other commands are told, so that it is never cut; nothing else is either.
    headed = (Column(name, overflow="fold", no_wrap=number == 0) for number, name in enumerate(columns))
    shown = Table(*headed, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        shown.add_row(*(Text("-" if cell is None else str(cell)) for cell in row))
    Console(soft_wrap=True).print(shown)


def plain(text: str) -> str:
    """One line that no terminal obeys, whoever wrote it."""
    from worker.local.board import line

    return line(text)
