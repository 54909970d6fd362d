"""
Three hundred tasks with pushes, and faults of every kind: each task ends once, and nothing is left behind.

`make chaos SEED=42` repeats a run's choices, `TASKS=30` makes it smaller.
"""

import os
import random
import shutil
import time
from collections.abc import Callable

import pytest

from tests.chaos.rig import USERS, Rig, rigged
from tests.support.fleet import until

SEED = int(os.environ.get("SEED", "20261123"))
TASKS = int(os.environ.get("TASKS", "300"))
STUCK = 60.0
"""Once the faults have ended, so many seconds are the most between two ends of tasks."""
QUICK = "rehearse: pause 0\nrehearse: steps 1\nNumber "

has_pooler = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/bin") is not None
needs_pooler = pytest.mark.skipif(
    not has_pooler and os.environ.get("CI") != "true",
    reason="PgBouncer is not installed (Debian: apt install pgbouncer)",
)


@needs_pooler
@pytest.mark.timeout(1200)
def test_each_task_ends_once_whatever_happens_meanwhile() -> None:
    print(f"SEED={SEED} TASKS={TASKS}")
    with rigged(random.Random(SEED)) as rig:
        url = rig.remote.repository()
        tasks = [rig.rows.task(user=USERS[n % 5], prompt=f"{QUICK}{n}", repo_url=url) for n in range(TASKS)]
        rig.start()
        for fault in rig.faults():
            print(f"{time.strftime('%X')} {fault.__name__}, {left(rig)} tasks left", flush=True)
            fault()
            breathe(rig)
        let_end(rig)
        check_ends(rig, tasks)
        check_heads(rig, tasks)
        check_nothing_is_left(rig)


def breathe(rig: Rig) -> None:
    """Let some tasks end before the next fault, or the faults would all hit the same few."""
    goal, patience = left(rig) - TASKS // 25, time.monotonic() + rig.chance.uniform(2, 8)
    while left(rig) > goal and time.monotonic() < patience:
        time.sleep(0.2)


def let_end(rig: Rig) -> None:
    """Wait for the rest, as long as one after the other ends."""
    before = TASKS

    def one_more() -> bool:
        return left(rig) < before

    while before := left(rig):
        until(one_more, within=STUCK, what=lambda: rig.fleet.text()[-20_000:])


def left(rig: Rig) -> int:
    """How many tasks have not ended; whoever died is started again meanwhile."""
    rig.revive()
    found = rig.rows.execute("SELECT count(*) AS n FROM public.tasks WHERE status IN ('pending', 'processing')")
    return int(found[0]["n"])


def check_ends(rig: Rig, tasks: list[int]) -> None:
    ends = rig.rows.execute(
        """SELECT t.id, t.status::text, t.progress, count(*) FILTER (WHERE r.outcome = 'completed') AS completions,
                  count(*) FILTER (WHERE r.finished_at IS NULL) AS open
           FROM public.tasks t JOIN worker.runs r ON r.task_id = t.id GROUP BY t.id"""
    )
    assert len(ends) == len(tasks)
    wrong = [
        row
        for row in ends
        if (row["status"], row["progress"], row["completions"], row["open"]) != ("completed", 100, 1, 0)
    ]
    assert not wrong, [rig.rows.runs(row["id"]) for row in wrong[:3]]


def check_heads(rig: Rig, tasks: list[int]) -> None:
    """One branch a task, at the head that the attempt pushed which completed it, and one commit on top of main."""
    won = rig.rows.execute("SELECT task_id, pushed_branch, pushed_head FROM worker.runs WHERE outcome = 'completed'")
    heads = rig.remote.heads()
    main = heads.pop("main")
    assert heads == {row["pushed_branch"]: row["pushed_head"] for row in won}
    assert len(heads) == len(tasks)
    for head in random.Random(SEED).sample(sorted(heads.values()), min(20, len(heads))):
        assert rig.remote.parent(head) == main


def check_nothing_is_left(rig: Rig) -> None:
    for process in rig.workers.values():
        rig.fleet.terminate(process, within=30)
    until(lambda: rig.fleet.agents() == [], what="no process of a run")
    gone: dict[str, Callable[[], bool]] = {
        "leases": lambda: not rig.rows.execute("SELECT FROM worker.leases"),
        "locks": lambda: not rig.rows.execute("SELECT FROM pg_locks WHERE locktype = 'advisory'"),
    }
    for what, is_gone in gone.items():
        until(is_gone, what=what)
    rig.fleet.stop()
    until(
        lambda: (
            not rig.rows.execute(
                "SELECT FROM pg_stat_activity WHERE usename = 'task_worker' AND application_name = 'codingit-worker'"
                " AND client_port IS NOT NULL AND state <> 'idle'"
            )
        ),
        what="no connection at work",
    )
    rig.start_worker("direct")  # which sweeps what killed workers left
    until(lambda: not list((rig.fleet.state / "workspaces").iterdir()), within=30, what="no workspace")
