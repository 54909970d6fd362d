"""The real claude CLI, from a pending row to a pushed branch: in bubblewrap, its model behind the gateway."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import TOKEN, Remote
from tests.integration.agents.conftest import require
from tests.support.fleet import LEASE_TTL, Fleet, until
from tests.support.model_api import Hang, ModelApi, Move, Refuse, Say, Use, serving
from tests.support.rows import Rows
from tests.support.sandboxes import isolating

KEY = "sk-ant-api03-the-real-key-of-this-test"
WRITE = Use("Write", {"file_path": "greeting.txt", "content": "Hello\n"}, "I will write the greeting.")
DONE = Say("The greeting is there.")

Adding = Callable[..., int]
Started = Callable[..., ModelApi]


@pytest.fixture
def started(fleet: Fleet) -> Iterator[Started]:
    """A fleet whose agents ask a model that makes these moves; other words are settings of its workers."""
    require("claude")
    with ExitStack() as stack:

        def start(*moves: Move, **settings: str) -> ModelApi:
            api = ModelApi(*moves)
            if settings.get("CODINGIT_SANDBOX") != "process":
                isolating(())
            fleet.env |= {
                "CODINGIT_SANDBOX": "bubblewrap",
                "CODINGIT_ANTHROPIC_API_KEY": KEY,
                "CODINGIT_ANTHROPIC_BASE_URL": stack.enter_context(serving(api)),
                **settings,
            }
            fleet.dispatcher()
            fleet.worker()
            return api

        yield start


@pytest.fixture
def task(add: Adding, remote: Remote) -> Adding:
    """Add a task for claude on a repository."""
    url = remote.repository()

    def added() -> int:
        return add("Write a greeting.", agent="claude", repo_url=url)

    return added


def ended(rows: Rows, task: int) -> Callable[[], bool]:
    return lambda: rows.status(task) in {"completed", "error"}


def at_work(fleet: Fleet) -> list[int]:
    """Every process of a run: what has a workspace of this fleet in its command or its environment."""
    mark, found = str(fleet.state / "workspaces").encode(), []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark in (process / "cmdline").read_bytes() + (process / "environ").read_bytes():
                found.append(int(process.name))
    return found


def nothing_is_left(fleet: Fleet) -> None:
    until(lambda: not at_work(fleet), within=10, what=f"processes {at_work(fleet)}")
    until(lambda: not list((fleet.state / "workspaces").iterdir()), within=10, what="a workspace")
    assert str(fleet.state) not in Path("/proc/self/mountinfo").read_text()


def usage(rows: Rows, task: int) -> dict[str, Any]:
    found: dict[str, Any] = rows.runs(task)[-1]["usage"]
    return found


def test_a_row_for_claude_becomes_a_pushed_branch(
    started: Started, fleet: Fleet, rows: Rows, task: Adding, remote: Remote
) -> None:
    shows = "env; cat /proc/*/environ /proc/*/cmdline | tr '\\0' '\\n'; ls -A ~ /run /tmp; cat greeting.txt"
    api = started(WRITE, Use("Bash", {"command": shows, "description": "Look"}), DONE)
    mine = task()
    until(ended(rows, mine), within=90, what=fleet.text())

    assert rows.status(mine) == "completed", rows.messages(mine)
    branch = rows.see(mine)["branch_name"]
    assert remote.show(f"{branch}:greeting.txt") == "Hello"
    messages = rows.messages(mine)
    for words in ("I will write the greeting.", "Edited greeting.txt", "The greeting is there."):
        assert words in messages
    assert any(re.fullmatch(r"It took 3 turns, 300 tokens read, 30 tokens written.*", said) for said in messages)
    assert {asked.key for asked in api.asked} == {KEY}
    shown_to_the_model = str([asked.body for asked in api.asked])
    assert "IS_SANDBOX=1" in shown_to_the_model  # it did look around
    assert KEY not in shown_to_the_model
    used = usage(rows, mine)
    assert (used["turns"], used["gateway_input_tokens"], used["gateway_output_tokens"]) == (3, 300, 30)
    assert used["gateway_requests"] == len(api.asked)
    nothing_is_left(fleet)
    assert found_anywhere(fleet, rows, remote, (KEY, TOKEN)) == []


def test_claude_works_on_trusted_prompts_without_a_sandbox_too_and_has_no_key_there_either(
    started: Started, fleet: Fleet, rows: Rows, task: Adding
) -> None:
    api = started(WRITE, DONE, CODINGIT_SANDBOX="process")
    mine = task()
    until(ended(rows, mine), within=90, what=fleet.text())

    assert rows.status(mine) == "completed", rows.messages(mine)
    assert {asked.key for asked in api.asked} == {KEY}
    nothing_is_left(fleet)


def found_anywhere(fleet: Fleet, rows: Rows, remote: Remote, secrets: tuple[str, ...]) -> list[str]:
    """Where any of these is to be read after a run: rows, transcripts, logs, git objects."""
    transcripts = list((fleet.state / "transcripts").rglob("*.gz"))
    assert transcripts
    places = {str(path): unpacked(path) for path in transcripts} | {"logs": fleet.text()}
    for table in ("SELECT to_jsonb(t) AS it FROM public.tasks t", "SELECT to_jsonb(t) AS it FROM worker.runs t"):
        places[table] = json.dumps([row["it"] for row in rows.execute(table)])
    places["git"] = remote.everything()
    assert "greeting" in places["git"]
    return [place for place, text in places.items() for secret in secrets if secret in text]


def unpacked(path: Path) -> str:
    return subprocess.run(("gzip", "-dc", path), capture_output=True, check=True).stdout.decode(errors="replace")


@pytest.mark.parametrize(
    ("status", "becomes", "words"),
    [(401, "error", "provider refused the key"), (400, "error", "gave up"), (529, "pending", "overloaded")],
)
def test_what_the_provider_refuses_ends_the_run_as_it_should(  # noqa: PLR0917 - fixtures
    started: Started, fleet: Fleet, rows: Rows, task: Adding, status: int, becomes: str, words: str
) -> None:
    started(Refuse(status))
    mine = task()
    until(lambda: rows.runs(mine) and rows.runs(mine)[-1]["outcome"], within=120, what=fleet.text())

    assert rows.status(mine) == becomes, rows.messages(mine)
    assert words in rows.messages(mine)[-1]
    assert KEY not in "\n".join(rows.messages(mine))
    nothing_is_left(fleet)


def test_a_task_that_its_owner_deletes_while_claude_waits_leaves_nothing(
    started: Started, fleet: Fleet, rows: Rows, task: Adding, remote: Remote
) -> None:
    api = started(WRITE, Hang())
    mine = task()
    until(lambda: len(api.questions) > 1, within=60, what=fleet.text())
    assert at_work(fleet)
    rows.execute("DELETE FROM public.tasks WHERE id = %s", mine)

    until(lambda: rows.runs(mine)[-1]["outcome"] == "gone", within=10, what=fleet.text())
    nothing_is_left(fleet)
    assert set(remote.heads()) == {"main"}
    assert usage(rows, mine)["gateway_requests"] > 0


def test_a_worker_killed_in_the_middle_takes_claude_with_it_and_another_ends_the_task(
    started: Started, fleet: Fleet, rows: Rows, task: Adding, remote: Remote
) -> None:
    api = started(WRITE, Hang())
    mine = task()
    until(lambda: len(api.questions) > 1, within=60, what=fleet.text())
    os.killpg(fleet.processes[-1].pid, signal.SIGKILL)
    until(lambda: not at_work(fleet), within=10, what=f"processes {at_work(fleet)}")

    api.moves = (WRITE, DONE)
    fleet.worker("next")
    until(ended(rows, mine), within=LEASE_TTL + 60, what=fleet.text())
    assert rows.status(mine) == "completed", rows.messages(mine)
    assert remote.show(f"{rows.see(mine)['branch_name']}:greeting.txt") == "Hello"
    assert [run["outcome"] for run in rows.runs(mine)] == ["lapsed", "completed"]


def test_a_cap_cuts_claude_off_and_what_it_did_is_pushed_as_partial(
    started: Started, fleet: Fleet, rows: Rows, task: Adding, remote: Remote
) -> None:
    started(WRITE, DONE, CODINGIT_RUN_TOKENS="100")
    mine = task()
    until(ended(rows, mine), within=120, what=fleet.text())

    assert rows.status(mine) == "error"
    assert "This task may use 100 tokens in one run, and has" in rows.messages(mine)[-1]
    branch = rows.see(mine)["branch_name"]
    assert remote.show(f"{branch}:greeting.txt") == "Hello"
    assert remote.show(branch).splitlines()[4].strip().startswith("Partial:")
    nothing_is_left(fleet)


def test_who_has_used_up_the_day_is_told_before_the_agent_begins(
    started: Started, fleet: Fleet, rows: Rows, task: Adding
) -> None:
    api = started(WRITE, DONE, CODINGIT_USER_DAILY_TOKENS="200")
    first = task()
    until(ended(rows, first), within=90, what=fleet.text())
    second, asked = task(), len(api.asked)
    until(ended(rows, second), within=30, what=fleet.text())

    assert "renewed at 00:00 UTC" in rows.messages(second)[-1]
    assert len(api.asked) == asked
