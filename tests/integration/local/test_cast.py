"""The demo with an agent that has a model behind it: what it needs is asked for before anything is started."""

from pathlib import Path
from typing import Any

import pytest

from worker.errors import WrongUse
from worker.local import cast
from worker.settings import Settings

KEY = "sk-ant-the-key-of-this-test"


@pytest.fixture
def claude(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program of that name, and no key."""
    program = tmp_path / "claude"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/local/bin:/usr/bin:/bin")
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)


def settings(**values: Any) -> Settings:
    return Settings(_env_file=None, **values)


TRUSTED = settings(sandbox="process")


def test_rehearsal_needs_nothing() -> None:
    assert cast.environment("rehearsal", settings()) == {}


def test_an_agent_that_there_is_not_is_named_with_those_that_there_are() -> None:
    with pytest.raises(WrongUse, match=r"no agent “clod”.*claude"):
        cast.environment("clod", TRUSTED)


@pytest.mark.usefixtures("claude")
def test_a_missing_key_is_asked_for_by_the_name_that_people_know() -> None:
    with pytest.raises(WrongUse, match=r"ANTHROPIC_API_KEY \(or CODINGIT_ANTHROPIC_API_KEY\)"):
        cast.environment("claude", TRUSTED)


@pytest.mark.usefixtures("claude")
def test_the_key_of_peoples_own_tools_is_given_to_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    assert cast.environment("claude", TRUSTED) == {"CODINGIT_ANTHROPIC_API_KEY": KEY}


@pytest.mark.usefixtures("claude")
def test_a_key_that_is_set_for_the_workers_is_theirs_already() -> None:
    assert cast.environment("claude", settings(sandbox="process", anthropic_api_key=KEY)) == {}


def test_a_missing_program_is_told_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(WrongUse, match="npm install -g @openai/codex"):
        cast.environment("codex", TRUSTED)
