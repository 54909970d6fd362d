"""`codingit-worker agents …` on a host that has some agents, and not others."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.sandboxes import isolating
from worker.sandbox import choice

KEY = "sk-ant-the-key-of-this-test"
TRUSTED = "sandbox: none, for CODINGIT_SANDBOX=process says that all prompts and repositories are trusted."

Typed = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def typed(tmp_path: Path) -> Typed:
    """Types a command where PATH is the system's and `tmp_path`, all is trusted, and one key is set."""

    def run(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
        given = {
            "PATH": f"{tmp_path}:/usr/bin:/bin",
            "HOME": os.environ["HOME"],
            "CODINGIT_SANDBOX": "process",
            "CODINGIT_ANTHROPIC_API_KEY": KEY,
            "COLUMNS": "200",
        }
        argv = (sys.executable, "-m", "worker", "agents", *words)
        return subprocess.run(argv, env=given | env, capture_output=True, text=True, check=False)

    return run


def install(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def test_every_agent_is_listed_with_what_there_is_of_it(typed: Typed, tmp_path: Path) -> None:
    install(tmp_path, "claude", "echo '2.1.330 (Claude Code)'")
    install(tmp_path, "codex", "echo codex-cli 0.169.0-alpha.1")
    listed = json.loads(typed("list", "--json").stdout)
    found = {each["name"]: (each["version"], each["key_is_set"], not each["lacks"]) for each in listed}
    assert found == {
        "claude": ("2.1.330", True, True),
        "codex": ("0.169.0-alpha.1", False, False),
        "copilot": (None, True, False),
        "cursor": (None, False, False),
        "gemini": (None, False, False),
        "opencode": (None, True, False),
        "rehearsal": (None, False, True),
    }
    shown = typed("list").stdout
    assert [line.split()[0] for line in shown.splitlines()[1:8]] == sorted(found)
    assert "agents check" in shown


def test_an_agent_that_is_ready_is_said_to_be(typed: Typed, tmp_path: Path) -> None:
    install(tmp_path, "claude", "echo '2.1.330 (Claude Code)'")
    done = typed("check", "claude")
    assert done.returncode == 0
    assert done.stdout.splitlines() == [f"claude 2.1.330 ({tmp_path}/claude): ready.", TRUSTED]


def test_what_is_missing_is_told_with_the_command_that_gets_it(typed: Typed) -> None:
    done = typed("check", "codex")
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "codex: cannot work here yet.",
        "  - It is not installed: npm install -g @openai/codex",
        "  - The key for its model is not set: CODINGIT_OPENAI_API_KEY",
        TRUSTED,
    ]


def test_what_is_to_be_known_of_the_sandbox_is_told(typed: Typed) -> None:
    isolating(())
    last = typed("check", "rehearsal", CODINGIT_SANDBOX="").stdout.splitlines()[-1]
    assert last == f"sandbox: {' '.join(choice.told())}"
    assert "works." in last


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("echo loading; echo 'GLIBC_X not found' >&2; exit 1", "It does not start: GLIBC_X not found"),
        ("exit 1", "It does not start: it says nothing"),
    ],
)
def test_a_program_that_does_not_start_says_why(typed: Typed, tmp_path: Path, script: str, told: str) -> None:
    install(tmp_path, "opencode", script)
    assert f"  - {told}" in typed("check", "opencode").stdout.splitlines()


def test_a_program_of_node_without_node_asks_for_it(typed: Typed, tmp_path: Path) -> None:
    (tmp_path / "gemini").write_text("#!/usr/bin/env node\n")
    (tmp_path / "gemini").chmod(0o755)
    (tmp_path / "python3").symlink_to(sys.executable)
    done = typed("check", "gemini", PATH=str(tmp_path))
    assert "It needs node 20 or newer on PATH" in done.stdout


def test_without_a_sandbox_that_isolates_it_says_what_would_let_it_work(typed: Typed, tmp_path: Path) -> None:
    install(tmp_path, "claude", "echo 2.1.330")
    done = typed("check", "claude", CODINGIT_SANDBOX="", PATH=str(tmp_path))
    assert done.returncode == 1
    assert "The sandbox needs bubblewrap: apt-get install bubblewrap" in done.stdout
    assert "CODINGIT_SANDBOX=process" in done.stdout


def test_a_hook_answers_for_keys(typed: Typed, tmp_path: Path) -> None:
    install(tmp_path, "codex", "echo codex-cli 0.169.0")
    assert typed("check", "codex", CODINGIT_PROVIDER_KEYS_HOOK="keys:of").returncode == 0


def test_an_agent_that_there_is_not_is_wrong_use_and_no_key_is_ever_shown(typed: Typed) -> None:
    done = typed("check", "clod")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no agent “clod”" in done.stderr
    for words in (("list",), ("list", "--json"), ("check",), ("check", "--json")):
        assert KEY not in str(typed(*words))
