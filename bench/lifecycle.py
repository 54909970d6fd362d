"""What cleaning up costs, and whom: half a million of a million sessions, swept, and deleted in one statement."""

import json
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from statistics import quantiles
from time import perf_counter, sleep

import psycopg

from bench.fleet import ROOT
from bench.growth import claim
from bench.measure import Bench, Row, wal_position
from db.engine import Database, engine
from worker.maintenance import policies
from worker.maintenance.sweep import Ended, carry_out
from worker.settings import Settings, inherited

TOTAL = 1_000_000
"""Sessions, each with one token; every other one is expired."""
QUIET = 10.0
"""Seconds for which calls are timed while nothing is cleaned up."""
PACE = 0.01
"""Seconds between two calls of the same kind."""
SINGLE = "DELETE FROM auth.sessions WHERE not_after < now() - interval '72 hours'"
"""As the seed's auth.cleanup_expired_sessions does it, with our grace."""
FILL = (
    "SET session_replication_role = replica",  # rows come in without foreign keys being checked
    "INSERT INTO auth.users (id) SELECT gen_random_uuid() FROM generate_series(1, 10000)",
    """INSERT INTO auth.sessions (id, user_id, not_after, created_at, updated_at)
       SELECT gen_random_uuid(), users.ids[1 + n %% cardinality(users.ids)],
           now() - interval '4 days' * (CASE WHEN n %% 2 = 0 THEN 1 ELSE -1 END) - n * interval '1 millisecond',
           now() - interval '30 days', now() - interval '5 days'
       FROM (SELECT array_agg(id) AS ids FROM auth.users) AS users, generate_series(1, %(total)s) AS n""",
    """INSERT INTO auth.refresh_tokens (token, user_id, session_id, revoked, created_at, updated_at)
       SELECT md5(id::text), user_id, id, false, created_at, updated_at FROM auth.sessions""",
    """INSERT INTO public.tasks (user_id, prompt, selected_agent)
       SELECT users.ids[1 + n %% cardinality(users.ids)], 'bench', 'rehearsal'
       FROM (SELECT array_agg(id) AS ids FROM auth.users) AS users, generate_series(1, 20000) AS n""",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleaned:
    """One cleaning of one database, with nothing else going on."""

    rows: int
    seconds: float
    longest: float
    wal: float
    """Bytes a row."""


@dataclass(slots=True, kw_only=True)
class Served:
    """How long calls took while something went on, in milliseconds."""

    claims: list[float] = field(default_factory=list)
    refreshes: list[float] = field(default_factory=list)
    held_up: int = 0
    """Refreshes of live sessions that found a row locked."""


def measure(bench: Bench) -> Iterator[Row]:
    """Sessions at two sizes; at the larger against one DELETE, and what other users notice of either."""
    with filled(bench, TOTAL // 10) as small, filled(bench, TOTAL) as large:
        tenth = [swept(small) for _ in range(bench.repeats)]
        sweeps = [swept(large) for _ in range(bench.repeats)]
        singles = [deleted(large) for _ in range(bench.repeats)]
        quiet, beside_sweep, beside_single = (
            [served(large, meanwhile) for _ in range(bench.repeats)] for meanwhile in (nothing, command, single)
        )
    yield from figures(tenth, sweeps, singles)
    yield from latencies("claim", quiet, beside_sweep, beside_single, of=lambda found: found.claims)
    yield from latencies("refresh", quiet, beside_sweep, beside_single, of=lambda found: found.refreshes)
    yield Row.of("lifecycle", "live refreshes held up, sweep", [found.held_up for found in beside_sweep], "refreshes")


def figures(tenth: Sequence[Cleaned], sweeps: Sequence[Cleaned], singles: Sequence[Cleaned]) -> Iterator[Row]:
    """What a sweep costs beside one DELETE, and beside a sweep of a tenth."""

    def row(case: str, found: Sequence[Cleaned], unit: str, of: Callable[[Cleaned], float], against: Row | None) -> Row:
        return Row.of("lifecycle", case, [of(each) for each in found], unit, against=against)

    name = f"{TOTAL // 2:,} of {TOTAL:,} sessions"
    one_delete = row(f"{name}, one DELETE", singles, "s", lambda each: each.seconds, None)
    less = row(f"{TOTAL // 20:,} of {TOTAL // 10:,} sessions, sweep", tenth, "s", lambda each: each.seconds, None)
    yield from (one_delete, less)
    yield row(f"{name}, sweep", sweeps, "s", lambda each: each.seconds, one_delete)
    yield row(f"{name}, sweep, ten times the rows", sweeps, "s", lambda each: each.seconds, less)
    yield row(f"{name}, sweep", sweeps, "rows/s", lambda each: each.rows / each.seconds, None)
    longest = row("longest transaction, one DELETE", singles, "ms", lambda each: each.longest * 1000, None)
    yield longest
    yield row("longest transaction, sweep", sweeps, "ms", lambda each: each.longest * 1000, longest)
    wal = row("WAL a session, one DELETE", singles, "bytes", lambda each: each.wal, None)
    yield wal
    yield row("WAL a session, sweep", sweeps, "bytes", lambda each: each.wal, wal)


def latencies(call: str, *found: Sequence[Served], of: Callable[[Served], Sequence[float]]) -> Iterator[Row]:
    """The p99 of a call while nothing goes on, beside a sweep, and beside one DELETE."""
    quiet = None
    for case, served_then in zip(("nothing", "a sweep", "one DELETE"), found, strict=True):
        values = [quantiles(of(each), n=100)[98] for each in served_then]
        row = Row.of("lifecycle", f"p99 of a {call} beside {case}", values, "ms", against=quiet)
        quiet = quiet or row
        yield row


@contextmanager
def filled(bench: Bench, total: int) -> Iterator[Bench]:
    """A database with so many sessions, to be copied for each measurement."""
    with bench.copied() as copy:
        with copy.connect() as connection:
            for statement in FILL:
                connection.execute(statement.encode(), {"total": total} if "%(total)s" in statement else {})
            connection.execute("VACUUM ANALYZE")
            connection.execute("CHECKPOINT")
        yield replace(copy, template=copy.url)


def swept(bench: Bench) -> Cleaned:
    """Carry the policy out, without the pauses that it makes for others."""
    policy = policies.named(Settings(_env_file=None), "expired_sessions")
    with bench.copied() as copy, copy.connect() as connection:
        database, before = engine(copy.url), wal_position(connection)
        report = carry_out(replace(policy, pause=timedelta()), database)
        database.dispose()
        assert (report.ended, report.remaining) == (Ended.DONE, 0)
        wal = (wal_position(connection) - before) / report.removed
    return Cleaned(rows=report.removed, seconds=report.seconds, longest=report.longest, wal=wal)


def deleted(bench: Bench) -> Cleaned:
    """Delete all in one statement."""
    with bench.copied() as copy, copy.connect() as connection:
        before, began = wal_position(connection), perf_counter()
        rows = connection.execute(SINGLE).rowcount
        seconds = perf_counter() - began
        wal = (wal_position(connection) - before) / rows
    return Cleaned(rows=rows, seconds=seconds, longest=seconds, wal=wal)


def nothing(_bench: Bench) -> None:
    """Let some time pass."""
    sleep(QUIET)


def command(bench: Bench) -> None:
    """A sweep as an operator would have it, pauses included."""
    argv = (sys.executable, "-m", "worker", "maintenance", "run", "expired_sessions", "--json")
    env = inherited({"MAINTENANCE_DATABASE_URL": bench.url.libpq})
    done = subprocess.run(argv, cwd=ROOT, env=env, check=True, stdout=subprocess.PIPE, timeout=600)
    report: Mapping[str, object] = json.loads(done.stdout)
    assert report["ended"] == "done"


def single(bench: Bench) -> None:
    """One DELETE."""
    with bench.connect() as connection:
        connection.execute(SINGLE)


def served(bench: Bench, meanwhile: Callable[[Bench], None]) -> Served:
    """Claim tasks and refresh live sessions for as long as `meanwhile` takes."""
    found, over = Served(), threading.Event()
    with bench.copied() as copy:
        users = [threading.Thread(target=each, args=(copy, found, over)) for each in (claims, refreshes)]
        for user in users:
            user.start()
        meanwhile(copy)
        over.set()
        for user in users:
            user.join()
    return found


def claims(bench: Bench, found: Served, over: threading.Event) -> None:
    """Time one claim after the other."""
    with bench.connect() as connection, Database(bench.worker_url) as database:
        tasks = [row[0] for row in connection.execute("SELECT id FROM public.tasks ORDER BY id")]
        for task in tasks:
            if over.is_set():
                return
            found.claims.append(1000 * claim(database, task))
            sleep(PACE)


def refreshes(bench: Bench, found: Served, over: threading.Event) -> None:
    """Time one refresh after the other, of sessions that are not expired."""
    with bench.connect() as connection:
        living = "SELECT id FROM auth.sessions WHERE not_after > now() LIMIT 5000"
        sessions = [row[0] for row in connection.execute(living)]
        while not over.is_set():
            began = perf_counter()
            found.held_up += not refreshed(connection, random.choice(sessions))  # noqa: S311 - any will do
            found.refreshes.append(1000 * (perf_counter() - began))
            sleep(PACE)


def refreshed(connection: psycopg.Connection, session: object) -> bool:
    """As GoTrue does it; False where a row is locked."""
    with connection.transaction():
        last = "SELECT id FROM auth.refresh_tokens WHERE session_id = %s AND NOT revoked FOR UPDATE SKIP LOCKED"
        token = connection.execute(last, [session]).fetchone()
        held = connection.execute("SELECT id FROM auth.sessions WHERE id = %s FOR UPDATE SKIP LOCKED", [session])
        if token is None or held.fetchone() is None:
            return False
        connection.execute("UPDATE auth.refresh_tokens SET revoked = true, updated_at = now() WHERE id = %s", token)
        insert = (
            "INSERT INTO auth.refresh_tokens (token, session_id, revoked, updated_at) VALUES (%s, %s, false, now())"
        )
        connection.execute(insert, [random.randbytes(16).hex(), session])  # noqa: S311 - no secret
        connection.execute("UPDATE auth.sessions SET updated_at = now() WHERE id = %s", [session])
    return True
