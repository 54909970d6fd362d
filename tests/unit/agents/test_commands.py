"""What each agent is started with: the prompt on stdin, the token in the environment, nothing of ours besides."""

import json
import stat
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from worker.agents import Job, find, installed, place, table
from worker.agents.cli import Cli
from worker.errors import TaskFailed

TOKEN, ADDRESS = "run-token-of-this-run", "http://127.0.0.1:4321"
CLIS = [agent for agent in table.BUILT_IN if isinstance(agent, Cli)]
named = pytest.mark.parametrize("agent", CLIS, ids=lambda agent: agent.name)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    place_ = {"workspace": tmp_path / "work" / "repo", "home": tmp_path / "home"}
    return Job(task_id=7, prompt="Mend it", model=None, base_url=ADDRESS, token=TOKEN, **place_)


@pytest.fixture(autouse=True)
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Programs of the agents' names, as they are installed: of node, by npm, and by themselves."""
    bin_, modules = tmp_path / "npm" / "bin", tmp_path / "npm" / "lib" / "node_modules" / "some" / "package"
    modules.mkdir(parents=True)
    bin_.mkdir()
    (tmp_path / "node").mkdir()
    program(tmp_path / "node" / "node", "#!/bin/sh\n")
    for agent in CLIS:
        file = program(modules / f"{agent.executable}.js", "#!/usr/bin/env node\n")
        (bin_ / agent.executable).symlink_to(file)
    monkeypatch.setenv("PATH", f"{bin_}:{tmp_path / 'node'}")
    return tmp_path


def program(file: Path, text: str) -> Path:
    file.write_text(text)
    file.chmod(0o755)
    return file


@named
def test_the_prompt_goes_in_by_stdin_and_the_token_by_the_environment(agent: Cli, job: Job) -> None:
    made = agent.command(replace(job, prompt="Mend \ud800 it", model="some-model"))
    assert made.stdin == b"Mend ? it"
    assert "Mend" not in " ".join(made.argv)
    assert not any(TOKEN in word for word in made.argv)
    assert any(TOKEN in value for value in made.env.values())
    assert any("some-model" in word for word in made.argv)
    assert (made.cwd, made.env["HOME"], made.tail) == (job.workspace, str(job.home), True)


@named
def test_nothing_of_the_workers_environment_goes_in(agent: Cli, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "the-owners-key")
    monkeypatch.setenv("DATABASE_URL", "postgresql://secret")
    made = agent.command(job)
    assert not {"DATABASE_URL"} & set(made.env)
    assert "the-owners-key" not in str(dict(made.env))


@named
def test_the_address_is_the_runs_gateway_and_without_one_the_providers(agent: Cli, job: Job) -> None:
    said = str((*agent.command(job).argv, *agent.command(job).env.values()))
    assert (ADDRESS in said) == (agent.provider is not None)
    alone = replace(job, base_url=None, token=None)
    if agent.provider is None:
        with pytest.raises(TaskFailed, match="its key cannot be kept out of its sandbox"):
            agent.command(alone)
    else:
        assert "None" not in str((*agent.command(alone).argv, *agent.command(alone).env.values()))


@named
def test_a_prompt_is_never_taken_for_a_command(agent: Cli, job: Job) -> None:
    for prompt in ("/quit", "  \n/help me"):
        assert agent.command(replace(job, prompt=prompt)).stdin == f"The task:\n{prompt}".encode()
    assert agent.command(replace(job, prompt="a/b is wrong")).stdin == b"a/b is wrong"


@named
def test_it_runs_by_node_and_may_read_what_it_is_made_of(agent: Cli, job: Job, programs: Path) -> None:
    made = agent.command(job)
    node, modules = programs / "node" / "node", programs / "npm" / "lib" / "node_modules"
    assert made.argv[:2] == (str(node), str(modules / "some" / "package" / f"{agent.executable}.js"))
    assert made.reads == (modules, node)
    assert made.env["PATH"].startswith(f"{node.parent}:")


