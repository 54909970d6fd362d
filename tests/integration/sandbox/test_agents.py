"""Real agents in a sandbox that isolates: they find there what they need, and their model by way of a socket."""

import socket
import subprocess
import threading
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.integration.agents.conftest import TOKEN, require
from tests.integration.sandbox.test_relay import PORT, answering
from tests.support.model_api import ModelApi, Say, Use, serving
from tests.support.processes import Marked
from tests.support.sandboxes import isolating
from worker.agents import Job, place
from worker.run.pump import Deadline, Limits, Pump

WRITE = Use("Write", {"file_path": "greeting.txt", "content": "Hello\n"}, "I will write the greeting.")
LOOK = Use("Bash", {"command": "cat greeting.txt && git status --short && ls -A ~/..", "description": "Look"})


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """The repository, and the agent's home beside it."""
    repository, home = tmp_path / "run/work/repo", tmp_path / "run/home"
    repository.mkdir(parents=True)
    home.mkdir()
    subprocess.run(("git", "init", "--quiet", repository), check=True)
    return repository, home


def test_claude_works_in_it(marked: Marked, folders: tuple[Path, Path]) -> None:
    agent, api, raw = require("claude"), ModelApi(WRITE, LOOK, Say("It is there.")), bytearray()
    repository, home = folders
    with serving(api) as url, answering(lambda near: pass_on(near, url)) as path:
        job = Job(task_id=1, prompt="Write a greeting.", model=None, workspace=repository, home=home, token=TOKEN,
                  base_url=f"http://127.0.0.1:{PORT}")  # fmt: skip
        place(agent.files(job), home=home)
        command, parser = agent.command(job), agent.parser(job)  # type: ignore[attr-defined]  # each subclass has one

        def on_line(line: bytes) -> None:
            raw.extend(line)
            parser.feed(line)

        done = Pump(watch=lambda: None).run(
            replace(command, sockets={PORT: path}, env={**command.env, "MARK": marked.mark}),
            sandbox=isolating([repository.parent, home]),
            limits=Limits(wall=Deadline.after(timedelta(seconds=60)), disk=10**9),
            on_line=on_line,
        )
    assert (done.returncode, parser.verdict and parser.verdict.turns) == (0, 3), (done.stderr, bytes(raw[-2000:]))
    assert (repository / "greeting.txt").read_text() == "Hello\n"
    assert b"Hello\\n?? greeting.txt\\nhome\\nwork" in raw
    assert {asked.key for asked in api.asked} == {TOKEN}
    assert not marked.alive()


def pass_on(near: socket.socket, url: str) -> None:
    """What a gateway would do, but for the key: both ways, to the model."""
    address = urlsplit(url)
    with socket.create_connection((str(address.hostname), int(address.port or 80))) as far:
        back = threading.Thread(target=pour, args=(far, near))
        back.start()
        pour(near, far)
        back.join()


def pour(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while chunk := source.recv(65536):
            sink.sendall(chunk)
        sink.shutdown(socket.SHUT_WR)
