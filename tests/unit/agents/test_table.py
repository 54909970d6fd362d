"""Which agents are found, and which of them may run."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata

import pytest

from worker.agents import admit, allowed, find, known, table
from worker.agents.base import Job, Parser
from worker.errors import TaskFailed
from worker.sandbox.base import Child
from worker.sandbox.command import Command


class Model:
    """An agent with a model behind it, as another package would bring it."""

    name = "model"
    needs_isolation = True
    provider = None

    def files(self, job: Job) -> Mapping[str, str]:
        raise NotImplementedError

    def command(self, job: Job) -> Command:
        raise NotImplementedError

    def parser(self, job: Job) -> Parser:
        raise NotImplementedError


@dataclass
class Place:
    isolates: bool

    def start(self, command: Command) -> Child:
        raise NotImplementedError


def test_rehearsal_is_always_there() -> None:
    agent = find("rehearsal")
    assert (agent.name, agent.needs_isolation) == ("rehearsal", False)


@pytest.mark.parametrize("name", ["claude", "codex", "gemini", "opencode", "copilot", "cursor"])
def test_every_agent_of_the_web_app_is_there_and_needs_isolation(name: str) -> None:
    agent = find(name)
    assert (agent.name, agent.needs_isolation) == (name, True)


def test_an_unknown_agent_is_told_with_those_that_are_known() -> None:
    with pytest.raises(TaskFailed, match=r"There is no agent “gpt-9”. Choose another one. Known here: .*rehearsal"):
        find("gpt-9")


@pytest.mark.parametrize("name", ["", "x" * 10_000, "\x1b[31mred\n\u202e\ud800\0", "REHEARSAL", "../rehearsal"])
def test_a_hostile_name_is_shown_short_and_printable(name: str) -> None:
    with pytest.raises(TaskFailed) as failed:
        find(name)
    assert len(str(failed.value)) < 200
    assert str(failed.value).isprintable()


def plug_in(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    entry = metadata.EntryPoint(name="model", value=value, group=table.GROUP)
    monkeypatch.setattr(table, "entry_points", lambda *, group: metadata.EntryPoints([entry] if group else []))


@pytest.mark.parametrize("value", ["Model", "INSTANCE"])
def test_other_packages_plug_in_an_agent_or_its_class(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    plug_in(monkeypatch, f"{__name__}:{value}")
    assert find("model").name == "model"
    assert {"model", "rehearsal"} <= set(known())


def test_a_plug_in_that_cannot_be_loaded_fails_the_task_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    plug_in(monkeypatch, "no_such_module:Agent")
    with pytest.raises(TaskFailed, match=r"“model” is installed but could not be loaded .ModuleNotFoundError"):
        find("model")


@pytest.mark.parametrize(
    ("isolates", "trusted", "answer"), [(False, False, False), (True, False, True), (False, True, True)]
)
def test_a_model_runs_isolated_or_trusted_only(*, isolates: bool, trusted: bool, answer: bool) -> None:
    assert allowed(Model(), sandbox=Place(isolates), trusted=trusted) is answer


def test_rehearsal_runs_anywhere_and_who_may_not_is_told_why() -> None:
    admit(find("rehearsal"), sandbox=Place(isolates=False), trusted=False)
    with pytest.raises(TaskFailed, match="Agent “model” needs a sandbox that isolates it, and this worker has none"):
        admit(Model(), sandbox=Place(isolates=False), trusted=False)


INSTANCE = Model()