@named
def test_one_that_is_not_installed_says_what_can_be_done(agent: Cli, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(type(agent), "wheel", None)
    with pytest.raises(
        TaskFailed, match=f"Agent {agent.name} is not installed .*codingit-worker agents check {agent.name}"
    ):
        agent.command(job)


def test_a_script_of_node_without_node_is_not_installed(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(programs / "npm" / "bin"))
    file = installed.find("codex")
    assert file is not None
    assert installed.program(file) is None


def test_a_binary_is_started_itself_and_seen_with_its_folder_unless_that_is_everybodys(tmp_path: Path) -> None:
    (tmp_path / "versions").mkdir()
    (tmp_path / "bin").mkdir()
    own = program(tmp_path / "versions" / "2.1.3", "\x7fELF")
    shared = program(tmp_path / "bin" / "agent", "\x7fELF")
    found = [installed.program(file) for file in (own, shared)]
    assert [each and (each.argv, each.reads) for each in found] == [
        ((str(own),), (own.parent,)),
        ((str(shared),), (shared,)),
    ]


def test_claude_is_found_in_an_installed_wheel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bundled = tmp_path / "site" / "claude_agent_sdk" / "_bundled"
    bundled.mkdir(parents=True)
    (bundled.parent / "__init__.py").touch()
    program(bundled / "claude", "\x7fELF")
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.delitem(__import__("sys").modules, "claude_agent_sdk", raising=False)
    assert find_cli("claude").located() == bundled / "claude"


def find_cli(name: str) -> Cli:
    agent = find(name)
    assert isinstance(agent, Cli)
    return agent


def options(argv: tuple[str, ...], name: str) -> list[str]:
    return [value for option, value in pairwise(argv) if option == name]


def test_claude_takes_neither_the_address_nor_the_hooks_nor_the_servers_of_a_repository(job: Job) -> None:
    argv = find("claude").command(job).argv
    assert "--strict-mcp-config" in argv
    (settings,) = options(argv, "--settings")
    assert json.loads(settings) == {"env": {"ANTHROPIC_BASE_URL": ADDRESS}, "disableAllHooks": True}


def test_codex_has_its_provider_from_arguments_of_toml(job: Job) -> None:
    import tomllib

    told = tomllib.loads("\n".join(options(find("codex").command(job).argv, "-c")))
    assert told["model_provider"] == "run"
    run = told["model_providers"]["run"]
    assert (run["base_url"], run["wire_api"]) == (f"{ADDRESS}/v1", "responses")
    assert find("codex").command(job).env[run["env_key"]] == TOKEN


def test_opencode_has_the_one_provider_whose_key_there_is(job: Job) -> None:
    def configured(model: str | None) -> Mapping[str, object]:
        made = find("opencode").command(replace(job, model=model))
        found: Mapping[str, object] = json.loads(made.env["OPENCODE_CONFIG_CONTENT"])
        return found

    assert configured(None)["model"] == "anthropic/claude-sonnet-5-5"
    assert configured("anthropic/some-model")["model"] == configured("some-model")["model"] == "anthropic/some-model"
    with pytest.raises(TaskFailed, match="works with models of anthropic here, and openai/gpt-5 is none of them"):
        configured("openai/gpt-5")


def test_files_are_placed_in_its_home_for_it_alone(job: Job) -> None:
    job.home.mkdir()
    place(find("gemini").files(job), home=job.home)
    settings = job.home / ".gemini" / "settings.json"
    assert json.loads(settings.read_text())["security"]["auth"]["selectedType"] == "gemini-api-key"
    assert [stat.S_IMODE(path.stat().st_mode) for path in (settings, settings.parent)] == [0o600, 0o700]


def test_what_it_took_is_told_in_words() -> None:
    from worker.agents import Verdict

    usage = {"input_tokens": 12_345, "cached_tokens": 12_000, "output_tokens": 678}
    verdict = Verdict(ok=True, answer="", usage=usage, turns=3, cost=1.5)
    assert verdict.spent() == "3 turns, 12,345 tokens read, 678 tokens written, $1.50"
    assert verdict.measured() == {**usage, "turns": 3, "cost": 1.5}
    assert Verdict(ok=True, answer="", turns=1, cost=0.00123).spent() == "1 turn, $0.0012"
    assert Verdict(ok=True, answer="", usage={"steps": 5}).spent() == ""
