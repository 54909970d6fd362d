"""A remote over HTTP, the host's git and a sandbox's git, all real; the sandbox is a plain subprocess."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from worker import git
from worker.local.git_server import serve
from worker.repository import Credential, accept
from worker.sandbox.command import Command, Completed

TOKEN = "tok/en+with=signs-0123456789"
SITE, PRIVATE, EMPTY = "acme/site.git", "acme/private.git", "acme/empty.git"
TASK = git.Task(id=7, prompt="Add a greeting\n\nand more")


@dataclass
class Recorder:
    """Runs commands, and remembers them."""

    commands: list[Command] = field(default_factory=list)

    def __call__(self, command: Command) -> Completed:
        self.commands.append(command)
        done = subprocess.run(
            command.argv, cwd=command.cwd, env=command.env, input=command.stdin, capture_output=True, check=False
        )
        return Completed(returncode=done.returncode, stdout=done.stdout, stderr=done.stderr)


def plain(*arguments: str, cwd: Path, stdin: str = "") -> str:
    """Somebody's own git; the token of the tests is nowhere near it."""
    done = subprocess.run(
        ("git", "-c", "user.name=Ann", "-c", "user.email=ann@example.com", *arguments),
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@dataclass
class Scene:
    """One run's actors: the remote on disk, the host, the sandbox."""

    root: Path
    address: str
    folder: Path
    on_host: Recorder = field(default_factory=Recorder)
    in_sandbox: Recorder = field(default_factory=Recorder)

    def host(self, name: str = SITE, *, token: str | None = TOKEN, attempt: int = 1) -> git.Host:
        repository = accept(f"{self.address}/{name}", allowed_hosts=["127.0.0.1"])
        credential = Credential(token=token) if token else None
        folder = self.folder / f"host-{attempt}"
        return git.Host(run=self.on_host, folder=folder, repository=repository, credential=credential)

    def workspace(self, attempt: int = 1) -> git.Workspace:
        folder = self.folder / f"workspace-{attempt}"
        folder.mkdir(exist_ok=True)
        return git.Workspace(run=self.in_sandbox, folder=folder, committer="CodingIT <worker@example.com>")

    def start(
        self, name: str = SITE, branch: str = "feature", *, attempt: int = 1, earlier: tuple[git.Pushed, ...] = ()
    ) -> "Started":
        """Everything up to the agent."""
        host, workspace = self.host(name, attempt=attempt), self.workspace(attempt)
        mirrored = git.mirror(host, branch)
        base = git.base_for(mirrored, earlier=earlier)
        git.clone(workspace, mirrored, base)
        return Started(host=host, workspace=workspace, mirrored=mirrored, base=base)

    def remote(self, *arguments: str, name: str = SITE) -> str:
        return plain("-C", str(self.root / name), *arguments, cwd=self.root)

    def head(self, branch: str, name: str = SITE) -> str | None:
        found = self.remote("for-each-ref", "--format=%(objectname)", f"refs/heads/{branch}", name=name)
        return found or None

    def somebody_pushes(self, branch: str, name: str = SITE) -> str:
        """Another commit on a branch of the remote, made behind our back."""
        parent = self.head(branch, name) or self.head("main", name)
        tree = self.remote("rev-parse", f"{parent}^{{tree}}", name=name)
        commit = self.remote("commit-tree", tree, "-p", str(parent), "-m", "elsewhere", name=name)
        self.remote("update-ref", f"refs/heads/{branch}", commit, name=name)
        return commit


@dataclass
class Started:
    """A run whose agent is at work."""

    host: git.Host
    workspace: git.Workspace
    mirrored: git.Mirror
    base: git.Base

    @property
    def repo(self) -> Path:
        return self.workspace.repo

    def write(self, name: str, content: str = "hello\n") -> None:
        path = self.repo / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)

    def agent(self, *arguments: str) -> str:
        """The agent's own git, in its folder."""
        return plain(*arguments, cwd=self.repo)

    def commit(self, *, partial: bool = False) -> str | None:
        return git.commit(self.workspace, self.mirrored, self.base, task=TASK, partial=partial)

    def deliver(self) -> git.Delivery:
        """Commit, bundle and receive."""
        head = self.commit()
        assert head
        git.bundle(self.workspace, self.base)
        return self.receive(head)

    def receive(self, head: str, *, largest: int = 10**6) -> git.Delivery:
        return git.receive(self.host, self.mirrored, self.base, bundle=self.workspace.out, head=head, largest=largest)

    def push(self) -> str:
        delivery = self.deliver()
        git.push(self.host, self.mirrored, self.base, delivery)
        return delivery.head


def make_remotes(root: Path) -> None:
    """Two repositories with two commits each, and an empty one."""
    (root / "acme").mkdir(parents=True)
    for name in (SITE, PRIVATE, EMPTY):
        plain("init", "--quiet", "--bare", "--initial-branch=main", name, cwd=root)
    work = root / "work"
    plain("clone", "--quiet", SITE, "work", cwd=root)
    for number in (1, 2):
        (work / "README").write_text(f"{number}\n")
        plain("add", ".", cwd=work)
        plain("commit", "--quiet", "--message", f"Commit {number}", cwd=work)
    for name in (SITE, PRIVATE):
        plain("push", "--quiet", str(root / name), "HEAD:refs/heads/main", cwd=work)


@contextmanager
def make_scene(folder: Path, remotes: Path) -> Iterator[Scene]:
    """A copy of the remotes, served, with nothing else in the folder."""
    root = folder / "remotes"
    shutil.copytree(remotes, root)
    with serve(root, token=TOKEN, public=[SITE, EMPTY]) as address:
        yield Scene(root=root, address=address, folder=folder)


@pytest.fixture(scope="session")
def remotes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("git") / "remotes"
    make_remotes(root)
    return root


@pytest.fixture
def scene(tmp_path: Path, remotes: Path) -> Iterator[Scene]:
    with make_scene(tmp_path, remotes) as made:
        yield made
