"""Sweeps beside live traffic: users whose sessions GoTrue refreshes meanwhile notice nothing of it."""

import random
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from threading import Event
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import Engine, event

from db.engine import engine as engine_of
from db.url import DatabaseUrl
from tests.support.auth import Auth, policy
from tests.support.projects import Projects
from tests.support.rows import Rows
from worker.maintenance.sweep import Ended, Report, carry_out

LIVE, EXPIRED, IDLE = 400, 6000, 600
SWEEPS = (
    replace(policy("expired_sessions"), largest=30, first=30, pause=timedelta(milliseconds=5)),
    replace(policy("revoked_refresh_tokens"), largest=30, first=30, pause=timedelta(milliseconds=5)),
    replace(
        policy("inactive_sessions", session_inactivity=timedelta(days=1)),
        largest=30,
        first=30,
        pause=timedelta(milliseconds=5),
    ),
)
WATCHED = ("log_lock_waits = on", "deadlock_timeout = '1s'", "client_min_messages = log")
"""The server tells whoever waits for a lock for a second, and the one who waits is told too."""


@dataclass(slots=True)
class GoTrue:
    """Refreshes sessions as GoTrue does: token, then session, each passed over where it is locked."""

    url: DatabaseUrl
    waits: list[str]
    refreshed: int = 0
    gone: set[UUID] = field(default_factory=set)
    failed: list[tuple[UUID, float]] = field(default_factory=list)
    """Sessions that were there and could not be refreshed, and for how long that was so."""

    def serve(self, sessions: list[UUID], over: Event, seed: int) -> None:
        chance = random.Random(seed)
        with psycopg.connect(self.url.libpq) as connection:
            connection.add_notice_handler(lambda notice: self.waits.append(notice.message_primary or ""))
            while not over.is_set():
                self.see_to(connection, chance.choice(sessions))

    def see_to(self, connection: psycopg.Connection, session: UUID) -> None:
        """Try until it is refreshed or gone; a user's client tries again likewise."""
        began = time.monotonic()
        failures = 0
        while session not in self.gone and not refresh(connection, session):
            if not connection.execute("SELECT FROM auth.sessions WHERE id = %s", [session]).fetchall():
                self.gone.add(session)
            connection.rollback()
            failures += 1
        if failures and session not in self.gone:
            self.failed.append((session, time.monotonic() - began))
        self.refreshed += session not in self.gone


def refresh(connection: psycopg.Connection, session: UUID) -> bool:
    """One refresh in a transaction; False when a row is locked, or is not there."""
    with connection.transaction() as refreshing:
        token = connection.execute(
            """SELECT id FROM auth.refresh_tokens WHERE session_id = %s AND NOT revoked
            ORDER BY id DESC LIMIT 1 FOR UPDATE SKIP LOCKED""",
            [session],
        ).fetchone()
        held = connection.execute("SELECT id FROM auth.sessions WHERE id = %s FOR UPDATE SKIP LOCKED", [session])
        if token is None or held.fetchone() is None:
            raise psycopg.Rollback(refreshing)
        connection.execute("UPDATE auth.refresh_tokens SET revoked = true, updated_at = now() WHERE id = %s", token)
        connection.execute(
            "INSERT INTO auth.refresh_tokens (token, session_id, revoked, updated_at) VALUES (%s, %s, false, now())",
            [str(uuid4()), session],
        )
        connection.execute(
            "UPDATE auth.sessions SET refreshed_at = timezone('UTC', now()), updated_at = now() WHERE id = %s",
            [session],
        )
        return True
    return False


@pytest.fixture
def waits(rows: Rows) -> list[str]:
    """What the server says of locks that were waited for."""
    database = sql.Identifier(rows.connection.info.dbname)
    for setting in WATCHED:
        rows.connection.execute(sql.SQL("ALTER DATABASE {} SET " + setting).format(database))
    return []


@contextmanager
def listening(url: DatabaseUrl, waits: list[str]) -> Iterator[Engine]:
    engine = engine_of(url)

    def listen(connection: psycopg.Connection, _record: object) -> None:
        connection.add_notice_handler(lambda notice: waits.append(notice.message_primary or ""))

    event.listen(engine, "connect", listen)
    yield engine
    engine.dispose()


