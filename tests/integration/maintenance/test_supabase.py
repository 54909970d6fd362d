"""On Supabase: as its role `postgres`, which owns neither auth nor its tables and is no superuser."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Connection, Engine

from db import migrate
from db.engine import engine as engine_of
from db.url import DatabaseUrl
from tests.migrations import beds
from tests.migrations.conftest import pristine
from tests.support.auth import Auth, policy
from tests.support.rows import Rows
from tests.support.watching import watching
from worker.maintenance import policies
from worker.maintenance.retention import RetentionPolicy
from worker.maintenance.sweep import Clocked, Ended, carry_out
from worker.settings import Settings

__all__ = ["pristine"]

ALL_ON = {
    "session_timebox": timedelta(days=7),
    "session_inactivity": timedelta(days=7),
    "finished_task_retention": timedelta(days=7),
}


@pytest.fixture
def project(pristine: DatabaseUrl) -> DatabaseUrl:
    """A Supabase project with the worker's own tables, as its `postgres`."""
    owner = beds.supabase(pristine)
    migrate.upgrade(owner)
    return owner


def on_rows(tmp_path: Path) -> list[RetentionPolicy]:
    """Every policy of rows, switched on."""
    chosen = Settings(_env_file=None, state_dir=tmp_path, **ALL_ON)  # type: ignore[arg-type]  # a value each
    return [each for each in policies.policies(chosen) if each.batch and each.batch.rights]


def test_every_policy_is_allowed_to_the_projects_owner(
    project: DatabaseUrl, pristine: DatabaseUrl, tmp_path: Path
) -> None:
    with psycopg.connect(project.libpq) as connection:
        [(superuser,)] = connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchall()
        assert not superuser
    auth = Auth(Rows(pristine))
    expired, kept = auth.session(expired=100), auth.session()
    auth.token(expired, updated=1, revoked=False)
    auth.token(kept, updated=24 * 31, revoked=True)
    engine = engine_of(project)

    reports = {each.name: carry_out(each, engine) for each in on_rows(tmp_path)}
    left = auth.sessions(), auth.tokens()
    engine.dispose()
    auth.rows.close()

    assert {report.ended for report in reports.values()} == {Ended.DONE}, reports
    assert reports["expired_sessions"].removed == 1
    assert reports["revoked_refresh_tokens"].removed == 1
    assert left == ({kept}, set())


MANY = """
INSERT INTO auth.users (id) SELECT gen_random_uuid() FROM generate_series(1, 100);
INSERT INTO auth.sessions (id, user_id, not_after, created_at, updated_at)
    SELECT gen_random_uuid(), users.ids[1 + n % 100], now() - (n - 15000) * interval '1 minute', now(), now()
    FROM (SELECT array_agg(id) AS ids FROM auth.users) AS users, generate_series(1, 30000) AS n;
INSERT INTO auth.refresh_tokens (token, session_id, revoked, updated_at)
    SELECT 't' || row_number() OVER (), id, row_number() OVER () % 2 = 0,
        now() - row_number() OVER () * interval '3 minutes' FROM auth.sessions;
INSERT INTO public.tasks (user_id, status, prompt, created_at, updated_at)
    SELECT users.ids[1 + n % 100], 'completed', 'x', now() - n * interval '3 minutes', now() - n * interval '3 minutes'
    FROM (SELECT array_agg(id) AS ids FROM auth.users) AS users, generate_series(1, 30000) AS n;
INSERT INTO worker.runs (fence, task_id, user_id, attempt, holder, started_at)
    SELECT n, n, gen_random_uuid(), 1, 'h', now() - n * interval '15 minutes' FROM generate_series(1, 30000) AS n;
INSERT INTO worker.schedule_slots (name, scheduled_for, taken_at, holder)
    SELECT 'runs', now() - n * interval '5 minutes', now() - n * interval '5 minutes', 'h'
    FROM generate_series(1, 30000) AS n;
ANALYZE auth.users, auth.sessions, auth.refresh_tokens, public.tasks, worker.runs, worker.schedule_slots;
"""
TABLES = ("sessions", "refresh_tokens", "tasks", "runs", "schedule_slots", "mfa_amr_claims")
SIZE = 200


@pytest.fixture(params=["our own", "Supabase"])
def large(request: pytest.FixtureRequest, owner_url: DatabaseUrl) -> Iterator[Connection]:
    """A database with large tables, ours or Supabase's, as its superuser."""
    url = owner_url
    if request.param == "Supabase":
        url = request.getfixturevalue("pristine")
        migrate.upgrade(beds.supabase(url))
    with psycopg.connect(url.libpq, autocommit=True) as connection:
        connection.execute(MANY.encode())
    engine = engine_of(url)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


@pytest.mark.parametrize(
    "name",
    [
        *("expired_sessions", "overlong_sessions", "inactive_sessions"),
        *("revoked_refresh_tokens", "finished_tasks", "runs", "schedule_slots"),
    ],
)
def test_every_batch_goes_along_an_index_and_reads_no_more_than_its_size(large: Connection, name: str) -> None:
    """First with nothing behind it, then from a cursor in the middle; each reads a row about four times."""
    batch = policy(name, **ALL_ON).batch
    assert batch
    with watching(large) as plans, Clocked(large.engine) as session:
        session.bind = large
        plans()
        first = batch.remove(session, SIZE, None)
        began = plans()
        batch.remove(session, SIZE, first.last)
        went_on = plans()

    assert first.last
    for found in (began, went_on):
        assert found.scans(*TABLES) == []
        assert found.rows_of(*TABLES) <= 10 * SIZE, [str(node) for node in found.nodes if node.rows > SIZE]
        assert found.sorts(above=2 * SIZE) == []


def test_a_session_with_many_tokens_is_a_batch_of_its_own(auth: Auth, engine: Engine, rows: Rows) -> None:
    """Its tokens are what takes the time: the batch that has it is undone, and smaller ones find a size that fits."""
    auth.many(200)
    heavy = auth.session(expired=24 * 29)
    rows.execute(
        """INSERT INTO auth.refresh_tokens (token, session_id, revoked, updated_at)
        SELECT 'of the heavy one ' || n, %s, true, now() FROM generate_series(1, 100000) AS n""",
        heavy,
    )

    report = carry_out(replace(policy("expired_sessions"), first=500, pause=timedelta()), engine)

    assert (report.removed, report.ended) == (201, Ended.DONE)
    assert auth.tokens() == set()
    assert auth.sessions() == set()
