"""What users notice while something else goes on: claims of tasks and refreshes of sessions, timed one by one."""

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter, sleep
from typing import LiteralString

import psycopg

from bench.growth import claim
from bench.measure import Bench
from db.engine import Database

PACE = 0.01
"""Seconds between two calls of the same kind."""
LIVE: LiteralString = """
INSERT INTO auth.users (id) SELECT gen_random_uuid() FROM generate_series(1, 10000);
INSERT INTO auth.sessions (id, user_id, not_after, created_at, updated_at)
    SELECT gen_random_uuid(), id, now() + interval '4 days', now() - interval '30 days', now()
    FROM auth.users LIMIT 5000;
INSERT INTO auth.refresh_tokens (token, user_id, session_id, revoked, created_at, updated_at)
    SELECT md5(id::text), user_id, id, false, created_at, updated_at FROM auth.sessions;
INSERT INTO public.tasks (user_id, prompt, selected_agent)
    SELECT users.ids[1 + n % cardinality(users.ids)], 'bench', 'rehearsal'
    FROM (SELECT array_agg(id) AS ids FROM auth.users) AS users, generate_series(1, 20000) AS n
"""
"""Users, some of them signed in for days to come, and tasks to claim."""


@dataclass(slots=True, kw_only=True)
class Calls:
    """How long calls took, in milliseconds."""

    claims: list[float] = field(default_factory=list)
    refreshes: list[float] = field(default_factory=list)
    held_up: int = 0
    """Refreshes that found a row locked."""


def beside(bench: Bench, meanwhile: Callable[[Bench], None], calls: Calls) -> None:
    """Claim tasks and refresh live sessions for as long as `meanwhile` takes, and add how long each took."""
    over = threading.Event()
    users = [threading.Thread(target=each, args=(bench, calls, over)) for each in (claims, refreshes)]
    for user in users:
        user.start()
    try:
        meanwhile(bench)
    finally:
        over.set()
        for user in users:
            user.join()


def claims(bench: Bench, calls: Calls, over: threading.Event) -> None:
    """One claim after the other."""
    with bench.connect() as connection, Database(bench.worker_url) as database:
        tasks = [row[0] for row in connection.execute("SELECT id FROM public.tasks ORDER BY id")]
        for task in tasks:
            if over.is_set():
                return
            calls.claims.append(1000 * claim(database, task))
            sleep(PACE)


def refreshes(bench: Bench, calls: Calls, over: threading.Event) -> None:
    """One refresh after the other, of sessions that are not expired."""
    with bench.connect() as connection:
        living = "SELECT id FROM auth.sessions WHERE not_after > now() LIMIT 5000"
        sessions = [row[0] for row in connection.execute(living)]
        while not over.is_set():
            began = perf_counter()
            calls.held_up += not refreshed(connection, random.choice(sessions))  # noqa: S311 - any will do
            calls.refreshes.append(1000 * (perf_counter() - began))
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
