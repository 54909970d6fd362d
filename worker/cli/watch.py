"""Following one task: its log entries as they come, until it ends."""

import json as jsonlib
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from db.queries import tasks
from worker.cli import sessions, shown
from worker.errors import CommandFailed
from worker.local.board import line

if TYPE_CHECKING:
    from db.queries.tasks import Entry, Seen
    from db.url import DatabaseUrl

LOOK_EVERY = 0.25
PATIENCE = 5.0
"""Seconds after which somebody who watches a pending task is told why nothing happens."""


def watch(url: "DatabaseUrl", task_id: int, *, json: bool) -> "Seen":
    """
    Print what is added to the log until the task ends; answers how it ended.

    Raises:
        CommandFailed: there is no such task, or it was deleted while it was watched.
    """
    printed = JsonLines() if json else Lines()
    with printed.shown():
        last: Seen | None = None
        for last, fresh in followed(url, task_id):
            printed.show(last, fresh)
        if last is None:
            raise CommandFailed(f"There is no task {task_id}. To see which there are: codingit-worker tasks list")
        if not last.ended:
            raise CommandFailed(f"Task {task_id} was deleted, which cancels it.")
    printed.end(last)
    return last


def followed(url: "DatabaseUrl", task_id: int) -> "Iterator[tuple[Seen, list[Entry]]]":
    """The task at every look, with the entries that are new; ends when it has ended or is gone."""
    seen: set[Entry] = set()
    version = None
    with sessions.opened(url) as session:
        while task := tasks.get(session, task_id):
            changed, version = task.version != version, task.version
            fresh = [entry for entry in tasks.entries(session, task_id) if entry not in seen] if changed else []
            seen.update(fresh)
            session.rollback()  # no transaction stays open between two looks
            yield task, fresh
            if task.ended:
                return
            time.sleep(LOOK_EVERY)


class Lines:
    """For a person: a line an entry, and on a terminal a progress bar below them."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, soft_wrap=True)
        self._live: Live | None = None
        self._since = time.monotonic()

    @contextmanager
    def shown(self) -> Iterator[None]:
        """While the block runs, the bar stands below what is printed."""
        if not (self._console.is_terminal and not self._console.is_dumb_terminal):
            yield
            return
        with Live(console=self._console, auto_refresh=False, transient=True) as self._live:
            yield

    def show(self, task: "Seen", fresh: "list[Entry]") -> None:
        """Print what is new, and where it stands."""
        for entry in fresh:
            self._console.print(Text(shown.entry_line(entry)))
        if self._live:
            self._live.update(self._bar(task), refresh=True)
        sys.stdout.flush()

    def end(self, task: "Seen") -> None:
        """The last line: how it ended, and where the work is."""
        where = f" on branch {line(task.branch)}" if task.branch else ""
        self._console.print(Text.assemble(f"Task {task.id}: ", shown.styled(task.status), where))

    def _bar(self, task: "Seen") -> Group | Table:
        grid = Table.grid(padding=(0, 1))
        branch = shown.clipped(task.branch or "", 40)
        bar = ProgressBar(total=100, completed=task.progress, width=24)
        grid.add_row(f"Task {task.id}", shown.styled(task.status), bar, f"{task.progress} %", Text(branch, style="dim"))
        if task.status == "pending" and time.monotonic() - self._since > PATIENCE:
            return Group(grid, Text("No worker has taken it yet. Is one running?", style="dim"))
        return grid


class JsonLines:
    """For a program: an object a line for each entry, and a last one for the task."""

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Nothing to be held open."""
        yield

    def show(self, task: "Seen", fresh: "list[Entry]") -> None:
        """Print what is new."""
        for entry in fresh:
            typer.echo(jsonlib.dumps({"task": task.id, "progress": task.progress, **asdict(entry)}))

    def end(self, task: "Seen") -> None:
        """The task as it ended."""
        typer.echo(jsonlib.dumps(shown.as_facts(task), default=str))