def test_traffic_goes_on_while_sweeps_overlap(auth: Auth, rows: Rows, owner_url: DatabaseUrl, waits: list[str]) -> None:
    """Two workers sweep sessions, idle ones and tokens, all at once, while users come back, some to what is expired.

    No two users share a session: whatever keeps one from being refreshed is us.
    """
    auth.many(EXPIRED)
    idle = made_idle(rows)
    live = populated(auth, rows)
    gotrue, over = GoTrue(owner_url, waits), Event()
    everybody = [*live, *idle, *list(auth.sessions() - {*live, *idle})[: LIVE // 2]]
    with ThreadPoolExecutor(10) as pool, listening(owner_url, waits) as engine:
        users = [pool.submit(gotrue.serve, everybody[seed::4], over, seed) for seed in range(4)]
        reports = [each.result() for each in swept(pool, engine)]
        over.set()
        for user in users:
            user.result()

    assert {report.ended for report in reports} == {Ended.DONE}
    assert waits == []
    assert rows.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == [
        {"deadlocks": 0}
    ]
    assert live <= auth.sessions()
    assert not gotrue.gone & live
    assert gotrue.refreshed > 100
    assert gotrue.gone
    longest_batch = max(report.longest for report in reports)
    assert [each for each in gotrue.failed if each[0] in live] == []
    assert [each for each in gotrue.failed if each[1] > longest_batch + 0.5] == []


def swept(pool: ThreadPoolExecutor, engine: Engine) -> list[Future[Report]]:
    return [pool.submit(carry_out, policy, engine) for policy in SWEEPS for _ in range(2)]


def populated(auth: Auth, rows: Rows) -> set[UUID]:
    """Sessions that never expire, with a token in use and old ones that were revoked."""
    before = auth.sessions()
    auth.many(LIVE, expired=False)
    live = auth.sessions() - before
    rows.execute(
        """INSERT INTO auth.refresh_tokens (token, session_id, revoked, updated_at)
        SELECT gen_random_uuid()::text, id, true, now() - make_interval(days => 30 + n)
        FROM unnest(%s::uuid[]) AS id, generate_series(1, 10) AS n""",
        list(live),
    )
    return live


def made_idle(rows: Rows) -> list[UUID]:
    """Of those that expire some that have no end, and that nobody used for long: a refresh saves one."""
    rows.execute("UPDATE auth.refresh_tokens SET updated_at = now() - interval '9 days'")
    changed = rows.execute(
        """UPDATE auth.sessions SET not_after = NULL, created_at = now() - interval '1 year',
            updated_at = now() - interval '9 days', refreshed_at = now() - interval '9 days'
        WHERE id IN (SELECT id FROM auth.sessions WHERE not_after < now() LIMIT %s) RETURNING id""",
        IDLE,
    )
    return [row["id"] for row in changed]


def test_a_wait_of_a_second_would_have_been_told(rows: Rows, owner_url: DatabaseUrl, waits: list[str]) -> None:
    rows.task()
    with (
        psycopg.connect(owner_url.libpq) as holder,
        listening(owner_url, waits) as engine,
        ThreadPoolExecutor() as pool,
    ):
        holder.execute("SELECT FROM public.tasks FOR UPDATE")
        with engine.connect() as connection:
            waiting = pool.submit(connection.exec_driver_sql, "SELECT id FROM public.tasks FOR UPDATE")
            while not waits:
                time.sleep(0.01)
            holder.commit()
            waiting.result()

    assert "still waiting for ShareLock" in waits[0]


def test_a_batch_holds_nothing_but_what_it_removes(auth: Auth, rows: Rows, engine: Engine) -> None:
    """While a deletion goes on, slowed down, every live session among those that the batch looked at can be had."""
    auth.many(30)
    made_idle(rows)
    live = populated(auth, rows)
    rows.execute(
        """CREATE FUNCTION public.slowly() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN PERFORM pg_sleep(0.05); RETURN OLD; END $$"""
    )
    rows.execute("CREATE TRIGGER slowly BEFORE DELETE ON auth.sessions FOR EACH ROW EXECUTE FUNCTION public.slowly()")
    whole = replace(SWEEPS[2], first=1000, largest=1000, transaction=timedelta(seconds=5))
    with ThreadPoolExecutor(1) as pool:
        sweeping = pool.submit(carry_out, whole, engine)
        while not rows.execute("SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep'"):
            assert not sweeping.done()
        free = rows.execute("SELECT id FROM auth.sessions FOR UPDATE SKIP LOCKED")
        assert not sweeping.done()

    assert {row["id"] for row in free} == live
    assert sweeping.result().removed == 30


@dataclass(slots=True)
class Writer:
    """Users at work on projects: they write to live ones, and put others into the bin and take them out again."""

    url: DatabaseUrl
    waits: list[str]
    written: int = 0
    gone: set[UUID] = field(default_factory=set)

    def work(self, projects: list[UUID], over: Event, seed: int) -> None:
        chance = random.Random(seed)
        with psycopg.connect(self.url.libpq, autocommit=True) as connection:
            connection.add_notice_handler(lambda notice: self.waits.append(notice.message_primary or ""))
            while not over.is_set():
                self.write(connection, chance.choice(projects), delete=chance.random() < 0.3)

    def write(self, connection: psycopg.Connection, project: UUID, *, delete: bool) -> None:
        """A message, a file and the project itself in one transaction, as long as the project is there."""
        with suppress(psycopg.errors.ForeignKeyViolation), connection.transaction():
            for statement in WRITES:
                connection.execute(statement.encode(), {"project": project})
            if delete:
                connection.execute("UPDATE public.projects SET deleted_at = now() WHERE id = %s", [project])
            else:
                connection.execute("UPDATE public.projects SET deleted_at = NULL WHERE id = %s", [project])
            self.written += 1
            return
        self.gone.add(project)


WRITES = (
    """INSERT INTO public.messages (project_id, role, content, sequence_number)
    SELECT %(project)s, 'user', '{}', 1 + COALESCE(max(sequence_number), 0) FROM public.messages
    WHERE project_id = %(project)s""",
    """INSERT INTO public.file_uploads (user_id, project_id, file_name, file_path, bucket_name)
    SELECT user_id, id, 'file', id || '/' || gen_random_uuid(), 'project-files' FROM public.projects
    WHERE id = %(project)s""",
)


def test_projects_are_written_while_others_are_purged(
    projects: Projects, rows: Rows, owner_url: DatabaseUrl, waits: list[str]
) -> None:
    """Two workers purge, while users write to live projects, and restore some of those that are about to go."""
    live, old = projects.make(20), projects.make(600, deleted=31)
    purge = replace(policy("soft_deleted_projects"), first=5, largest=5, pause=timedelta(milliseconds=5))
    writer, over = Writer(owner_url, waits), Event()
    with ThreadPoolExecutor(6) as pool, listening(owner_url, waits) as engine:
        users = [pool.submit(writer.work, [*live[seed::4], *old[400 + seed :: 4]], over, seed) for seed in range(4)]
        reports = [each.result() for each in [pool.submit(carry_out, purge, engine) for _ in range(2)]]
        over.set()
        for user in users:
            user.result()

    there = projects.there()
    assert {report.ended for report in reports} == {Ended.DONE}
    assert waits == []
    assert rows.execute(DEADLOCKS) == [{"deadlocks": 0}]
    assert writer.written > 100
    assert set(live) <= there
    assert there & set(old[:400]) == set()
    assert {each["project_id"] for each in rows.execute("SELECT project_id FROM public.messages")} <= there
    purged = {each["project"] for each in projects.outbox()}
    assert purged == {*live, *old} - there
    assert rows.execute(HALF_EMPTY) == []


DEADLOCKS = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
HALF_EMPTY = """
SELECT FROM public.projects WHERE (SELECT count(*) FROM public.fragments WHERE project_id = projects.id) <> 2
    OR (SELECT count(*) FROM public.file_uploads WHERE project_id = projects.id) < 2"""
