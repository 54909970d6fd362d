"""The real claude CLI, from a pending row to a pushed branch: in bubblewrap, its model behind the gateway."""

import os
import re
import signal

from tests.acceptance.conftest import KEY, TOKEN, Adding, Remote, Started
from tests.acceptance.traces import at_work, ended, found_anywhere, nothing_is_left, usage
from tests.support.fleet import LEASE_TTL, Fleet, until
from tests.support.model_api import Hang, Say, Use
from tests.support.rows import Rows

WRITE = Use("Write", {"file_path": "greeting.txt", "content": "Hello\n"}, "I will write the greeting.")
DONE = Say("The greeting is there.")


def test_a_row_for_claude_becomes_a_pushed_branch(
    started: Started, fleet: Fleet, rows: Rows, task: Adding, remote: Remote
) -> None:
    shows = "env; cat /proc/*/environ /proc/*/cmdline | tr '\\0' '\\n'; ls -A ~ /run /tmp; cat greeting.txt"
    api = started(WRITE, Use("Bash", {"command": shows, "description": "Look"}), DONE)
    mine = task()
    until(ended(rows, mine), within=90, what=fleet.text)

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
    until(ended(rows, mine), within=90, what=fleet.text)

    assert rows.status(mine) == "completed", rows.messages(mine)
    assert {asked.key for asked in api.asked} == {KEY}
    nothing_is_left(fleet)


def test_a_task_that_its_owner_deletes_while_claude_waits_leaves_nothing(
    started: Started, fleet: Fleet, rows: Rows, task: Adding, remote: Remote
) -> None:
    api = started(WRITE, Hang())
    mine = task()
    until(lambda: len(api.questions) > 1, within=60, what=fleet.text)
    assert at_work(fleet)
    rows.execute("DELETE FROM public.tasks WHERE id = %s", mine)

    until(lambda: rows.runs(mine)[-1]["outcome"] == "gone", within=10, what=fleet.text)
    nothing_is_left(fleet)
    assert set(remote.heads()) == {"main"}
    assert usage(rows, mine)["gateway_requests"] > 0


def test_a_worker_killed_in_the_middle_takes_claude_with_it_and_another_ends_the_task(
    started: Started, fleet: Fleet, rows: Rows, task: Adding, remote: Remote
) -> None:
    api = started(WRITE, Hang())
    mine = task()
    until(lambda: len(api.questions) > 1, within=60, what=fleet.text)
    os.killpg(fleet.processes[-1].pid, signal.SIGKILL)
    until(lambda: not at_work(fleet), within=10, what=f"processes {at_work(fleet)}")

    api.moves = (WRITE, DONE)
    fleet.worker("next")
    until(ended(rows, mine), within=LEASE_TTL + 60, what=fleet.text)
    assert rows.status(mine) == "completed", rows.messages(mine)
    assert remote.show(f"{rows.see(mine)['branch_name']}:greeting.txt") == "Hello"
    assert [run["outcome"] for run in rows.runs(mine)] == ["lapsed", "completed"]


def test_a_cap_cuts_claude_off_and_what_it_did_is_pushed_as_partial(
    started: Started, fleet: Fleet, rows: Rows, task: Adding, remote: Remote
) -> None:
    started(WRITE, DONE, CODINGIT_RUN_TOKENS="100")
    mine = task()
    until(ended(rows, mine), within=120, what=fleet.text)

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
    until(ended(rows, first), within=90, what=fleet.text)
    second, asked = task(), len(api.asked)
    until(ended(rows, second), within=30, what=fleet.text)

    assert "renewed at 00:00 UTC" in rows.messages(second)[-1]
    assert len(api.asked) == asked
