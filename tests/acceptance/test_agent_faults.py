"""The real claude where something goes wrong on the way: its provider, a tool, a limit, its gateway, its worker."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.acceptance.conftest import KEY, Adding, Remote, Started
from tests.acceptance.traces import at_work, ended, nothing_is_left, usage
from tests.support.fleet import ROOT, Fleet, until
from tests.support.model_api import Hang, Refuse, Say, Use
from tests.support.rows import Rows

WRITE = Use("Write", {"file_path": "greeting.txt", "content": "Hello\n"}, "I will write the greeting.")
DONE = Say("The greeting is there.")
BUSY = [pytest.param(status, "pending", "overloaded", id=str(status)) for status in (429, 500, 529)]


def shell(command: str) -> Use:
    return Use("Bash", {"command": command, "description": "Do it"})


@pytest.mark.parametrize(
    ("status", "becomes", "words"), [(401, "error", "provider refused the key"), (400, "error", "gave up"), *BUSY]
)
def test_what_the_provider_refuses_ends_the_run_as_it_should(  # noqa: PLR0917 - fixtures
    started: Started, fleet: Fleet, rows: Rows, task: Adding, status: int, becomes: str, words: str
) -> None:
    started(Refuse(status))
    mine = task()
    until(lambda: rows.runs(mine) and rows.runs(mine)[-1]["outcome"], within=120, what=fleet.text)

    assert rows.status(mine) == becomes, rows.messages(mine)
    assert words in rows.messages(mine)[-1]
    assert KEY not in "\n".join(rows.messages(mine))
    nothing_is_left(fleet)


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ({"CODINGIT_IDLE_LIMIT": "15s"}, "It printed nothing for 15 seconds, so it was stopped."),
        ({"CODINGIT_WALL_LIMIT": "30s"}, "It took longer than 30 seconds in all, so it was stopped."),
    ],
    ids=["idle", "wall"],
)
def test_a_model_that_hangs_is_cut_off_and_what_there_is_by_then_is_pushed_as_partial(  # noqa: PLR0917 - fixtures
    started: Started, fleet: Fleet, rows: Rows, task: Adding, remote: Remote, limit: dict[str, str], words: str
) -> None:
    api = started(WRITE, Hang(), **limit)
    mine = task()
    until(ended(rows, mine), within=90, what=fleet.text)

    assert len(api.questions) > 1
    assert rows.status(mine) == "error"
    assert words in rows.messages(mine)[-1]
    warned = any(said.startswith("Warning: a run may take 30 seconds") for said in rows.messages(mine))
    assert warned is ("CODINGIT_WALL_LIMIT" in limit)
    branch = rows.see(mine)["branch_name"]
    assert remote.show(f"{branch}:greeting.txt") == "Hello"
    assert remote.show(branch).splitlines()[4].strip().startswith("Partial:")
    assert usage(rows, mine)["gateway_estimated"] == 1  # the question that had no answer has its price, too
    nothing_is_left(fleet)


def test_a_folder_that_grew_too_large_is_pushed_as_partial_too(
    started: Started, fleet: Fleet, rows: Rows, task: Adding, remote: Remote
) -> None:
    grow = shell("for n in 1 2 3; do head -c 8000000 /dev/urandom > large$n; done; sleep 60")
    started(WRITE, grow, DONE, CODINGIT_DISK_LIMIT="20MB")
    mine = task()
    until(ended(rows, mine), within=90, what=fleet.text)

    assert "Its folder grew larger than 20 MB" in rows.messages(mine)[-1]
    assert remote.show(f"{rows.see(mine)['branch_name']}:greeting.txt") == "Hello"
    nothing_is_left(fleet)


def test_a_tool_that_prints_ten_megabytes_costs_the_row_nothing(
    started: Started, fleet: Fleet, rows: Rows, task: Adding
) -> None:
    started(shell("head -c 10000000 /dev/zero | tr '\\0' x; exit 3"), WRITE, DONE)
    mine = task()
    until(ended(rows, mine), within=90, what=fleet.text)

    assert rows.status(mine) == "completed", rows.messages(mine)
    assert any("ended with exit code 3" in said for said in rows.messages(mine))
    assert sum(map(len, rows.messages(mine))) < 5_000
    nothing_is_left(fleet)


def test_a_gateway_that_dies_gives_the_task_back_at_once_and_takes_the_agent_along(
    started: Started, fleet: Fleet, rows: Rows, task: Adding
) -> None:
    api = started(WRITE, Hang())
    mine = task()
    until(lambda: len(api.questions) > 1, within=60, what=fleet.text)
    for pid in gateways(fleet):
        os.kill(pid, signal.SIGKILL)

    until(lambda: rows.runs(mine)[-1]["outcome"], within=10, what=fleet.text)
    assert rows.status(mine) == "pending"
    assert any("The worker cannot run this now" in said for said in rows.messages(mine)), rows.messages(mine)
    nothing_is_left(fleet)


def test_a_gateway_that_is_stopped_together_with_its_worker_is_no_fault_of_the_machine(
    started: Started, fleet: Fleet, rows: Rows, task: Adding
) -> None:
    """As systemd stops every process at once where it is not told otherwise: the run learns of both in one moment."""
    api = started(WRITE, Hang())
    mine = task()
    until(lambda: len(api.questions) > 1, within=60, what=fleet.text)
    worker = fleet.processes[-1]
    child = fleet.busy_child(worker)
    os.kill(child, signal.SIGSTOP)
    for pid in gateways(fleet):
        os.kill(pid, signal.SIGTERM)
    worker.terminate()
    until(lambda: b"Warm shutdown" in fleet.log_of(worker))
    os.kill(child, signal.SIGCONT)

    until(lambda: rows.runs(mine)[-1]["outcome"], within=15, what=fleet.text)
    assert rows.runs(mine)[-1]["outcome"] == "shutdown", rows.messages(mine)
    assert rows.status(mine) == "pending"
    nothing_is_left(fleet)


def gateways(fleet: Fleet) -> list[int]:
    """The gateways of this fleet, which have their HOME in a workspace."""
    found = []
    for pid in at_work(fleet):
        with suppress(OSError):
            if (
                b"-m\0worker.gateway" in (words := Path(f"/proc/{pid}/cmdline").read_bytes())
                and b"supervisor" not in words
            ):
                found.append(pid)
    assert found
    return found


def test_the_workspace_of_a_worker_that_was_killed_is_removed_by_the_policy(
    started: Started, fleet: Fleet, rows: Rows, task: Adding
) -> None:
    api = started(WRITE, Hang())
    task()
    until(lambda: len(api.questions) > 1, within=60, what=fleet.text)
    os.killpg(fleet.processes[-1].pid, signal.SIGKILL)
    until(lambda: not at_work(fleet), within=10, what=f"processes {at_work(fleet)}")

    assert list((fleet.state / "workspaces").iterdir())
    sweep = (sys.executable, "-m", "worker", "maintenance", "run", "workspaces")
    done = subprocess.run(sweep, cwd=ROOT, env=fleet.env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    nothing_is_left(fleet)
