"""Who may do what: workers call the protocol and nothing else, users see their own rows and nothing of ours."""

from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from db.engine import Database
from tests.support.rows import Rows

DENIED = psycopg.errors.InsufficientPrivilege


@pytest.mark.parametrize(
    "table", ["public.tasks", "auth.users", "worker.leases", "worker.runs", "worker.turn", "worker.sandboxes"]
)
@pytest.mark.parametrize("action", ["SELECT 1 FROM {}", "DELETE FROM {}"])
def test_a_worker_has_no_right_to_any_table(database: Database, table: str, action: str) -> None:
    statement = sql.SQL(action).format(sql.SQL(table))
    with pytest.raises(DENIED):
        database.connection().execute(statement)


@pytest.mark.parametrize(
    "function", ["requeue(1, 'crash', 1, '0', '[]')", "end_task(1, 'error', '[]')", "let_go(1, 1)"]
)
def test_a_worker_may_not_call_the_protocols_inner_parts(database: Database, function: str) -> None:
    with pytest.raises(DENIED):
        database.connection().execute(sql.SQL("SELECT worker." + function))


@pytest.mark.parametrize("role", ["anon", "authenticated", "service_role"])
def test_nothing_of_ours_is_visible_to_the_apps_roles(rows: Rows, role: str) -> None:
    rows.connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
    for statement in ("SELECT FROM worker.leases", "SELECT worker.offer(1, 1, '1 s')", "SELECT worker.cancel(1, 'x')"):
        with pytest.raises(DENIED):
            rows.execute(statement)


def test_users_manage_their_own_tasks_and_see_no_others(rows: Rows) -> None:
    me, stranger = rows.user(), rows.user()
    mine, theirs = rows.task(user=me), rows.task(user=stranger)
    rows.connection.execute("SET ROLE authenticated")
    rows.execute("SELECT set_config('request.jwt.claims', json_build_object('sub', %s::text)::text, false)", str(me))

    assert [row["id"] for row in rows.execute("SELECT id FROM public.tasks")] == [mine]
    assert rows.execute("UPDATE public.tasks SET status = 'error' WHERE id = %s RETURNING id", theirs) == []
    assert rows.execute("DELETE FROM public.tasks WHERE id = %s RETURNING id", mine) == [{"id": mine}]
    rows.execute("INSERT INTO public.tasks (user_id, prompt) VALUES (%s, 'hello')", me)
    with pytest.raises(DENIED):
        rows.execute("INSERT INTO public.tasks (user_id, prompt) VALUES (%s, 'hello')", stranger)


def test_a_user_who_inserts_a_task_rings_the_bell(rows: Rows, database: Database) -> None:
    me = rows.user()
    listener = database.connection()
    listener.execute("LISTEN codingit_worker")
    rows.connection.execute("SET ROLE authenticated")
    rows.execute("SELECT set_config('request.jwt.claims', json_build_object('sub', %s::text)::text, false)", str(me))
    rows.execute("INSERT INTO public.tasks (user_id, prompt) VALUES (%s, 'hello')", me)

    assert [ring.payload for ring in listener.notifies(timeout=5, stop_after=1)] == [""]


def test_nobody_signed_in_sees_no_task(rows: Rows) -> None:
    rows.task(user=uuid4())
    rows.connection.execute("SET ROLE anon")
    with pytest.raises(DENIED):
        rows.execute("SELECT id FROM public.tasks")


def test_a_workers_sessions_cannot_hold_the_database_up(database: Database) -> None:
    found = database.call(
        """SELECT current_setting('statement_timeout') AS statement, current_setting('lock_timeout') AS lock,
           current_setting('idle_in_transaction_session_timeout') AS idle"""
    )
    assert found == [{"statement": "30s", "lock": "5s", "idle": "10s"}]
