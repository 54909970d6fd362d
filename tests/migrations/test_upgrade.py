"""Migrations: clean by Alembic's own comparison, up and down again, twice at once, interrupted, adopted."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import psycopg
import pytest
from alembic.script import ScriptDirectory

from db import migrate
from db.engine import Database
from db.errors import PoolerRefused
from db.queries import queue
from db.url import DatabaseUrl
from tests.conftest import WORKER_PASSWORD
from tests.support.rows import Rows

SNAPSHOT = """
SELECT n.nspname, c.relname, c.relkind::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
UNION ALL SELECT n.nspname, p.proname, 'function' FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
UNION ALL SELECT nspname, '', 'schema' FROM pg_namespace WHERE nspname !~ '^pg_'
ORDER BY 1, 2, 3
"""
WRITTEN = """
SELECT max(xmin::text::bigint) AS newest, count(*) FROM (
    SELECT xmin FROM pg_class UNION ALL SELECT xmin FROM pg_attribute UNION ALL SELECT xmin FROM pg_proc
    UNION ALL SELECT xmin FROM pg_policy UNION ALL SELECT xmin FROM pg_trigger UNION ALL SELECT xmin FROM pg_constraint
    UNION ALL SELECT xmin FROM pg_namespace UNION ALL SELECT xmin FROM pg_type UNION ALL SELECT xmin FROM pg_extension
    UNION ALL SELECT xmin FROM pg_authid UNION ALL SELECT xmin FROM pg_auth_members
    UNION ALL SELECT xmin FROM pg_description UNION ALL SELECT xmin FROM pg_default_acl
    UNION ALL SELECT xmin FROM worker.created_objects UNION ALL SELECT xmin FROM worker.alembic_version
    UNION ALL SELECT xmin FROM storage.buckets) AS entry
