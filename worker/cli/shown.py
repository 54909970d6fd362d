"""Tasks on a terminal and as JSON: owners write their rows, so nothing of them is printed as it is."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from typing import Any

import typer
from rich.text import Text

from db.queries.tasks import Attempt, Entry, Seen
from worker.cli import output
from worker.local.board import line
from worker.run.text import storable

LIST_COLUMNS = ("Id", "Status", "%", "Agent", "Branch", "Prompt")
PROMPT_IN_LIST = 60
STYLES: Mapping[str, str] = {"pending": "yellow", "processing": "cyan", "completed": "green", "error": "red"}


def clipped(value: object, limit: int) -> str:
    """One line of at most so many characters."""
    whole = line(value)
    return whole if len(whole) <= limit else f"{whole[: limit - 1]}…"


def lines(value: object) -> str:
    """A value of many lines, none of which a terminal obeys."""
    return storable(str(value))


def as_facts(task: Seen) -> dict[str, Any]:
    """A task for a program to read."""
    return {field.name: getattr(task, field.name) for field in fields(task) if field.name != "version"}


def show_list(tasks: Iterable[Seen]) -> None:
    """One line a task."""
    output.table(LIST_COLUMNS, [row(task) for task in tasks])


def row(task: Seen) -> tuple[object, ...]:
    """A task's cells."""
    agent, branch = (None if value is None else clipped(value, 60) for value in (task.agent, task.branch))
    return (task.id, task.status, task.progress, agent, branch, clipped(title(task.prompt), PROMPT_IN_LIST))


def title(prompt: str) -> str:
    """The first line that says something."""
    return next(iter(prompt.strip().splitlines()), "")


def show_task(task: Seen, entries: Iterable[Entry], attempts: Iterable[Attempt]) -> None:
    """All about one task."""
    names = ("id", "user_id", "status", "progress", "agent", "model", "repo_url", "branch")
    known = [(name.replace("_", " "), getattr(task, name)) for name in names]
    output.table(("Task", ""), [(name, line(value)) for name, value in known if value is not None])
    typer.echo(f"\nPrompt\n{indented(lines(task.prompt))}")
    typer.echo("\nLog")
    for entry in entries:
        typer.echo(f"  {entry_line(entry)}")
    ran = [cells(attempt) for attempt in attempts]
    if ran:
        typer.echo()
        output.table(("Attempt", "Worker", "Seconds", "Outcome", "Branch", "Head"), ran)


def cells(attempt: Attempt) -> tuple[object, ...]:
    """An attempt's cells; a holder is `node celery-id`."""
    outcome, branch = attempt.outcome or "running", attempt.branch and clipped(attempt.branch, 60)
    head = attempt.head and attempt.head[:10]
    return (attempt.attempt, line(attempt.worker).partition(" ")[0], f"{attempt.seconds:.1f}", outcome, branch, head)


def entry_line(entry: Entry) -> str:
    """An entry as a person reads it: when, what kind, what."""
    when = line(entry.timestamp or "")[11:19] or "--:--:--"
    mark = {"command": "$ ", "error": "✗ ", "success": "✓ "}.get(entry.type or "", "")
    return f"{when}  {mark}{indented(lines(entry.message or ''), by=10).strip()}"


def indented(text: str, *, by: int = 2) -> str:
    """Every line further to the right."""
    return "\n".join(" " * by + each for each in text.splitlines())


def styled(status: str) -> Text:
    """A status in its colour."""
    return Text(line(status), style=STYLES.get(status, ""))


def for_json(task: Seen, entries: Iterable[Entry], attempts: Iterable[Attempt]) -> dict[str, Any]:
    """All about one task for a program."""
    return {
        **as_facts(task),
        "logs": [asdict(entry) for entry in entries],
        "attempts": [asdict(attempt) for attempt in attempts],
    }
