"""`codingit-worker agents`: which agents there are, and whether they can work on this host."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli import output
from worker.cli.output import Json
from worker.errors import TaskFailed, WrongUse

if TYPE_CHECKING:
    from worker.monitoring.readiness import Readiness

app = typer.Typer(no_args_is_help=True, help="Say which agents there are, and whether they can work on this host.")

Name = Annotated[str | None, typer.Argument(help="One agent; exit code 1 if it cannot work here. Default: all.")]


@app.command("list")
def list_(*, json: Json = False) -> None:
    """Every agent: what is installed, its model, its key, and whether it can work here."""
    from worker.agents import known

    seen = looked_at(known())
    if json:
        output.as_json([asdict(each) for each in seen])
        return
    output.table(("Agent", "Installed", "Default model", "Key", "Works here"), [row(each) for each in seen])
    if any(each.lacks for each in seen):
        typer.echo("\nWhat is missing, and how to get it: codingit-worker agents check")


@app.command()
def check(name: Name = None, *, json: Json = False) -> None:
    """Say what each agent lacks, and how to get it; and what is to be known of the sandbox."""
    from worker.agents import known
    from worker.settings import settings

    seen = looked_at(known() if name is None else (name,))
    lines = (*map(told, seen), f"sandbox: {sandboxed(settings().sandbox)}")
    output.report([asdict(each) for each in seen], "\n".join(lines), json=json)
    if name and seen[0].lacks:
        raise typer.Exit(1)


def looked_at(names: Sequence[str]) -> "list[Readiness]":
    """What there is of these agents. Raises WrongUse for a name that is none."""
    from worker.agents import find
    from worker.monitoring.readiness import readiness
    from worker.settings import settings

    try:
        return [readiness(find(name), settings()) for name in names]
    except TaskFailed as unknown:
        raise WrongUse(str(unknown)) from unknown


def row(seen: "Readiness") -> tuple[object, ...]:
    """An agent's cells."""
    installed = seen.version or ("yes" if seen.installed else "no" if seen.model else None)
    key = None if seen.key is None else "set" if seen.key_is_set else "not set"
    return (seen.name, installed, seen.model, key, "no" if seen.lacks else "yes")


def sandboxed(setting: str | None) -> str:
    """What is to be known of the sandbox that agents run in here."""
    from worker.sandbox import choice

    if setting == "process":
        return "none, for CODINGIT_SANDBOX=process says that all prompts and repositories are trusted."
    return " ".join(choice.told())


def told(seen: "Readiness") -> str:
    """An agent in words, each thing that it lacks on a line."""
    version = f" {seen.version}" if seen.version else ""
    where = f" ({seen.installed})" if seen.installed else ""
    head = f"{seen.name}{version}{where}: {'cannot work here yet.' if seen.lacks else 'ready.'}"
    return "\n".join((head, *(f"  - {each}" for each in seen.lacks)))