"""
"""The last transaction that wrote to the catalog or to our own record."""
APPS_OWN_TABLE = """
CREATE SCHEMA IF NOT EXISTS auth;
CREATE TABLE auth.users (id uuid PRIMARY KEY, of_supabase text);
CREATE TABLE public.tasks (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, user_id uuid NOT NULL REFERENCES auth.users ON DELETE CASCADE,
    status text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'processing', 'completed', 'error')),
    progress int NOT NULL DEFAULT 0, prompt text NOT NULL, repo_url text, selected_agent text DEFAULT 'claude',
    selected_model text, sandbox_url text, branch_name text, logs jsonb DEFAULT '[]',
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now(), of_the_app int
);
"""


def snapshot(url: DatabaseUrl) -> list[tuple[str, ...]]:
    with psycopg.connect(url.libpq) as connection:
        return connection.execute(SNAPSHOT).fetchall()


def names(url: DatabaseUrl) -> list[str]:
    return [finding.name for finding in migrate.differences(url)]


def test_an_upgraded_database_is_what_the_models_say(owner_url: DatabaseUrl) -> None:
    assert migrate.differences(owner_url) == []


def test_a_difference_is_told(owner_url: DatabaseUrl, rows: Rows) -> None:
    rows.execute("DROP INDEX public.worker_tasks_pending")

    assert names(owner_url) == ["index:public.worker_tasks_pending"]


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ("DROP FUNCTION worker.ring", "worker:functions"),
        ("REVOKE EXECUTE ON FUNCTION worker.recover FROM task_worker", "worker:functions"),
        ("ALTER TABLE public.tasks DISABLE TRIGGER worker_ring_for_pending", "worker:trigger"),
        ("ALTER TABLE worker.runs DROP CONSTRAINT runs_pkey", "worker:constraints"),
        ("ALTER TABLE public.tasks DISABLE ROW LEVEL SECURITY", "policies:public.tasks"),
        ('CREATE POLICY "all" ON public.tasks USING (true)', "policies:public.tasks"),
        ("GRANT SELECT ON worker.leases TO anon", "worker:rights"),
    ],
)
def test_what_alembic_does_not_see_is_told_too(owner_url: DatabaseUrl, rows: Rows, change: str, name: str) -> None:
    rows.connection.execute(change)

    assert names(owner_url) == [name]


def test_an_upgrade_mends_the_protocol(owner_url: DatabaseUrl, rows: Rows) -> None:
    rows.execute("DROP FUNCTION worker.ring")
    rows.execute("COMMENT ON SCHEMA worker IS 'older'")
    assert [each for each in migrate.differences(owner_url) if "db upgrade" in each.sentence]

    migrate.upgrade(owner_url)

    assert migrate.differences(owner_url) == []


def test_every_step_goes_down_and_up_again(empty: DatabaseUrl) -> None:
    before = snapshot(empty)
    migrate.upgrade(empty)
    after = snapshot(empty)
    for script in ScriptDirectory.from_config(migrate._config(None)).walk_revisions():
        revision = str(script.down_revision or "base")
        migrate.downgrade(empty, revision)
        migrate.upgrade(empty)
        assert snapshot(empty) == after
        assert migrate.differences(empty) == []
    migrate.downgrade(empty, "base")
    assert snapshot(empty) == before


def test_files_in_the_outbox_outlive_each_step_and_whose_row_named_none_is_known_belong_to_nobody(
    empty: DatabaseUrl,
) -> None:
    migrate.upgrade(empty)
    with psycopg.connect(empty.libpq, autocommit=True) as connection:
        for name in ("twice", "twice", "once"):
            connection.execute(NOTED, [name])
    migrate.downgrade(empty, "0012")
    migrate.upgrade(empty)

    with psycopg.connect(empty.libpq) as connection:
        found = connection.execute("SELECT name, named_by <> owner FROM worker.orphaned_files ORDER BY name").fetchall()
    assert found == [("once", True), ("twice", True)]


NOTED = """
INSERT INTO worker.orphaned_files (bucket, name, owner, named_by, project)
SELECT 'files', %s, owner, owner, owner FROM (VALUES ('11111111-1111-1111-1111-111111111111'::uuid)) AS v (owner)"""


def test_an_upgrade_of_what_is_up_to_date_does_nothing(owner_url: DatabaseUrl, rows: Rows) -> None:
    before = rows.execute(WRITTEN)
    assert migrate.upgrade(owner_url) == migrate.newest()
    assert rows.execute(WRITTEN) == before


def test_two_upgrades_at_once_are_harmless(empty: DatabaseUrl) -> None:
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(migrate.upgrade, [empty] * 4)) == [migrate.newest()] * 4
    assert migrate.differences(empty) == []


def test_an_index_that_an_interrupted_upgrade_left_invalid_is_built_anew(owner_url: DatabaseUrl, rows: Rows) -> None:
    migrate.downgrade(owner_url, "0003")
    rows.execute("CREATE INDEX worker_tasks_pending ON public.tasks (user_id, id) WHERE status = 'pending'")
    rows.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'public.worker_tasks_pending'::regclass")

    migrate.upgrade(owner_url)

    assert migrate.differences(owner_url) == []
    assert rows.execute("SELECT FROM pg_index WHERE NOT indisvalid") == []


def test_an_upgrade_waits_for_a_transaction_that_is_open_for_longer_than_its_lock_timeout(
    owner_url: DatabaseUrl, rows: Rows
) -> None:
    migrate.downgrade(owner_url, "0003")
    rows.task()
    with ThreadPoolExecutor() as pool, psycopg.connect(owner_url.libpq) as slow:
        slow.execute("UPDATE public.tasks SET progress = 1")
        upgrading = pool.submit(migrate.upgrade, owner_url)
        with pytest.raises(TimeoutError):
            upgrading.result(timeout=5)
        slow.commit()
        assert upgrading.result(timeout=20) == migrate.newest()

    assert migrate.differences(owner_url) == []


def test_tables_of_the_apps_own_are_adopted_and_served_with_a_status_of_text(empty: DatabaseUrl) -> None:
    with psycopg.connect(empty.libpq, autocommit=True) as connection:
        connection.execute(APPS_OWN_TABLE)
        before = snapshot(empty)
    migrate.upgrade(empty)
    rows = Rows(empty)
    task, put_off, cancelled = rows.task(), rows.task(), rows.task()
    with Database(empty.as_role("task_worker", WORKER_PASSWORD)) as database:
        assert sorted(queue.offer(database, 9, per_user=5, timeout=timedelta(seconds=60))) == [task, put_off, cancelled]
        claims = [
            queue.claim(
                database, each, holder="w", celery_id=None, ttl=timedelta(seconds=30), per_user=5, prompt_limit=99
            )
            for each in (task, put_off)
        ]
        first, second = claims
        assert first
        assert second
        assert queue.tick(database, task, fence=first.fence, ttl=timedelta(seconds=30)) == "processing"
        assert queue.append(database, task, fence=first.fence, flush=1, entries=[], progress=50).refusal is None
        ended = queue.finish(database, task, fence=first.fence, outcome="completed", entries=[], error=None, usage={})
        given_back = queue.give_back(database, put_off, fence=second.fence, cause="crash", bound=3, delay=timedelta())
        assert (ended, given_back) == ("completed", "pending")
        assert queue.cancel(database, cancelled, why="no") == "pending"
        assert queue.retry(database, task) == "completed"
        assert [rows.status(each) for each in (task, put_off, cancelled)] == ["pending", "pending", "error"]
    rows.close()

    migrate.downgrade(empty, "base")
    assert [thing for thing in snapshot(empty) if thing in before] == before


def test_a_transaction_pooler_is_refused(owner_url: DatabaseUrl) -> None:
    pooled = DatabaseUrl.parse(f"{owner_url.libpq}?pgbouncer=true")
    with pytest.raises(PoolerRefused):
        migrate.upgrade(pooled)
