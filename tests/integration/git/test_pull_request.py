"""Pull requests over the API of the repository's host: the real client against a stand-in of GitHub's."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.integration.git.conftest import TOKEN, Recorder
from worker import git
from worker.repository import Credential, Repository

TASK = git.Task(id=7, prompt="\n  Add a greeting \n\nand more, said @somebody")
PULLS = "/api/v3/repos/acme/site/pulls"


@dataclass
class GitHub:
    """The API of a host, with the pull requests of one repository."""

    port: int = 0
    pulls: list[dict[str, Any]] = field(default_factory=list)
    asked: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    admitted: list[str] = field(default_factory=list)
    answers: list[tuple[int, Any]] = field(default_factory=list)
    """What is answered to the next requests to open one, in place of opening it."""

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        parts = urlsplit(path)
        self.asked.append((method, parts.path, json.loads(body) if body else parse_qs(parts.query)))
        if parts.path != PULLS:
            return 404, {"message": "Not Found"}
        if method == "GET":
            return 200, [pull for pull in self.pulls if pull["state"] == "open"]
        if self.answers:
            return self.answers.pop(0)
        return 201, self.open(json.loads(body)["head"])

    def open(self, head: str) -> dict[str, Any]:
        number = len(self.pulls) + 1
        url = f"http://127.0.0.1:{self.port}/acme/site/pull/{number}"
        self.pulls.append({"html_url": url, "state": "open", "head": {"ref": head}})
        return self.pulls[-1]


@contextmanager
def serving(github: GitHub) -> Iterator[GitHub]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            github.admitted.append(self.headers["Authorization"])
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            status, said = github.answer(self.command, self.path, body)
            content = said if isinstance(said, bytes) else json.dumps(said).encode()
            self.send_response(status)
            if status == 307:
                self.send_header("Location", f"http://127.0.0.1:{github.port}/elsewhere")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET  # noqa: N815 - as the library asks for it

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    github.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield github
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def github() -> Iterator[GitHub]:
    with serving(GitHub()) as served:
        yield served


@dataclass
class Asking:
    """A run that has pushed its branch."""

    github: GitHub
    folder: Path
    run: Recorder = field(default_factory=Recorder)

    def __call__(self, *, draft: bool = False, token: str | None = TOKEN, **place: Any) -> git.PullRequest:
        about: dict[str, Any] = {
            "scheme": "http",
            "host": "127.0.0.1",
            "port": self.github.port,
            "path": "/acme/site.git",
        } | place
        repository = Repository(**about, addresses=("127.0.0.1",))
        credential = Credential(token=token) if token else None
        host = git.Host(run=self.run, folder=self.folder, repository=repository, credential=credential)
        mirrored = git.Mirror(folder=self.folder, url=repository.url, default_branch="main", default_head="0" * 40,
                              branch="codingit/7-add", branch_head=None)  # fmt: skip
        return git.open_pull_request(host, mirrored, task=TASK, draft=draft)


@pytest.fixture
def ask(github: GitHub, tmp_path: Path) -> Asking:
    return Asking(github, tmp_path)


@pytest.mark.parametrize("draft", [True, False])
def test_a_branch_gets_a_pull_request_to_the_default_branch(ask: Asking, github: GitHub, *, draft: bool) -> None:
    opened = ask(draft=draft)

    assert opened.url == f"http://127.0.0.1:{github.port}/acme/site/pull/1"
    assert opened.sentence == f"Opened a pull request: {opened.url}"
    (_, _, listed), (method, path, wanted) = github.asked
    assert listed == {"head": ["acme:codingit/7-add"], "base": ["main"], "state": ["open"]}
    assert (method, path) == ("POST", PULLS)
    assert wanted == {
        "title": "Add a greeting",
        "body": f"{TASK.prompt}\n\nTask: 7",
        "head": "codingit/7-add",
        "base": "main",
        "draft": draft,
    }
    assert set(github.admitted) == {f"Bearer {TOKEN}"}


def test_the_open_one_is_found_and_used_again(ask: Asking, github: GitHub) -> None:
    github.open("another-branch")
    first = ask()
    again = ask()

    assert again.url == first.url
    assert again.sentence.startswith("Found the open pull request: ")
    assert len(github.pulls) == 2


def test_one_that_somebody_opens_in_the_same_moment_is_found(ask: Asking, github: GitHub) -> None:
    def others_were_faster() -> tuple[int, Any]:
        github.open("codingit/7-add")
        return 422, {"message": "Validation Failed", "errors": [{"message": "A pull request already exists"}]}

    class Meanwhile(list[tuple[int, Any]]):
        def pop(self, _: Any = 0) -> tuple[int, Any]:
            super().pop(0)
            return others_were_faster()

    github.answers = Meanwhile([(0, None)])

    assert ask().url == f"http://127.0.0.1:{github.port}/acme/site/pull/1"


def test_where_there_are_no_drafts_it_is_a_plain_one(ask: Asking, github: GitHub) -> None:
    github.answers = [(422, {"message": "Draft pull requests are not supported in this repository."})]

    assert ask(draft=True).url
    assert [wanted.get("draft") for _, _, wanted in github.asked] == [None, True, False]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ((401, {"message": f"Bad credentials {TOKEN}"}), "this worker's token has no right to open one"),
        ((403, {}), "this worker's token has no right to open one"),
        ((404, {}), "this worker's token has no right to open one"),
        ((500, b"<html>"), "the repository's host answered with status 500"),
        ((307, {}), "the repository's host answered with status 307"),
        ((200, b"no JSON"), "the repository's host does not speak GitHub's API"),
        ((201, []), "the repository's host does not speak GitHub's API"),
        ((201, {"html_url": "https://evil.example/x"}), "the repository's host does not speak GitHub's API"),
        (
            (422, {"message": f"No commits\nbetween \x1b[31m{TOKEN}", "errors": [{"message": "a and b."}]}),
            "the repository's host answered with status 422: No commits between [31m[hidden] a and b",
        ),
    ],
)
def test_whatever_the_host_answers_it_is_a_sentence(
    ask: Asking, github: GitHub, answer: tuple[int, Any], why: str
) -> None:
    github.answers = [answer]

    opened = ask()

    assert (opened.url, opened.sentence) == (None, f"No pull request was opened: {why}.")


def test_a_host_that_is_away_is_a_sentence_too(ask: Asking, tmp_path: Path) -> None:
    with serving(GitHub()) as gone:
        port = gone.port

    assert ask(port=port).sentence.endswith("the repository's host does not answer now.")


@pytest.mark.parametrize("place", [{"token": None}, {"host": "gitlab.com"}, {"path": "/group/team/site"}])
def test_where_there_is_no_such_api_nobody_is_asked(ask: Asking, github: GitHub, place: dict[str, Any]) -> None:
    assert ask(**place).url is None
    assert (github.asked, ask.run.commands) == ([], [])


def test_the_token_goes_by_stdin_and_github_s_own_api_has_a_host_of_its_own(ask: Asking) -> None:
    ask.run = Unsent()
    ask(scheme="https", host="github.com", port=443)

    (command,) = ask.run.commands
    assert json.loads(command.stdin)["api"] == "https://api.github.com"
    assert TOKEN not in str((command.argv, dict(command.env)))


class Unsent(Recorder):
    """Remembers the command and runs another: the real one would leave this machine."""

    def __call__(self, command: Any) -> Any:
        done = super().__call__(type(command)(argv=("true",), cwd=command.cwd))
        self.commands[:] = [command]
        return done
