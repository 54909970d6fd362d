"""A fleet of real processes on a fresh database, and a git host on loopback."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import pytest
import redis

from db.url import DatabaseUrl
from tests.integration.agents.conftest import require
from tests.support.fleet import Fleet
from tests.support.model_api import ModelApi, Move, serving
from tests.support.rows import Rows
from tests.support.sandboxes import isolating
from worker.local.git_server import serve
from worker.local.servers import Addresses

TOKEN = "token-of-the-test-host"
KEY = "sk-ant-api03-the-real-key-of-this-test"
"""Of every provider."""
OWNER = UUID("11111111-1111-1111-1111-111111111111")

Adding = Callable[..., int]
Started = Callable[..., ModelApi]


class Remote:
    """A git host with private repositories."""

    def __init__(self, folder: Path, address: str) -> None:
        self.folder = folder
        self.address = address

    def repository(self, name: str = "acme/site") -> str:
        """A new repository with one commit on main; its address."""
        bare = self.folder / f"{name}.git"
        seed = self.folder.parent / "seed" / name
        seed.mkdir(parents=True)
        git("init", "--quiet", "--initial-branch=main", cwd=seed)
        (seed / "README.md").write_text("# A site\n")
        git("add", ".", cwd=seed)
        git("commit", "--quiet", "--message=Begin", cwd=seed)
        git("clone", "--quiet", "--bare", str(seed), str(bare), cwd=self.folder)
        return f"{self.address}/{name}"

    def heads(self, name: str = "acme/site") -> dict[str, str]:
        """Each branch and its head."""
        listed = git(
            "for-each-ref", "--format=%(refname:short) %(objectname)", "refs/heads", cwd=self.folder / f"{name}.git"
        )
        return dict(line.split() for line in listed.splitlines())

    def parent(self, commit: str, name: str = "acme/site") -> str:
        """The commit before."""
        return git("rev-parse", f"{commit}^", cwd=self.folder / f"{name}.git")

    def show(self, what: str, name: str = "acme/site") -> str:
        """`git show`."""
        return git("show", what, cwd=self.folder / f"{name}.git")

    def everything(self, name: str = "acme/site") -> str:
        """Every object that was ever pushed, reachable or not."""
        batch = ("git", "cat-file", "--batch-all-objects", "--batch")
        done = subprocess.run(batch, cwd=self.folder / f"{name}.git", check=True, capture_output=True)
        return done.stdout.decode(errors="replace")


def git(*arguments: str, cwd: Path) -> str:
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.com")
    done = subprocess.run(["git", *identity, *arguments], cwd=cwd, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[Remote]:
    """A git host that wants a token for everything."""
    folder = tmp_path / "remote"
    folder.mkdir()
    with serve(folder, token=TOKEN) as address:
        yield Remote(folder, address)


@pytest.fixture
def fleet(tmp_path: Path, stack: Addresses, worker_url: DatabaseUrl, remote: Remote, rows: Rows) -> Iterator[Fleet]:
    """Processes to be started on this test's database and an empty broker; OWNER may use repositories of acme."""
    rows.user(OWNER)
    redis.Redis.from_url(stack.redis_url).flushall()
    allowed = tmp_path / "credentials.toml"
    allowed.touch(mode=0o600)
    allowed.write_text(f'[[allow]]\nuser = "{OWNER}"\nrepository = "{remote.address}/acme/*"\ntoken = "{TOKEN}"\n')
    env = {
        "DATABASE_URL": worker_url.libpq,
        "REDIS_URL": stack.redis_url,
        "CODINGIT_ALLOWED_HOSTS": urlsplit(remote.address).netloc,
        "CODINGIT_CREDENTIALS_FILE": str(allowed),
    }
    started = Fleet(tmp_path, env)
    try:
        yield started
    finally:
        started.stop()


@pytest.fixture
def add(rows: Rows) -> Callable[..., int]:
    """Add a task of OWNER's."""

    def add(prompt: str = "Say hello", **columns: Any) -> int:
        return rows.task(user=OWNER, prompt=prompt, **columns)

    return add


@pytest.fixture
def started(fleet: Fleet) -> Iterator[Started]:
    """A fleet whose agents ask a model that makes these moves; other words are settings of its workers."""
    with ExitStack() as stack:

        def start(*moves: Move, agent: str = "claude", **settings: str) -> ModelApi:
            require(agent)
            if settings.get("CODINGIT_SANDBOX") != "process":
                isolating(())
            api = ModelApi(*moves)
            url = stack.enter_context(serving(api))
            for provider in ("ANTHROPIC", "OPENAI", "GOOGLE"):
                fleet.env |= {f"CODINGIT_{provider}_API_KEY": KEY, f"CODINGIT_{provider}_BASE_URL": url}
            fleet.env |= {"CODINGIT_SANDBOX": "bubblewrap", **settings}
            fleet.dispatcher()
            fleet.worker()
            return api

        yield start


@pytest.fixture
def task(add: Adding, remote: Remote) -> Adding:
    """Add a task for an agent on a repository."""
    url = remote.repository()

    def added(agent: str = "claude", **columns: Any) -> int:
        return add("Write a greeting.", agent=agent, repo_url=url, **columns)

    return added
