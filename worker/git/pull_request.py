"""A pull request for what was pushed, over GitHub's API; that there is none never undoes the push."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from worker.git.failure import scrub
from worker.git.host import ENVIRONMENT, Host, path
from worker.git.remote import Mirror
from worker.git.workspace import Task, subject
from worker.sandbox.command import Command, Completed

LONGEST_BODY = 10_000
OTHERS = frozenset({"gitlab.com", "bitbucket.org", "codeberg.org"})
"""Hosts whose API is another one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PullRequest:
    """What became of it."""

    url: str | None
    sentence: str
    """For the task's log."""


def open_pull_request(host: Host, mirrored: Mirror, *, task: Task, draft: bool) -> PullRequest:
    """Ask the repository's host for a pull request of the task's branch to the default branch, or find the open one."""
    repository = host.repository
    if host.credential is None:
        return none("this worker has no token for the repository")
    if repository.host in OTHERS or repository.path.count("/") != 2:
        return none("that is only known how to do on GitHub")
    asked = {
        "api": api(host),
        "repository": repository.path.removesuffix(".git").strip("/"),
        "token": host.credential.token,
        "head": mirrored.branch,
        "base": mirrored.default_branch,
        "title": subject(task),
        "body": f"{task.prompt[:LONGEST_BODY]}\n\nTask: {task.id}",
        "draft": draft,
    }
    return understood(host, host.run(command(host, asked)))


def api(host: Host) -> str:
    """Where the API of the repository's host answers."""
    repository = host.repository
    if repository.host == "github.com":
        return "https://api.github.com"
    return f"{repository.scheme}://{repository.netloc}/api/v3"


def command(host: Host, asked: Mapping[str, object]) -> Command:
    """The program that asks; the token goes in by stdin."""
    env = {**host.env, "PATH": path(), "HOME": str(host.folder), "LC_ALL": ENVIRONMENT["LC_ALL"]}
    argv = (sys.executable, "-I", "-m", "worker.git.pull_request_program")
    return Command(argv=argv, cwd=host.folder, env=env, stdin=json.dumps(asked).encode())


def understood(host: Host, completed: Completed) -> PullRequest:
    """What the program answered; the host's words in it are a stranger's."""
    try:
        answer = json.loads(completed.stdout)
    except ValueError:
        return none("the repository's host did not answer in time")
    if "url" not in answer:
        return none(" ".join(scrub(host, str(answer["why"])).split()).rstrip("."))
    url = str(answer["url"])
    if urlsplit(url).hostname != host.repository.host or not url.isprintable() or " " in url:
        return none("the repository's host does not speak GitHub's API")
    what = "Found the open" if answer["found"] else "Opened a"
    return PullRequest(url=url, sentence=f"{what} pull request: {url}")


def none(why: str) -> PullRequest:
    """There is none, and why."""
    return PullRequest(url=None, sentence=f"No pull request was opened: {why}.")
