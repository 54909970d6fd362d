"""Nothing is lost and nothing doubled by killing, stopping or freezing things."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.acceptance.conftest import Remote
from tests.support.fleet import GRACE, LEASE_TTL, Fleet, parents, until
from tests.support.rows import Rows

Adding = Callable[..., int]
LONG = "rehearse: pause 0\nrehearse: spawn 2\nrehearse: sleep 60"
QUICK = "rehearse: pause 0\nrehearse: steps 1\n"


def works(fleet: Fleet, rows: Rows, task: int, *, attempt: int = 1) -> Callable[[], bool]:
    """Whether this attempt's agent is at work, with the processes that it left behind."""

    def check() -> bool:
        runs = rows.runs(task)
        return len(runs) == attempt and rows.see(task)["progress"] >= 40 and len(fleet.agents()) >= 3

    return check


def attempts(rows: Rows, task: int) -> list[str | None]:
    return [run["outcome"] for run in rows.runs(task)]


def test_a_child_killed_in_mid_run_costs_seconds(fleet: Fleet, rows: Rows, add: Adding, remote: Remote) -> None:
    fleet.dispatcher()
    worker = fleet.worker()
    task = add(LONG, repo_url=remote.repository())
    until(works(fleet, rows, task), what=fleet.text)
    first = set(fleet.agents())

    os.kill(fleet.busy_child(worker), signal.SIGKILL)

    until(lambda: len(rows.runs(task)) == 2, within=5, what=fleet.text)
    until(lambda: not first & set(fleet.agents()), within=5, what="the first agent's processes gone")
    assert attempts(rows, task) == ["crash", None]
    lease = rows.lease(task)
    assert lease
    assert (lease["crashes"], lease["attempt"]) == (1, 2)


def test_a_worker_killed_whole_is_replaced_by_another_when_its_lease_lapses(
    fleet: Fleet, rows: Rows, add: Adding, remote: Remote
) -> None:
    fleet.dispatcher()
    worker = fleet.worker("first")
    task = add(LONG, repo_url=remote.repository())
    until(works(fleet, rows, task), what=fleet.text)
    fleet.worker("second")
    first = set(fleet.agents())

    os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()

    until(lambda: not first & set(fleet.agents()), within=5, what="the agent's processes gone")
    until(lambda: len(rows.runs(task)) == 2, within=LEASE_TTL + 5, what=fleet.text)
    assert attempts(rows, task) == ["lapsed", None]


def test_a_worker_whose_main_process_alone_is_killed_leaves_no_agent(
    fleet: Fleet, rows: Rows, add: Adding, remote: Remote
) -> None:
    fleet.dispatcher()
    worker = fleet.worker("first")
    task = add(LONG, repo_url=remote.repository())
    until(works(fleet, rows, task), what=fleet.text)
    first = set(fleet.agents())
    children = fleet.children(worker)

    worker.kill()
    worker.wait()
    fleet.worker("second")

    until(lambda: len(rows.runs(task)) == 2, within=LEASE_TTL + 10, what=fleet.text)
    until(lambda: not first & set(fleet.agents()), within=5, what="the agent's processes gone")
    until(lambda: not set(children) & set(parents()), within=5, what="the children gone")


def to_main(worker: subprocess.Popen[bytes]) -> None:
    worker.send_signal(signal.SIGTERM)


def to_the_group(worker: subprocess.Popen[bytes]) -> None:
    os.killpg(worker.pid, signal.SIGTERM)


def interrupt_the_group(worker: subprocess.Popen[bytes]) -> None:
    os.killpg(worker.pid, signal.SIGINT)


def to_the_group_twice(worker: subprocess.Popen[bytes]) -> None:
    os.killpg(worker.pid, signal.SIGTERM)
    time.sleep(0.5)
    os.killpg(worker.pid, signal.SIGTERM)


def to_every_process(worker: subprocess.Popen[bytes]) -> None:
    """As systemd does by default: the agents get it too."""
    tree = parents()
    found = [worker.pid]
    for pid in found:
        found += [child for child, parent in tree.items() if parent == pid]
    for pid in found:
        with suppress(ProcessLookupError):  # ended by the signal to another
            os.kill(pid, signal.SIGTERM)


@pytest.mark.parametrize("stop", [to_main, to_the_group, interrupt_the_group, to_the_group_twice, to_every_process])
def test_however_a_worker_is_told_to_stop_its_tasks_are_given_back(
    fleet: Fleet, rows: Rows, add: Adding, remote: Remote, stop: Callable[[subprocess.Popen[bytes]], None]
) -> None:
    fleet.dispatcher()
    worker = fleet.worker()
    url = remote.repository()
    tasks = [add(LONG, repo_url=url), add(LONG, repo_url=url)]
    until(lambda: all(rows.see(task)["progress"] >= 40 for task in tasks), what=fleet.text)

    stop(worker)
    worker.wait(timeout=GRACE + 5)

    assert [rows.status(task) for task in tasks] == ["pending", "pending"], fleet.text()
    assert [attempts(rows, task) for task in tasks] == [["shutdown"], ["shutdown"]]
    assert fleet.agents() == []
    assert not [pid for pid in parents() if _session(pid) == worker.pid]
    assert set(remote.heads()) == {"main"}


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return 0


def test_a_task_that_can_finish_within_the_grace_does(fleet: Fleet, rows: Rows, add: Adding) -> None:
    fleet.dispatcher()
    worker = fleet.worker()
    task = add("rehearse: sleep 1\n" + QUICK)
    until(lambda: rows.see(task)["progress"] >= 40, what=fleet.text)

    assert fleet.terminate(worker) == 0

    assert rows.status(task) == "completed"


