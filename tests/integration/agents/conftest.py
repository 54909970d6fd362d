"""Real agents, run by their adapters' own commands in a repository, against a model of ours on loopback."""

import os
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.model_api import ModelApi, Move, serving
from tests.support.sandboxes import isolating
from worker.agents import Event, Job, Verdict, find, installed, place
from worker.agents.cli import Cli
from worker.run.pump import Deadline, Limits, Pump
from worker.sandbox.process import ProcessSandbox

TOKEN = "token-of-this-run-alone"
PORT = 4321
"""Of the loopback that a sandbox has of its own."""


@dataclass(kw_only=True)
class Seen:
    """What became of one run."""

    repository: Path
    api: ModelApi
    events: list[Event] = field(default_factory=list)
    raw: bytes = b""
    stderr: bytes = b""
    verdict: Verdict | None = None
    code: int | None = None

    def told(self) -> list[tuple[str, str]]:
        """The entries but those about the model and its provider."""
        about = ("Model: ", "The model's provider")
        return [(event.type, event.message) for event in self.events if not event.message.startswith(about)]

    def concluded(self) -> Verdict:
        assert self.verdict is not None, (self.code, self.raw[-2000:], self.stderr[-2000:])
        return self.verdict


Running = Callable[..., Seen]


def require(name: str) -> Cli:
    """The agent, or the end of the test where its program is not installed."""
    agent = find(name)
    assert isinstance(agent, Cli)
    file = agent.located()
    if file is None or installed.program(file) is None:
        why = f"{name} is not installed: {agent.install}"
        if os.environ.get("CI") == "true":
            pytest.fail(why)
        pytest.skip(why)
    return agent


@pytest.fixture
def running(tmp_path: Path) -> Running:
    """Run an agent on a repository while the model makes these moves; the prompt goes in as `prompt`, or as `stdin`."""
    repository, home = tmp_path / "work" / "repo", tmp_path / "home"
    home.mkdir()
    repository.mkdir(parents=True)
    subprocess.run(("git", "init", "-q", repository), check=True)

    def run(
        name: str,
        *moves: Move,
        prompt: str = "Write a greeting.",
        model: str | None = None,
        idle: float | None = None,
        stdin: bytes | None = None,
        isolated: bool = False,
    ) -> Seen:
        agent, seen = require(name), Seen(repository=repository, api=ModelApi(*moves))
        with ExitStack() as stack:
            url = stack.enter_context(serving(seen.api, at=tmp_path / "model.sock" if isolated else None))
            sockets = {PORT: Path(url)} if isolated else {}
            url = f"http://127.0.0.1:{PORT}" if isolated else url
            job = Job(task_id=1, prompt=prompt, model=model, workspace=repository, home=home, base_url=url, token=TOKEN)
            parser = agent.parser(job)  # type: ignore[attr-defined]  # each subclass has one

            def on_line(line: bytes) -> None:
                seen.raw += line + b"\n"
                seen.events += parser.feed(line)

            place(agent.files(job), home=home)
            command = agent.command(job)
            limits = Limits(
                wall=Deadline.after(timedelta(seconds=120)), idle=None if idle is None else timedelta(seconds=idle)
            )
            done = Pump(watch=lambda: None).run(
                replace(command, stdin=command.stdin if stdin is None else stdin, sockets=sockets),
                sandbox=isolating((tmp_path / "work", home)) if isolated else ProcessSandbox(),
                limits=limits,
                on_line=on_line,
            )
        seen.verdict, seen.code, seen.stderr = parser.verdict, done.returncode, done.stderr
        return seen

    return run


@pytest.fixture
def repository(tmp_path: Path, running: Running) -> Path:
    """The repository that `running` works in, for what lies there before."""
    return tmp_path / "work" / "repo"
