"""Flower: an operator finds a task by its id, sees who runs it, how long it took and how it ended; nobody else does."""

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.fleet import Fleet, until
from tests.support.rows import Rows

Adding = Callable[..., int]
AUTH = "operator:a-long-password"


@pytest.fixture
def flower(fleet: Fleet) -> Callable[..., tuple[int, Any]]:
    """Flower beside a worker and a dispatcher; answers what it answers."""
    port = free_port()
    fleet.start(
        *("celery", "-A", "worker.app", "flower", "--conf=worker/monitoring/flowerconfig.py"),
        CODINGIT_FLOWER_AUTH=AUTH,
        CODINGIT_FLOWER_ADDRESS=f"127.0.0.1:{port}",
    )

    def ask(path: str, *, auth: str | None = AUTH, method: str = "GET") -> tuple[int, Any]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}{path}", method=method, data=b"" if method == "POST" else None
        )
        if auth:
            request.add_header("Authorization", "Basic " + base64.b64encode(auth.encode()).decode())
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                body = answer.read()
                return answer.status, json.loads(body) if body[:1] in b"{[" else body.decode()
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, refused.read().decode()

    def answers() -> bool:
        try:
            return ask("/healthcheck")[0] == 200
        except OSError:
            return False

    until(answers, within=30, what=fleet.text)
    return ask


def free_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_an_operator_finds_a_task_by_its_id(fleet: Fleet, rows: Rows, add: Adding, flower: Callable[..., Any]) -> None:
    fleet.dispatcher()
    fleet.worker()
    task = add("rehearse: pause 0\nrehearse: steps 1")
    until(lambda: rows.status(task) == "completed", what=fleet.text)

    def found() -> list[dict[str, Any]]:
        _, tasks = flower("/api/tasks")
        return [each for each in tasks.values() if each["args"] == f"({task},)" and each["state"] == "SUCCESS"]

    until(found, what="Flower knows")
    seen = found()[0]
    assert seen["uuid"].startswith(f"task-{task}-")
    assert (seen["name"], seen["worker"]) == ("runs.execute", "runs@test")
    assert seen["runtime"] > 0
    assert "Completed after" in seen["result"]
    assert "rehearse" not in json.dumps(seen), "no prompt in a message"
    status, page = flower(f"/task/{seen['uuid']}")
    assert status == 200
    assert "Completed after" in page


def test_flower_shows_nothing_without_the_password_and_changes_nothing_with_it(
    fleet: Fleet, flower: Callable[..., Any]
) -> None:
    fleet.worker()

    for path in ("/", "/api/tasks", "/api/workers", "/tasks"):
        assert flower(path, auth=None)[0] == 401
        assert flower(path, auth="operator:wrong")[0] == 401
    status, _ = flower("/api/worker/shutdown/runs@test", method="POST")
    assert status in {403, 404, 405}
    assert fleet.processes[-1].poll() is None


def test_flower_does_not_start_without_a_password(fleet: Fleet) -> None:
    process = fleet.start("celery", "-A", "worker.app", "flower", "--conf=worker/monitoring/flowerconfig.py")

    assert process.wait(timeout=30) != 0
    assert b"CODINGIT_FLOWER_AUTH is not set" in fleet.log_of(process)
