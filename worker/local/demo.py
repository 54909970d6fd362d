"""The demo: a user, a repository served with a token, a few tasks, and whether they ended as they should."""

import json
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from db.models import TaskStatus
from db.queries import tasks
from worker.errors import CommandFailed
from worker.git.host import path
from worker.local import demo_user, state
from worker.local.access import Access
from worker.local.board import Board, Row
from worker.local.garden import FILES, REPOSITORY, Scene, scenes
from worker.local.git_server import serve
from worker.sandbox.command import Command, Completed

SEEN_AT_WORK = 45
"""The progress at which the agent has been seen to work, and the task may be cancelled."""
UNFINISHED = frozenset({TaskStatus.PENDING.value, TaskStatus.PROCESSING.value})
QUIET = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
IDENTITY = {
    **{f"GIT_{who}_NAME": "Ann Gardener" for who in ("AUTHOR", "COMMITTER")},
    **{f"GIT_{who}_EMAIL": "ann@garden.invalid" for who in ("AUTHOR", "COMMITTER")},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """What was pushed."""

    branch: str
    head: str
    subject: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """The demo's repository, as git clients and as we reach it."""

    url: str
    bare: Path
    credentials: Path
    noted: Path
    """The file with the ids of the tasks that the last demo added."""

    def env(self, allowed: Sequence[str]) -> Mapping[str, str]:
        """The settings that let workers use it, besides the hosts that are allowed anyway."""
        host = self.url.split("/")[2]
        return {
            "CODINGIT_ALLOWED_HOSTS": ",".join((*allowed, host)),
            "CODINGIT_CREDENTIALS_FILE": str(self.credentials),
        }

    def commit(self, branch: str) -> Commit | None:
        """The head of a branch, None where there is no such branch."""
        form = "--format=%(objectname:short) %(contents:subject)"
        head, _, subject = run_git("for-each-ref", form, f"refs/heads/{branch}", cwd=self.bare).partition(" ")
        return Commit(branch=branch, head=head, subject=subject) if head else None

    def unused(self, branch: str) -> str:
        """The branch's name with the first number that no earlier demo pushed."""
        names = (f"{branch}-{number}" for number in count(1))
        return next(name for name in names if self.commit(name) is None)


@contextmanager
def repository(folder: Path, access: Access) -> Iterator[Remote]:
    """The repository with its project, served for as long as the block runs; made where it is not there yet."""
    served, bare = folder / "repositories", folder / "repositories" / f"{REPOSITORY}.git"
    if not bare.exists():
        with state.plainly():
            make(bare)
    with serve(served, token=access.git_token, port=access.git_port) as address:
        access.keep(folder, git_port=int(address.rpartition(":")[2]))
        url = f"{address}/{REPOSITORY}.git"
        credentials = folder / "credentials.toml"
        allow = f'[[allow]]\nuser = "{demo_user.ID}"\nrepository = "{url}"\ntoken = "{access.git_token}"\n'
        with state.plainly(), state.private_file(credentials) as file:
            file.write(allow.encode())
        yield Remote(url=url, bare=bare, credentials=credentials, noted=folder / "demo.json")


def make(bare: Path) -> None:
    """A bare repository with the project in one commit; it appears whole or not at all."""
    bare.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=bare.parent, prefix=".making-") as draft:
        work, whole = Path(draft) / "work", Path(draft) / "bare"
        for name, content in FILES.items():
            (work / name).parent.mkdir(parents=True, exist_ok=True)
            (work / name).write_text(content)
        run_git("init", "--quiet", "--template=", "--initial-branch=main", cwd=work)
        run_git("add", "--all", cwd=work)
        run_git("commit", "--quiet", "--message=Plant a garden", cwd=work)
        run_git("clone", "--quiet", "--bare", "--template=", str(work), str(whole), cwd=work)
        run_git("remote", "remove", "origin", cwd=whole)
        whole.rename(bare)


def run_git(*arguments: str, cwd: Path) -> str:
    """What git answers, with nobody's configuration."""
    done = run(Command(argv=("git", *arguments), cwd=cwd, env=QUIET | IDENTITY | {"PATH": path()}))
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise CommandFailed(f"The demo's repository cannot be made or read: git {arguments[0]}: {said}")
    return done.stdout.decode(errors="replace").strip()


