"""A row becomes a branch with a pull request, on a host that speaks git and GitHub's API at one address."""

import json
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.acceptance.conftest import TOKEN, Adding, Remote
from tests.acceptance.traces import ended
from tests.support.fleet import Fleet, until
from tests.support.rows import Rows
from worker.local import git_server

PULLS = "/api/v3/repos/acme/site/pulls"


class GitHub(git_server.Server):
    """Opens every pull request that it is asked for with the token, and serves git besides."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, token=TOKEN, public=(), port=0)
        self.RequestHandlerClass = Request
        self.asked: list[dict[str, Any]] = []
        self.admits = True


class Request(git_server.Request):
    """A request of git's, or of the API's."""

    server: GitHub

    def respond(self) -> None:
        if self.path.startswith("/api/"):
            self.answer(*self.opened(self.rfile.read(int(self.headers.get("Content-Length") or 0))))
        else:
            super().respond()

    def opened(self, body: bytes) -> tuple[int, object]:
        """Status and answer."""
        if self.path.partition("?")[0] != PULLS or self.headers["Authorization"] != f"Bearer {TOKEN}":
            return 404, {}
        if self.command == "GET":
            return 200, []
        if not self.server.admits:
            return 403, {"message": "Resource not accessible by personal access token"}
        self.server.asked.append(json.loads(body))
        return 201, {"html_url": f"http://127.0.0.1:{self.server.server_address[1]}/acme/site/pull/1"}

    def answer(self, status: int, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def github(tmp_path: Path) -> Iterator[GitHub]:
    folder = tmp_path / "remote"
    folder.mkdir()
    with GitHub(folder) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def remote(github: GitHub) -> Remote:
    """In place of the host that all others use."""
    return Remote(github.root, f"http://127.0.0.1:{github.server_address[1]}")


@pytest.fixture
def running(fleet: Fleet) -> Fleet:
    fleet.env["CODINGIT_PULL_REQUESTS"] = "draft"
    fleet.dispatcher()
    fleet.worker()
    return fleet


def test_the_closing_entry_names_the_pull_request(
    running: Fleet, github: GitHub, rows: Rows, add: Adding, remote: Remote
) -> None:
    mine = add("Add a greeting\nrehearse: pause 0", repo_url=remote.repository())
    until(ended(rows, mine), within=40, what=running.text)

    url = f"{remote.address}/acme/site/pull/1"
    assert rows.status(mine) == "completed", rows.messages(mine)
    assert f"Pull request: {url}" in rows.messages(mine)[-1]
    (wanted,) = github.asked
    assert wanted["head"] == rows.see(mine)["branch_name"]
    assert (wanted["base"], wanted["title"], wanted["draft"]) == ("main", "Add a greeting", True)


def test_one_that_the_host_refuses_is_told_and_the_task_is_done_all_the_same(
    running: Fleet, github: GitHub, rows: Rows, add: Adding, remote: Remote
) -> None:
    github.admits = False
    mine = add("Add a greeting\nrehearse: pause 0", repo_url=remote.repository())
    until(ended(rows, mine), within=40, what=running.text)

    assert rows.status(mine) == "completed", rows.messages(mine)
    assert "No pull request was opened: this worker's token has no right to open one." in rows.messages(mine)
    assert "Pull request" not in rows.messages(mine)[-1]
    assert rows.see(mine)["branch_name"] in remote.heads()


def test_nothing_pushed_is_nothing_to_ask_for(
    running: Fleet, github: GitHub, rows: Rows, add: Adding, remote: Remote
) -> None:
    nothing = add("rehearse: change nothing", repo_url=remote.repository())
    until(ended(rows, nothing), within=40, what=running.text)

    assert rows.status(nothing) == "completed", rows.messages(nothing)
    assert github.asked == []
