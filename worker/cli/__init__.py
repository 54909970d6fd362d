"""The command line: `codingit-worker`, same as `python -m worker`."""

import sys
from importlib import metadata
from io import TextIOWrapper
from typing import Annotated, NoReturn

import typer

from worker.cli import agents, db, dispatch, local, maintenance, projects, tasks, up
from worker.errors import CommandFailed, WrongUse

NAME = "codingit-worker"

app = typer.Typer(
    name=NAME,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# One line a noun or a command. Their modules import what is heavy inside functions, so that --help is quick.
app.command()(up.up)
app.add_typer(tasks.app, name="tasks")
app.add_typer(agents.app, name="agents")
app.add_typer(maintenance.app, name="maintenance")
app.add_typer(projects.app, name="projects")
app.add_typer(local.app, name="local")
app.add_typer(db.app, name="db")
app.command()(dispatch.dispatch)


def main() -> None:
    """Run the command that was typed; exits 0, 1 (it could not be done), 2 (wrong use) or 130 (Ctrl-C)."""
    print_anything()
    try:
        app(prog_name=NAME)
    except Exception as fault:
        if "--debug" in sys.argv:
            raise
        leave(fault)


def print_anything() -> None:
    """What an output's encoding lacks is shown as `?`: owners write their rows in every script there is."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # None where it was closed before we began
            stream.reconfigure(errors="replace")


def leave(fault: Exception) -> NoReturn:
    """Tell what went wrong in a sentence on stderr, and exit."""
    if isinstance(fault, CommandFailed | WrongUse):
        message, code = str(fault), 2 if isinstance(fault, WrongUse) else 1
    else:
        message = f"This is a bug: {named(fault)}. To see the traceback: {NAME} --debug …"
        code = 1
    typer.echo(f"Error: {message}", err=True)
    sys.exit(code)


def named(fault: Exception) -> str:
    """The kind of the fault and the first line of what it says."""
    said = str(fault).strip().partition("\n")[0].rstrip(".")
    return f"{type(fault).__name__}: {said}" if said else type(fault).__name__


def print_version(wanted: bool) -> None:  # noqa: FBT001  # typer calls it with the option's value
    """Answer --version."""
    if wanted:
        typer.echo(f"{NAME} {metadata.version(NAME)}")
        raise typer.Exit


@app.callback()
def options(
    *,
    version: Annotated[  # its callback answers
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show a traceback when a command fails.")
    ] = False,  # main() looks at the command line
) -> None:
    """Run the coding tasks of a database's tasks table, and keep that database clean."""
