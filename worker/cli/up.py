"""`codingit-worker up`: everything on this machine, with or without the demo."""

from pathlib import Path
from typing import Annotated

import typer

from worker.errors import WrongUse


def up(
    *,
    demo: Annotated[bool, typer.Option("--demo", help="Add tasks on a repository of our own, and watch.")] = False,
    agent: Annotated[
        str | None,
        typer.Option(help="Who does the demo's tasks: rehearsal, without any model, or one as claude, which costs."),
    ] = None,
    exit_when_done: Annotated[
        bool, typer.Option("--exit-when-done", help="End with the demo; exit code 0 if all went as it should.")
    ] = False,
    concurrency: Annotated[int | None, typer.Option(min=1, max=64, help="How many tasks run at once.")] = None,
    folder: Annotated[
        Path | None, typer.Option("--folder", help="Where everything is kept. Default: one folder a checkout.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object for each thing that happens.")] = False,
) -> None:
    """Start everything on this machine: servers, worker, dispatcher, maintenance, beat and Flower; Ctrl-C stops it."""
    from worker.cli.db import explained
    from worker.cli.local import chosen
    from worker.local import binaries
    from worker.local.cast import REHEARSAL
    from worker.local.up import Wishes, run

    if exit_when_done and not demo:
        raise WrongUse("--exit-when-done goes with --demo: without it nothing is ever done.")
    if agent and not demo:
        raise WrongUse("--agent goes with --demo: a task of yours names its agent itself (tasks add --agent).")
    binaries.supported()
    with explained():
        wishes = Wishes(
            demo=demo,
            agent=agent or REHEARSAL,
            exit_when_done=exit_when_done,
            concurrency=concurrency,
            json=json,
        )
        code = run(chosen(folder), wishes)
    raise typer.Exit(code)