def test_a_frozen_worker_that_wakes_after_its_task_ran_elsewhere_does_nothing(
    fleet: Fleet, rows: Rows, add: Adding, remote: Remote
) -> None:
    fleet.dispatcher()
    frozen = fleet.worker("frozen")
    task = add("rehearse: pause 0\nrehearse: sleep 3\nrehearse: edit a.txt b", repo_url=remote.repository())
    until(lambda: rows.see(task)["progress"] >= 40, what=fleet.text)
    for pid in (frozen.pid, *fleet.children(frozen)):
        os.kill(pid, signal.SIGSTOP)
    first_agent = set(fleet.agents())
    fleet.worker("awake")
    until(lambda: rows.status(task) == "completed", within=LEASE_TTL + 25, what=fleet.text)
    before, heads = rows.see(task), remote.heads()

    for pid in (*fleet.children(frozen), frozen.pid):
        os.kill(pid, signal.SIGCONT)

    until(lambda: b"run.finished" in fleet.log_of(frozen), what=fleet.text)
    until(lambda: not first_agent & set(fleet.agents()), what="the first agent's processes gone")
    assert rows.see(task) == before
    assert remote.heads() == heads
    assert attempts(rows, task) == ["lapsed", "completed"]


@pytest.mark.parametrize("change", ["DELETE", "pending", "completed", "error"])
def test_what_the_owner_does_while_it_runs_ends_the_run_and_nothing_is_pushed(
    fleet: Fleet, rows: Rows, add: Adding, remote: Remote, change: str
) -> None:
    fleet.dispatcher()
    fleet.worker()
    url = remote.repository()
    task, other = add(LONG, repo_url=url), add("rehearse: sleep 3\n" + QUICK, repo_url=url)
    until(lambda: rows.see(task)["progress"] >= 40 and rows.see(other)["progress"] >= 40, what=fleet.text)
    agents = set(fleet.agents())

    if change == "DELETE":
        rows.execute("DELETE FROM public.tasks WHERE id = %s", task)
    elif change == "pending":  # so that it cannot be seen to run anew
        rows.execute("UPDATE public.tasks SET status = 'pending', prompt = ' ' WHERE id = %s", task)
    else:
        rows.execute("UPDATE public.tasks SET status = %s WHERE id = %s", change, task)

    until(lambda: attempts(rows, task)[0] is not None, within=2, what=fleet.text)
    assert attempts(rows, task)[0] == ("gone" if change == "DELETE" else "taken")
    until(lambda: rows.status(other) == "completed", within=20, what=fleet.text)
    assert not agents & set(fleet.agents())
    assert set(remote.heads()) == {"main", rows.see(other)["branch_name"]}
    if change != "DELETE":
        assert rows.status(task) == ("error" if change == "pending" else change)


def test_garbage_that_the_owner_writes_while_it_runs_does_no_harm(
    fleet: Fleet, rows: Rows, add: Adding, remote: Remote
) -> None:
    fleet.dispatcher()
    fleet.worker()
    task = add("rehearse: sleep 2\n" + QUICK, repo_url=remote.repository())
    until(lambda: rows.see(task)["progress"] >= 40, what=fleet.text)
    rows.execute(
        "UPDATE public.tasks SET logs = '{}', created_at = 'infinity', updated_at = '-infinity', progress = 3,"
        " branch_name = 'main', prompt = 'Something else' WHERE id = %s",
        task,
    )
    until(lambda: rows.status(task) == "completed", within=20, what=fleet.text)

    heads = remote.heads()
    assert rows.messages(task)[0].startswith("The earlier log could not be read")
    assert len(heads) == 2
    assert remote.show(f"{heads['main']}:README.md") == "# A site"


def test_an_attempt_that_died_after_its_push_is_replaced_by_the_next(
    fleet: Fleet, rows: Rows, add: Adding, remote: Remote
) -> None:
    fleet.dispatcher()
    worker = fleet.worker()
    task = add(QUICK + "Once", repo_url=remote.repository())
    until(lambda: rows.status(task) == "completed", within=20, what=fleet.text)
    branch = rows.see(task)["branch_name"]
    first = remote.heads()[branch]

    rows.execute("SELECT worker.retry(%s)", task)
    until(lambda: len(rows.runs(task)) == 2 and rows.status(task) == "completed", within=20, what=fleet.text)

    second = remote.heads()[branch]
    assert worker.poll() is None
    assert second != first
    assert second in rows.messages(task)[-1]
    assert remote.show(f"{second}^") == remote.show("main")


def test_a_crash_of_every_attempt_ends_the_task(fleet: Fleet, rows: Rows, add: Adding) -> None:
    fleet.dispatcher()
    worker = fleet.worker()
    task = add(LONG)
    for attempt in (1, 2, 3):
        until(works(fleet, rows, task, attempt=attempt), within=15, what=fleet.text)
        os.kill(fleet.busy_child(worker), signal.SIGKILL)
    until(lambda: rows.status(task) == "error", what=fleet.text)

    assert attempts(rows, task) == ["crash"] * 3
    assert "died 3 times" in rows.messages(task)[-1]


def test_under_honcho_sigterm_gives_the_tasks_back(fleet: Fleet, rows: Rows, add: Adding, remote: Remote) -> None:
    binaries = str(Path(sys.executable).parent)
    processes = fleet.start(
        *("honcho", "-f", "Procfile", "start", "worker", "dispatcher"),
        PATH=f"{binaries}:{fleet.env['PATH']}",
        PYTHONUNBUFFERED="1",
    )
    task = add(LONG, repo_url=remote.repository())
    until(works(fleet, rows, task), within=40, what=fleet.text)

    fleet.terminate(processes, within=GRACE + 8)

    assert rows.status(task) == "pending", fleet.text()
    assert attempts(rows, task) == ["shutdown"]
    assert fleet.agents() == []