def run(command: Command) -> Completed:
    """A program of ours, to its end."""
    if shutil.which(command.argv[0], path=command.env.get("PATH")) is None:
        return Completed(returncode=127)
    done = subprocess.run(
        command.argv, cwd=command.cwd, env=command.env, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    return Completed(returncode=done.returncode, stdout=done.stdout, stderr=done.stderr)


class Demo:
    """Tasks on their way, once the caller commits; noted before that, so that none is ever forgotten."""

    def __init__(self, session: Session, remote: Remote, *, agent: str) -> None:
        self._remote = remote
        self._scenes = {add(session, scene, remote, agent=agent): scene for scene in scenes(agent)}
        self._deleted: set[int] = set()
        with state.plainly():
            state.write(remote.noted, self.ids())

    def ids(self) -> tuple[int, ...]:
        """The tasks."""
        return tuple(self._scenes)

    def play(self, session: Session, board: Board) -> None:
        """Do what the owner of the tasks does meanwhile: delete one while it runs."""
        for task_id, scene in self._scenes.items():
            row = board.rows[task_id]
            at_work = row.status == "processing" and row.progress >= SEEN_AT_WORK
            if scene.ends == "cancelled" and at_work and task_id not in self._deleted:
                tasks.delete_these(session, [task_id])
                self._deleted.add(task_id)

    def is_over(self, session: Session, board: Board) -> bool:
        """Whether all have ended; a deleted one has when its agent was stopped."""
        return all(self._has_ended(session, board.rows[task_id]) for task_id in self._scenes)

    def faults(self, board: Board) -> list[str]:
        """A sentence for each task that did not end as it should."""
        found = []
        for task_id, scene in self._scenes.items():
            row = board.rows[task_id]
            if row.status != scene.ends:
                found.append(f"Task {task_id} is {row.status}, it should be {scene.ends}: {row.message}")
            elif scene.ends == "completed" and scene.in_repository and self._pushed(row) is None:
                found.append(f"Task {task_id} is completed, and its branch {row.branch} is not there.")
        return found

    def outcome(self) -> str:
        """How many end how, when all goes as it should."""
        ends = Counter(scene.ends for scene in self._scenes.values())
        counted = ", ".join(f"{count} {end}" for end, count in ends.items())
        return f"All {len(self._scenes)} tasks ended as they should: {counted}"

    def commits(self, board: Board) -> list[Commit]:
        """What the tasks pushed."""
        found = [self._pushed(board.rows[task_id]) for task_id in self._scenes]
        return [commit for commit in found if commit]

    def _pushed(self, row: Row) -> Commit | None:
        return self._remote.commit(row.branch) if row.branch and row.status == "completed" else None

    def _has_ended(self, session: Session, row: Row) -> bool:
        if row.status != "cancelled":
            return row.status in tasks.ENDED
        return all(attempt.outcome for attempt in tasks.attempts(session, row.id))


@contextmanager
def begun(session: Session, remote: Remote, *, agent: str) -> Iterator[Demo]:
    """A demo; what of it still waits or runs when the block is left is deleted, or by the next demo."""
    played = Demo(session, remote, agent=agent)
    session.commit()
    try:
        yield played
    finally:
        with suppress(OperationalError):
            session.rollback()
            delete_unfinished(session, played.ids())
            session.commit()


def clear(session: Session, remote: Remote) -> None:
    """Delete what a demo that was killed left waiting or running: it would go first, and nobody would see it."""
    try:
        noted = json.loads(remote.noted.read_bytes())
    except (FileNotFoundError, ValueError):
        return
    delete_unfinished(session, noted)


def delete_unfinished(session: Session, task_ids: Collection[int]) -> None:
    """Those that wait or run; never a task that is not the demo user's."""
    found = (task for task in tasks.several(session, task_ids) if task.user_id == demo_user.ID)
    tasks.delete_these(session, [task.id for task in found if task.status in UNFINISHED])


def add(session: Session, scene: Scene, remote: Remote, *, agent: str) -> int:
    """One task; its id."""
    return tasks.create(
        session,
        scene.prompt,
        user_id=demo_user.ID,
        agent=agent,
        branch=remote.unused(scene.branch) if scene.branch else None,
        repo_url=remote.url if scene.in_repository else None,
    )
