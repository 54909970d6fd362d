"""`codingit-worker tasks`: add, list, show, watch, cancel, retry and delete tasks."""

import difflib
import sys
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from worker.cli import output
from worker.cli.addresses import configured, owners_database
from worker.cli.output import Json, report
from worker.errors import CommandFailed, WrongUse

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from db.models import TaskStatus
    from db.url import DatabaseUrl

LOOK = "To see which there are: codingit-worker tasks list"

app = typer.Typer(no_args_is_help=True, help="Add, list, show, watch, cancel, retry and delete tasks.")

Id = Annotated[int, typer.Argument(metavar="ID", min=1, max=2**63 - 1, help="The task's id.", show_default=False)]
Who = Annotated[str | None, typer.Option("--user", metavar="ID|EMAIL", help="The user whose tasks these are.")]
Statuses = Annotated[str | None, typer.Option("--status", help="One or more of the statuses, joined by commas.")]


@app.command()
def add(
    prompt: Annotated[str, typer.Argument(help="What is to be done; - reads it from standard input.")],
    *,
    repo: Annotated[str | None, typer.Option(help="The https:// address of the repository. Default: none.")] = None,
    agent: Annotated[str, typer.Option(help="Who does it.")] = "rehearsal",
    model: Annotated[str | None, typer.Option(help="The agent's model. Default: the agent's own.")] = None,
    branch: Annotated[str | None, typer.Option(help="The branch to push. Default: named after the prompt.")] = None,
    user: Annotated[
        str | None,
        typer.Option("--user", metavar="ID|EMAIL", help="Whose task it is. Default: the demo user, on local servers."),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Follow it; exit code 1 if it ends in error.")] = False,
    json: Json = False,
) -> None:
    """Add a task; a worker takes it as soon as one is free."""
    from db.queries import tasks
    from worker.cli import sessions

    url, words = owners_database(), worded(prompt)
    for name, wish in {"repository": repo, "agent": agent, "model": model, "branch": branch}.items():
        utf8(wish or "", f"The {name}")
    with sessions.opened(url) as session:
        owner = owner_of_new(session, user)
        task_id = tasks.create(session, words, user_id=owner, agent=agent, model=model, repo_url=repo, branch=branch)
    if json and not watch:
        output.as_json({"id": task_id})
    elif not json:
        typer.echo(f"Added task {task_id}.")
    if watch:
        follow(url, task_id, json=json)


@app.command("list")
def list_(
    *,
    status: Statuses = None,
    user: Who = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many.")] = 20,
    before: Annotated[int | None, typer.Option(metavar="ID", help="Only tasks with a lower id: the next page.")] = None,
    json: Json = False,
) -> None:
    """The newest tasks first."""
    from db.queries import tasks
    from worker.cli import sessions, shown

    wanted = statuses(status)
    with sessions.opened(owners_database()) as session:
        whose = known_user(session, user) if user else None
        found = tasks.newest(session, limit, before=before, statuses=wanted, user_id=whose)
    if json:
        output.as_json([shown.as_facts(task) for task in found])
    elif not found:
        typer.echo("There are no such tasks." if status or user or before else "There are no tasks yet.")
    else:
        shown.show_list(found)
        if len(found) == limit:
            typer.echo(f"There may be more: --before {found[-1].id}")


@app.command()
def show(task_id: Id, *, json: Json = False) -> None:
    """All about one task: what was asked, its log, and every attempt at it."""
    from db.queries import tasks
    from worker.cli import sessions, shown

    with sessions.opened(owners_database()) as session:
        task = tasks.get(session, task_id)
        if task is None:
            raise missing(task_id)
        about = (task, tasks.entries(session, task_id), tasks.attempts(session, task_id))
    output.as_json(shown.for_json(*about)) if json else shown.show_task(*about)


@app.command()
def watch(task_id: Id, *, json: Json = False) -> None:
    """Follow a task until it ends; exit code 1 if it ends in error. Ctrl-C stops the watching, not the task."""
    follow(owners_database(), task_id, json=json)


@app.command()
def cancel(task_id: Id, *, json: Json = False) -> None:
    """End a task that waits or runs; its agent is stopped and nothing is pushed."""
    from db.engine import Database
    from db.queries import queue
    from worker.cli import sessions

    url = owners_database()
    with sessions.explained(url), Database(url) as database:
        was = queue.cancel(database, task_id, why="Cancelled by an operator.")
    if was is None:
        raise missing(task_id)
    if was not in {"pending", "processing"}:
        raise CommandFailed(f"Task {task_id} had already ended ({was}), so there is nothing to cancel.")
    report({"id": task_id, "was": was, "status": "error"}, f"Cancelled task {task_id}, which was {was}.", json=json)


@app.command()
def retry(task_id: Id, *, json: Json = False) -> None:
    """Run a task again that has ended, or that no worker holds."""
    from db.engine import Database
    from db.queries import queue
    from worker.cli import sessions

    url = owners_database()
    with sessions.explained(url), Database(url) as database:
        was = queue.retry(database, task_id)
    if was is None:
        raise missing(task_id)
    if was == "running":
        raise CommandFailed(f"Task {task_id} runs now. Stop it first: codingit-worker tasks cancel {task_id}")
    words = f"Task {task_id} waits already." if was == "pending" else f"Task {task_id}, which was {was}, waits again."
    report({"id": task_id, "was": was, "status": "pending"}, words, json=json)


@app.command()
def delete(
    task_ids: Annotated[
        list[int] | None, typer.Argument(metavar="[ID]...", min=1, max=2**63 - 1, help="Tasks by their ids.")
    ] = None,
    *,
    status: Statuses = None,
    user: Who = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """Delete tasks by id, or all in a status. A task that runs is cancelled by it."""
    if bool(task_ids) == bool(status):
        raise WrongUse("Name the tasks to delete by their ids, or by --status completed,error; not both.")
    if task_ids and user:
        raise WrongUse("--user goes with --status; a task named by its id is deleted whoever owns it.")
    if task_ids:
        delete_named(task_ids, json=json)
    else:
        delete_in(statuses(status), user, sure=yes, json=json)


def delete_named(task_ids: list[int], *, json: bool) -> None:
    """Delete those that there are, and fail if one was missing; nothing is asked, as they were named one by one."""
    from db.queries import tasks
    from worker.cli import sessions

    with sessions.opened(owners_database()) as session:
        deleted = tasks.delete_these(session, task_ids)
    lacking = [str(task_id) for task_id in dict.fromkeys(task_ids) if task_id not in deleted]
    report({"deleted": len(deleted)}, f"Deleted {counted(len(deleted))}.", json=json)
    if lacking:
        raise CommandFailed(f"There was no task {', '.join(lacking)}. {LOOK}")


def delete_in(wanted: "list[TaskStatus]", user: str | None, *, sure: bool, json: bool) -> None:
    """Delete what is in these statuses, once somebody said yes."""
    from db.queries import tasks
    from worker.cli import sessions

    with sessions.opened(owners_database()) as session:
        whose = known_user(session, user) if user else None
        number = sum(tasks.count(session, statuses=wanted, user_id=whose).values())
        session.rollback()  # nothing is held while a person thinks
        if number and not sure:
            confirm(f"Delete {counted(number)} ({', '.join(wanted)})?")
        deleted = tasks.delete_in(session, wanted, user_id=whose) if number else 0
    report({"deleted": deleted}, f"Deleted {counted(deleted)}.", json=json)


def confirm(question: str) -> None:
    """Ask on the terminal. Raises WrongUse where there is none to ask."""
    if not sys.stdin.isatty():
        raise WrongUse("Nobody is here to be asked whether to delete. Add --yes to delete without being asked.")
    if not typer.confirm(question, err=True):
        raise CommandFailed("Nothing was deleted.")


def follow(url: "DatabaseUrl", task_id: int, *, json: bool) -> None:
    """Watch to the end, and exit by it."""
    from worker.cli import watch as watching

    try:
        ended = watching.watch(url, task_id, json=json)
    except KeyboardInterrupt:
        typer.echo(
            f"Stopped watching; task {task_id} goes on. To end it: codingit-worker tasks cancel {task_id}", err=True
        )
        raise typer.Exit(130) from None
    if ended.status != "completed":
        raise typer.Exit(1)


def owner_of_new(session: "Session", user: str | None) -> UUID:
    """Who was named; on the local servers the demo user, made if need be, where nobody was."""
    from db.queries import users
    from worker.local import demo_user

    if user:
        return known_user(session, user)
    if configured():
        raise WrongUse("Whose task is it? Name a user by id or email: --user ann@example.com")
    users.ensure(session, demo_user.ID, email=demo_user.EMAIL)
    return demo_user.ID


def known_user(session: "Session", name: str) -> UUID:
    """The user with this id or email. Raises CommandFailed."""
    from db.queries import users

    try:
        found = users.find(session, UUID(name))
    except ValueError:
        found = users.find(session, utf8(name, "A user's email"))
    if found is None:
        raise CommandFailed(f"There is no user {name!r} in auth.users. Name one by id or email.")
    return found


def worded(prompt: str) -> str:
    """The prompt, read from standard input where it is `-`."""
    words = sys.stdin.buffer.read().decode("utf-8", "surrogateescape") if prompt == "-" else prompt
    if not words.strip():
        raise WrongUse("The prompt is empty. Say what is to be done.")
    return utf8(words, "The prompt")


def utf8(text: str, what: str) -> str:
    """The text. Raises WrongUse where PostgreSQL could not store it."""
    try:
        text.encode()
    except UnicodeEncodeError as fault:
        raise WrongUse(f"{what} is not UTF-8 text.") from fault
    if "\0" in text:
        raise WrongUse(f"{what} holds a NUL character, which cannot be stored.")
    return text


def statuses(named: str | None) -> "list[TaskStatus]":
    """The statuses of `completed,error`. Raises WrongUse for a word that is none."""
    from db.models import TaskStatus

    known = [status.value for status in TaskStatus]
    words = [word.strip().lower() for word in (named or "").split(",") if word.strip()]
    if named is not None and not words:
        raise WrongUse(f"--status names no status. There are: {', '.join(known)}.")
    for word in words:
        if word not in known:
            near = difflib.get_close_matches(word, known, n=1)
            meant = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(known)}."
            raise WrongUse(f"There is no status {word!r}. {meant}")
    return [TaskStatus(word) for word in dict.fromkeys(words)]


def missing(task_id: int) -> CommandFailed:
    """There is no such task."""
    return CommandFailed(f"There is no task {task_id}. {LOOK}")


def counted(number: int) -> str:
    """`1 task`, `2 tasks`."""
    return f"{number} task{'' if number == 1 else 's'}"
