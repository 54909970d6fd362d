"""The guard of tasks that are processing: what their owners may still write, and that the worker is not held up."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from db.engine import Database
from db.queries import queue
from db.url import DatabaseUrl
from tests.support.rows import Rows

ENTRY = {"id": "x" * 21, "timestamp": "2026-01-01T00:00:00.000Z", "type": "info", "message": "of the owner's"}
TTL = timedelta(seconds=30)
REFUSING = """
    CREATE OR REPLACE FUNCTION {}() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION 'called'; END $$
"""
NOT_PROCESSING = ("pending", "completed", "error")
WORKERS = {
    "status": "completed",
    "progress": 99,
    "logs": Jsonb([ENTRY]),
}
"""What is the worker's while a task is processing, with values that its owner might write."""


@pytest.fixture
def me(rows: Rows) -> UUID:
    return rows.user()


@pytest.fixture
def app(owner_url: DatabaseUrl, me: UUID) -> Iterator[Rows]:
    """The web app, with a user signed in."""
    opened = Rows(owner_url)
    opened.execute("SELECT set_config('request.jwt.claims', json_build_object('sub', %s::text)::text, false)", str(me))
    opened.execute("SET ROLE authenticated")
    yield opened
    opened.close()


def write(app: Rows, task: int, **columns: Any) -> int:
    """As supabase-js writes `update(columns).eq('id', task)`; answers how many rows it changed."""
    assignments = sql.SQL(", ").join(sql.SQL("{} = %s").format(sql.Identifier(name)) for name in columns)
    statement = sql.SQL("UPDATE public.tasks SET {}, updated_at = now() WHERE id = %s").format(assignments)
    return app.connection.execute(statement, [*columns.values(), task]).rowcount


@pytest.mark.parametrize("column", WORKERS)
def test_the_owner_of_a_processing_task_does_not_write_what_is_the_workers(
    rows: Rows, app: Rows, me: UUID, column: str
) -> None:
    task = rows.task(user=me, status="processing", progress=40)
    before = rows.see(task)

    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="set only its status, to error, or delete the row"):
        write(app, task, **{column: WORKERS[column]})

    assert rows.see(task) == before


@pytest.mark.parametrize("column", ["progress", "logs"])
def test_a_cancellation_leaves_progress_and_logs_as_they_are(rows: Rows, app: Rows, me: UUID, column: str) -> None:
    task = rows.task(user=me, status="processing", progress=40)

    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        write(app, task, status="error", **{column: WORKERS[column]})


def test_the_owner_cancels_a_processing_task(rows: Rows, app: Rows, me: UUID) -> None:
    task = rows.task(user=me, status="processing", progress=40)

    assert write(app, task, status="error") == 1
    assert rows.status(task) == "error"


def test_the_owner_deletes_a_processing_task(rows: Rows, app: Rows, me: UUID) -> None:
    task = rows.task(user=me, status="processing")

    assert app.execute("DELETE FROM public.tasks WHERE id = %s RETURNING id", task) == [{"id": task}]


def test_what_is_not_the_workers_may_be_written_at_any_time(rows: Rows, app: Rows, me: UUID) -> None:
    task = rows.task(user=me, status="processing", progress=40)

    assert write(app, task, prompt="Say good-bye", status="processing", progress=40) == 1


@pytest.mark.parametrize("status", NOT_PROCESSING)
def test_the_apps_own_calls_work_on_tasks_that_are_not_processing(rows: Rows, app: Rows, me: UUID, status: str) -> None:
    """Those of its lib/tasks.ts: update a task, its progress and its status, add a log entry, delete by statuses."""
    task = rows.task(user=me, status=status)

    assert write(app, task, branch_name="feature", selected_model="claude-sonnet") == 1
    assert write(app, task, progress=50) == 1
    assert write(app, task, logs=Jsonb([ENTRY])) == 1
    assert write(app, task, status="completed", progress=100, logs=Jsonb([ENTRY, ENTRY])) == 1
    assert app.execute("DELETE FROM public.tasks WHERE status = ANY ('{completed,error}') RETURNING id") == [
        {"id": task}
    ]


def test_the_app_creates_a_task_and_reads_it_back(app: Rows, me: UUID) -> None:
    created = app.execute(
        """INSERT INTO public.tasks (user_id, status, progress, prompt, repo_url, selected_agent, selected_model, logs)
        VALUES (%s, 'pending', 0, 'Say hello', NULL, 'claude', NULL, %s) RETURNING id""",
        me,
        Jsonb([ENTRY]),
    )

    assert app.execute("SELECT id FROM public.tasks ORDER BY created_at DESC") == created


def test_the_service_and_the_owner_of_the_database_are_not_guarded(rows: Rows, me: UUID) -> None:
    task = rows.task(user=me, status="processing")

    rows.execute("SET ROLE service_role")
    assert write(rows, task, progress=70, status="completed") == 1


def test_the_protocol_calls_no_trigger_of_the_guard_nor_of_the_time(
    rows: Rows, app: Rows, database: Database, me: UUID
) -> None:
    """Both triggers now refuse whatever reaches them, and a task goes from claim to finish as before."""
    task = rows.task(user=me)
    for function in ("rls.guard_processing_task", "public.update_updated_at_column"):
        rows.connection.execute(sql.SQL(REFUSING).format(sql.SQL(function)))
    with pytest.raises(psycopg.errors.RaiseException, match="called"):
        write(app, task, prompt="Say good-bye")

    claim = queue.claim(database, task, holder="w", celery_id=None, ttl=TTL, per_user=5, prompt_limit=99)
    assert claim
    appended = queue.append(database, task, fence=claim.fence, flush=1, entries=[ENTRY], progress=50)
    ended = queue.finish(database, task, fence=claim.fence, outcome="completed", entries=[ENTRY], error=None, usage={})

    assert appended.refusal is None
    assert (ended, rows.status(task), rows.see(task)["progress"]) == ("completed", "completed", 100)
    assert len(rows.messages(task)) == 2
