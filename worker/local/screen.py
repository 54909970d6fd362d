"""What `up` shows: a live table on a terminal, elsewhere a plain line for each change, or an object for programs."""

import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from io import TextIOWrapper
from json import dumps
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from worker.local.board import Board, Row

STYLES = {
    "pending": "yellow",
    "processing": "cyan",
    "completed": "green",
    "error": "red",
    "cancelled": "magenta",
}
NARROW = 100
"""Below so many columns the table leaves more room for the last column."""


class Screen(Protocol):
    """Where a person or a program follows what goes on."""

    def done(self, what: str, details: str = "") -> None:
        """A step of the start is done."""

    def say(self, words: str) -> None:
        """Something worth a sentence happened."""

    def show(self, board: Board, changed: Iterable[Row]) -> None:
        """The tasks as they are now."""

    def settle(self) -> None:
        """What is shown stays as it is; the next `show` begins below."""

    def facts(self, title: str, lines: Iterable[tuple[str, str]]) -> None:
        """Names and what they are, to be read and copied."""


def screen(*, json: bool) -> Screen:
    """The one that was asked for, or that fits the standard output."""
    if json:
        return JsonLines()
    terminal = Console(highlight=False)
    if isinstance(sys.stdout, TextIOWrapper) and sys.stdout.isatty() and not terminal.is_dumb_terminal:
        return LiveTable(terminal)
    return PlainLines()


class PlainLines:
    """No escape sequence, nothing ever rewritten."""

    def done(self, what: str, details: str = "") -> None:
        """As Screen says."""
        self.say(f"{what}: {details}" if details else what)

    def say(self, words: str) -> None:
        """As Screen says; whoever listened may be gone."""
        printed(f"{datetime.now().astimezone():%H:%M:%S}  {words}")

    def show(self, board: Board, changed: Iterable[Row]) -> None:  # noqa: ARG002 - a live table needs it
        """A line for each change."""
        for row in changed:
            where = f"  [{row.branch}]" if row.branch else ""
            self.say(f"task {row.id:<4} {row.status:<10} {row.progress:>3} %{where}  {row.message}")

    def settle(self) -> None:
        """Every line stays."""

    def facts(self, title: str, lines: Iterable[tuple[str, str]]) -> None:
        """As Screen says."""
        printed(f"\n{title}", *aligned(lines), "")


class JsonLines:
    """For programs: one object a line, whose `event` says what it tells."""

    def done(self, what: str, details: str = "") -> None:
        """As Screen says."""
        self._tell("done", what=what, details=details)

    def say(self, words: str) -> None:
        """As Screen says."""
        self._tell("said", words=words)

    def show(self, board: Board, changed: Iterable[Row]) -> None:  # noqa: ARG002 - a live table needs it
        """An object for each task that changed."""
        for row in changed:
            self._tell("task", **asdict(row))

    def settle(self) -> None:
        """Every line stays."""

    def facts(self, title: str, lines: Iterable[tuple[str, str]]) -> None:
        """As Screen says; pairs, for a name may come twice."""
        self._tell("facts", title=title, facts=[[name, what] for name, what in lines])

    def _tell(self, event: str, **told: object) -> None:
        at = datetime.now().astimezone().isoformat(timespec="seconds")
        printed(dumps({"event": event, "at": at, **told}))


class LiveTable:
    """A table that is drawn anew at every look, and lines above it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None

    def done(self, what: str, details: str = "") -> None:
        """As Screen says."""
        self._print(Text.assemble(("✓ ", "green"), f"{what:<26}", (details, "dim")))

    def say(self, words: str) -> None:
        """As Screen says."""
        self._print(Text.assemble(("· ", "yellow"), words))

    def show(self, board: Board, changed: Iterable[Row]) -> None:  # noqa: ARG002 - plain lines need it
        """Draw the table."""
        if self._live is None:
            self._print(Text())
            self._live = Live(console=self._console, auto_refresh=False, vertical_overflow="crop")
            self._live.start()
        self._live.update(self._table(board), refresh=True)

    def settle(self) -> None:
        """As Screen says."""
        if self._live is not None:
            live, self._live = self._live, None
            with suppress(OSError):
                live.stop()

    def facts(self, title: str, lines: Iterable[tuple[str, str]]) -> None:
        """Long lines are not broken, so that they can be copied."""
        self._print(Text(f"\n{title}", style="bold"))
        for line in aligned(lines):
            self._print(Text(line))

    def _print(self, text: Text) -> None:
        with suppress(OSError):
            self._console.print(text, soft_wrap=True)

    def _table(self, board: Board) -> RenderableType:
        if not board.rows:
            return Text("Waiting for tasks. Ctrl-C stops everything.", style="dim")
        rows = [board.rows[at] for at in sorted(board.rows)]
        room = max(3, self._console.height - 4)
        hidden = len(rows) - room
        shown = self._rows(rows[-room:])
        return Group(shown, Text(f"and {hidden} older ones", style="dim")) if hidden > 0 else shown

    def _rows(self, rows: list[Row]) -> Table:
        width = self._console.width - len("^C ")  # which a terminal writes at the end of the last line
        bar = 8 if width < NARROW else 20
        branch = max(14, min(36, (width - bar - 30) * 2 // 5))
        table = Table(box=None, pad_edge=False, header_style="bold", width=width)
        table.add_column("Id", justify="right", no_wrap=True)
        for name in ("Agent", "Status"):
            table.add_column(name, no_wrap=True)
        table.add_column("Progress", width=bar, no_wrap=True)
        table.add_column("Branch", width=branch, no_wrap=True, overflow="ellipsis")
        table.add_column("Last log line", ratio=1, no_wrap=True, overflow="ellipsis")
        for row in rows:
            table.add_row(*cells(row, bar))
        return table


def printed(*lines: str) -> None:
    """Print at once; where nobody listens any more, never again, and the interpreter's last flush neither."""
    try:
        print(*lines, sep="\n", flush=True)  # noqa: T201 - this is the screen
    except OSError:
        with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - a file descriptor is wanted
            os.dup2(nowhere.fileno(), sys.stdout.fileno())


def aligned(lines: Iterable[tuple[str, str]]) -> list[str]:
    """Names, and in a column beside them what they are."""
    pairs = list(lines)
    width = max((len(name) for name, _ in pairs), default=0)
    return [f"  {name:<{width}}  {what}" for name, what in pairs]


def cells(row: Row, bar: int) -> tuple[RenderableType, ...]:
    """One line of the table."""
    style = STYLES.get(row.status, "")
    return (
        str(row.id),
        Text(row.agent, style="dim"),
        Text(row.status, style=style),
        ProgressBar(total=100, completed=row.progress, width=bar, complete_style=style, finished_style=style),
        Text(row.branch or "-", style="" if row.branch else "dim"),
        Text(row.message),
    )
