"""What must hold of the queue's tables at any moment, and beside what a test knows to be acknowledged."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.support.model import Facts
from tests.support.rows import Rows

Row = Mapping[str, Any]
COUNTERS = ("attempt", "crashes", "interruptions", "backoffs")
LINE = "line "
"""How every message begins that a test's run writes."""
WAITING = """
WITH fresh AS (
    SELECT task_id FROM worker.leases
    WHERE offered_at > now() - %(timeout)s OR (offered_at IS NOT NULL AND task_id = ANY (%(rung)s))
)
SELECT user_id, least(due, %(per_user)s - used)::int AS offers
FROM (SELECT t.user_id, count(*) AS due,
          (SELECT count(*) FROM worker.leases u
           WHERE u.user_id = t.user_id AND (u.holder IS NOT NULL OR u.task_id IN (TABLE fresh))) AS used
      FROM public.tasks t LEFT JOIN worker.leases l ON l.task_id = t.id
      WHERE t.status = 'pending' AND l.holder IS NULL
          AND t.id NOT IN (TABLE fresh)
          AND (l.not_before IS NULL OR l.not_before <= now())
      GROUP BY t.user_id) AS waiting
WHERE used < %(per_user)s
"""
"""Who has a due row and a free slot, and how many offers that is good for."""
LEFT_BEHIND = """
SELECT l.task_id FROM worker.leases l LEFT JOIN public.tasks t ON t.id = l.task_id
WHERE (l.holder IS NOT NULL AND l.expires_at < now()) OR (l.holder IS NULL AND t.status IS DISTINCT FROM 'pending')
"""
"""Leases that recovery must not leave."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The tables as they were at one moment: tasks and leases by the task's id, runs by their fence."""

    tasks: Mapping[int, Row]
    leases: Mapping[int, Row]
    runs: Mapping[int, Row]


def see(rows: Rows) -> Seen:
    """Read in one statement, so that all of it is of one moment."""
    found = rows.execute("""
        SELECT 'task' AS kind, id, to_jsonb(t) AS it FROM public.tasks t
        UNION ALL SELECT 'lease', task_id, to_jsonb(l) FROM worker.leases l
        UNION ALL SELECT 'run', fence, to_jsonb(r) FROM worker.runs r""")
    tasks, leases, runs = (
        {row["id"]: row["it"] for row in found if row["kind"] == k} for k in ("task", "lease", "run")
    )
    return Seen(tasks=tasks, leases=leases, runs=runs)


def check(seen: Seen, facts: Facts, *, per_user: int) -> None:
    """Everything at once, the simplest first."""
    check_runs_and_leases(seen)
    check_rows(seen, facts)
    check_lines(seen, facts)
    check_leases(seen, facts, per_user=per_user)
    check_counters(seen, facts)
    check_outcomes(seen, facts)


def check_runs_and_leases(seen: Seen) -> None:
    """A run is open exactly as long as it holds its task's lease, and one that is closed says how it ended."""
    held = {lease["fence"] for lease in seen.leases.values() if lease["holder"] is not None}
    running = {fence for fence, run in seen.runs.items() if run["finished_at"] is None}
    assert running == held, f"open runs {running}, held leases {held}"
    assert all((run["outcome"] is None) == (run["finished_at"] is None) for run in seen.runs.values())


def check_rows(seen: Seen, facts: Facts) -> None:
    """Each row is as it was last acknowledged: what has ended stays ended, and no stale fence has written."""
    found = {task: (row["status"], row["progress"], row["branch_name"]) for task, row in seen.tasks.items()}
    assert found == {
        task: (known.status, known.progress, known.branch)
        for task, known in facts.tasks.items()
        if known.status is not None
    }


def check_lines(seen: Seen, facts: Facts) -> None:
    """Each line that was acknowledged is in the log once, in order, and no other."""
    for task, row in seen.tasks.items():
        assert lines_in(row["logs"]) == facts.tasks[task].lines, f"the log of task {task}"


def check_leases(seen: Seen, facts: Facts, *, per_user: int) -> None:
    """One fence a task, known to whoever claimed it, and no more of them than the user's limit."""
    held = {lease["fence"] for lease in seen.leases.values() if lease["holder"] is not None}
    assert held == facts.fences(), "somebody holds a lease who was never told so, or lost one unasked"
    assert all(facts.running(known.user) <= per_user for known in facts.tasks.values())


def check_counters(seen: Seen, facts: Facts) -> None:
    """Each lease counts what was acknowledged; where nothing is left to count there need be none."""
    for task, known in facts.tasks.items():
        lease = seen.leases.get(task, {})
        counted = {name: lease.get(name, 0) for name in COUNTERS}
        assert counted == {name: known.counts[name] for name in COUNTERS}, f"the counters of task {task}"


def check_outcomes(seen: Seen, facts: Facts) -> None:
    """A run has ended as its worker, or recovery, was first told."""
    ended = {fence: run["outcome"] for fence, run in seen.runs.items() if run["finished_at"] is not None}
    assert ended == facts.outcomes


def lines_in(logs: Any) -> list[str]:
    """The messages that runs wrote, in either kind of log; an owner's garbage holds none."""
    try:
        entries = json.loads(logs) if isinstance(logs, str) else logs
    except ValueError:
        return []
    if not isinstance(entries, list):
        return []
    messages = [str(entry.get("message")) for entry in entries if isinstance(entry, dict)]
    return [message for message in messages if message.startswith(LINE)]
