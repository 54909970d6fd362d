"""The queue's protocol in Python: each function is one statement of `db/sql/queue.sql` in autocommit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from psycopg.types.json import Jsonb

from db.engine import Database

CHANNEL = "codingit_worker"
"""What the dispatcher listens to; rung when a row becomes pending and when a run ends."""

Entries = Sequence[Mapping[str, str]]
"""Log entries as they are stored: id, timestamp, type and message, free of NUL and lone surrogates."""

Refusal = Literal["lost", "gone", "taken"]
"""Why nothing was written: another attempt has the lease, the row was deleted, or its owner changed the status."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """A head that an earlier attempt was about to push, and the commit it was built upon."""

    branch: str
    head: str
    base: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One attempt at a task: the fence that lets it write, and the row's content as its owner wrote it, clipped."""

    task_id: int
    fence: int
    attempt: int
    user_id: str
    prompt: str
    repo_url: str | None
    agent: str | None
    model: str | None
    branch: str | None
    backoffs: int
    """How often it was put off before."""
    pushes: tuple[Pushed, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Appended:
    """What an append did, and how large the log is now, in bytes."""

    refusal: Refusal | None
    stored: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """
    A task whose lease was ended by recovery, and the status that it has now.

    `gone` when it has no row; `failed: …` when the database refused to write it, and why.
    """

    task_id: int
    became: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """What a recovery did, and the database's time, for the next one."""

    at: datetime
    awake: bool
    """False when too much time had passed since the last one, so that nothing was done."""
    recovered: tuple[Recovered, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What a user's runs of today (UTC) have used of models, as far as it was recorded."""

    tokens: int
    cost: float
    """US dollars."""


def offer(
    database: Database, room: int, *, per_user: int, timeout: timedelta, waiting: Sequence[int] = ()
) -> list[int]:
    """
    Up to `room` tasks to ring for, users taking turns.

    None is offered again before `timeout`, nor while its message still waits in the broker: `waiting` are those.
    """
    rows = database.call(
        "SELECT task FROM worker.offer(%(room)s::int, %(per_user)s::int, %(timeout)s, %(waiting)s::bigint[]) AS task",
        {"room": room, "per_user": per_user, "timeout": timeout, "waiting": list(waiting)},
    )
    return [row["task"] for row in rows]


def claim(
    database: Database,
    task_id: int,
    *,
    holder: str,
    celery_id: str | None,
    ttl: timedelta,
    per_user: int,
    prompt_limit: int,
) -> Claim | None:
    """
    Make a pending task ours until `ttl` from now; None when it is not to be had.

    The prompt is cut one character past `prompt_limit`, so that a longer one can be told. When the answer is lost,
    do not ask again: the lease lapses.
    """
    rows = database.call(
        "SELECT * FROM worker.claim("
        "%(task)s, %(holder)s, %(celery)s, %(ttl)s, %(per_user)s::int, %(prompt_limit)s::int)",
        {
            "task": task_id,
            "holder": holder,
            "celery": celery_id,
            "ttl": ttl,
            "per_user": per_user,
            "prompt_limit": prompt_limit,
        },
    )
    return _claim(rows[0]) if rows else None


def fence_of(database: Database, task_id: int, *, celery_id: str) -> int | None:
    """The fence under which that Celery message runs the task now; None when it does not."""
    rows = database.call(
        "SELECT worker.fence_of(%(task)s, %(celery)s) AS fence", {"task": task_id, "celery": celery_id}
    )
    return None if rows[0]["fence"] is None else int(rows[0]["fence"])


def tick(database: Database, task_id: int, *, fence: int, ttl: timedelta) -> str | None:
    """Renew the lease; answers the task's status, None when its row is gone, `lost` when another attempt has it."""
    rows = database.call(
        "SELECT worker.tick(%(task)s, %(fence)s, %(ttl)s) AS status", {"task": task_id, "fence": fence, "ttl": ttl}
    )
    return None if rows[0]["status"] is None else str(rows[0]["status"])


def append(database: Database, task_id: int, *, fence: int, flush: int, entries: Entries, progress: int) -> Appended:
    """
    Add `entries` to the log in one write and raise the progress to at least `progress`.

    Postgres rewrites the whole column each time: batch before calling, not in here. `flush` counts the calls of this
    attempt from 1; when the answer was lost, the same number may be sent again and is done once.
    """
    rows = database.call(
        "SELECT * FROM worker.append(%(task)s, %(fence)s, %(flush)s::int, %(entries)s, %(progress)s::int)",
        {"task": task_id, "fence": fence, "flush": flush, "entries": Jsonb(list(entries)), "progress": progress},
    )
    return Appended(refusal=_refusal(rows[0]["verdict"]), stored=rows[0]["stored"] or 0)


def name_branch(database: Database, task_id: int, *, fence: int, branch: str) -> Refusal | None:
    """Write the name of the branch to the row."""
    rows = database.call(
        "SELECT worker.name_branch(%(task)s, %(fence)s, %(branch)s) AS verdict",
        {"task": task_id, "fence": fence, "branch": branch},
    )
    return _refusal(rows[0]["verdict"])


def record_sandbox(database: Database, task_id: int, *, fence: int, sandbox: str, url: str) -> Refusal | None:
    """Note the machine that was made for this attempt, whatever the answer; its address goes to the row."""
    rows = database.call(
        "SELECT worker.record_sandbox(%(task)s, %(fence)s, %(sandbox)s, %(url)s) AS verdict",
        {"task": task_id, "fence": fence, "sandbox": sandbox, "url": url},
    )
    return _refusal(rows[0]["verdict"])


def forget_sandbox(database: Database, *, fence: int, sandbox: str) -> None:
    """Strike off a machine of this attempt's that is gone."""
    database.call("SELECT worker.forget_sandbox(%(sandbox)s, %(fence)s)", {"sandbox": sandbox, "fence": fence})


def record_push(database: Database, task_id: int, *, fence: int, push: Pushed) -> Refusal | None:
    """Note the head that is about to be pushed: later attempts may replace it."""
    rows = database.call(
        "SELECT worker.record_push(%(task)s, %(fence)s, %(branch)s, %(head)s, %(base)s) AS verdict",
        {"task": task_id, "fence": fence, "branch": push.branch, "head": push.head, "base": push.base},
    )
    return _refusal(rows[0]["verdict"])


def finish(
    database: Database,
    task_id: int,
    *,
    fence: int,
    outcome: Literal["completed", "error"],
    entries: Entries,
    error: str | None,
    usage: Mapping[str, Any],
) -> str:
    """End the task, the attempt and the lease; answers how it ended, which a repeat by the same fence answers again."""
    rows = database.call(
        "SELECT worker.finish(%(task)s, %(fence)s, %(how)s, %(entries)s, %(error)s, %(usage)s) AS outcome",
        {
            "task": task_id,
            "fence": fence,
            "how": outcome,
            "entries": Jsonb(list(entries)),
            "error": error,
            "usage": Jsonb(dict(usage)),
        },
    )
    return str(rows[0]["outcome"])


def give_back(
    database: Database, task_id: int, *, fence: int, cause: str, bound: int, delay: timedelta, entries: Entries = ()
) -> str:
    """
    End the attempt so that the task runs again after `delay`, or ends in error once `cause` has come `bound` times.

    Answers the task's new status, or why nothing was written, or for a repeat how the attempt had ended.
    """
    rows = database.call(
        "SELECT worker.give_back(%(task)s, %(fence)s, %(cause)s, %(bound)s::int, %(delay)s, %(entries)s) AS became",
        {
            "task": task_id,
            "fence": fence,
            "cause": cause,
            "bound": bound,
            "delay": delay,
            "entries": Jsonb(list(entries)),
        },
    )
    return str(rows[0]["became"])


def abandon(database: Database, task_id: int, *, fence: int) -> str:
    """Close an attempt that may not write any more; answers how it ended, `mine` when it may and nothing was done."""
    rows = database.call("SELECT worker.abandon(%(task)s, %(fence)s) AS outcome", {"task": task_id, "fence": fence})
    return str(rows[0]["outcome"])


def recover(database: Database, *, max_crashes: int, seen: datetime | None, quiet: timedelta) -> Recovery:
    """
    Put back what nobody renewed, and remove the leases of tasks that are gone or ended.

    `seen` is the time of the last answer to this call. Longer than `quiet` ago, or None, and nothing is recovered, for
    during an outage no run could renew its lease.
    """
    first, *rest = database.call(
        "SELECT * FROM worker.recover(%(bound)s::int, %(seen)s, %(quiet)s)",
        {"bound": max_crashes, "seen": seen, "quiet": quiet},
    )
    found = tuple(Recovered(task_id=row["task_id"], became=row["became"]) for row in rest)
    return Recovery(at=first["at"], awake=first["became"] == "awake", recovered=found)


def cancel(database: Database, task_id: int, *, why: str) -> str | None:
    """End a pending or processing task as an error that says `why`; answers the status it had, None for no task."""
    return _status(database.call("SELECT worker.cancel(%(task)s, %(why)s) AS status", {"task": task_id, "why": why}))


def record_usage(database: Database, *, fence: int, usage: Mapping[str, int | float]) -> None:
    """Note what an attempt has used until now, over what was noted before; works also once the attempt has ended."""
    database.call("SELECT worker.record_usage(%(fence)s, %(found)s)", {"fence": fence, "found": Jsonb(dict(usage))})


def spent(database: Database, user_id: str) -> Spent:
    """What this user's runs of today have used: of those that still run, what was recorded until now."""
    (row,) = database.call("SELECT * FROM worker.spent(%(user)s::uuid)", {"user": user_id})
    return Spent(tokens=row["tokens"], cost=row["cost"])


def retry(database: Database, task_id: int) -> str | None:
    """
    Put an ended task, or a processing one that nobody holds, back to pending with its counters at nought.

    Answers the status it had, None for no such task, `running` when a worker holds it and nothing was done.
    """
    return _status(database.call("SELECT worker.retry(%(task)s) AS status", {"task": task_id}))


def _claim(row: Mapping[str, Any]) -> Claim:
    pushes = tuple(Pushed(branch=p["branch"], head=p["head"], base=p["base"]) for p in row["pushes"])
    return Claim(**{**row, "user_id": str(row["user_id"]), "pushes": pushes})


def _refusal(verdict: str) -> Refusal | None:
    return verdict if verdict in {"lost", "gone", "taken"} else None  # type: ignore[return-value]  # the three it may be


def _status(rows: Sequence[Mapping[str, Any]]) -> str | None:
    return None if rows[0]["status"] is None else str(rows[0]["status"])
