"""What `up` tells when everything runs: what was pushed, where to look, and how to go on from another terminal."""

import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from worker.local import demo_user, state
from worker.local.demo import Commit


@dataclass(frozen=True, slots=True, kw_only=True)
class Whereabouts:
    """Where everything is that a person may want to look at."""

    folder: Path
    """The state folder of the servers."""
    by_default: bool
    """Whether commands find these servers by themselves, in a terminal like ours."""
    logs: Path
    state: Path
    """Where the workers keep workspaces and transcripts."""
    health: str
    flower: str
    flower_auth: str = field(repr=False)
    repository: str | None = None
    """The demo's, for tasks of one's own."""


def pushed(commits: Sequence[Commit]) -> Iterator[tuple[str, str]]:
    """A line a commit: short sha, branch and subject."""
    width = max((len(commit.branch) for commit in commits), default=0)
    for commit in commits:
        yield commit.head, f"{commit.branch:<{width}}  {commit.subject}"


def ways_on(where: Whereabouts) -> Iterator[tuple[str, str]]:
    """What to open and what to type; every command works as it stands, in another terminal in this folder."""
    user, _, password = where.flower_auth.partition(":")
    yield "Flower", f"http://{where.flower}  user {user}, password {password}"
    yield "Health", f"http://{where.health}/readyz"
    command, flags = typed("tasks add", where)
    yield "Add a task", f'{command} "Say hello" --watch{flags}'
    if where.repository:
        yield "", f'{command} "Plant a tree" --watch{flags} --repo {where.repository}'
    yield "See tasks", f"{typed('tasks list', where)[0]}"
    yield "psql", f"psql \"$({program()} local url{folder_flag(where)} | sed -n 's/^DATABASE_URL=//p')\""
    yield "Logs", str(where.logs)


def typed(words: str, where: Whereabouts) -> tuple[str, str]:
    """A command that talks to these servers, and what must follow it."""
    if where.by_default:
        return f"{program()} {words}", ""
    url = f"$({program()} local url{folder_flag(where)} | sed -n 's/^DATABASE_URL=//p')"
    return f'ADMIN_DATABASE_URL="{url}" {program()} {words}', f" --user {demo_user.EMAIL}"


def folder_flag(where: Whereabouts) -> str:
    """What names the folder, where it is not this checkout's own."""
    return "" if where.folder == state.default_folder() else f" --folder {shlex.quote(str(where.folder))}"


def program() -> str:
    """How to type our name: as it lies beside this Python, relative to where we are if that is shorter."""
    script = Path(sys.executable).with_name("codingit-worker")
    if not script.exists():
        return f"{shlex.quote(sys.executable)} -m worker"
    here = Path.cwd()
    return shlex.quote(str(script.relative_to(here) if script.is_relative_to(here) else script))
