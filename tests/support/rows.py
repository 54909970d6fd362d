"""Rows of `public.tasks` as the web app and its users write them, on a connection of the owner."""

from typing import Any, LiteralString
from uuid import UUID, uuid4

import psycopg
from psycopg.pq import ExecStatus
from psycopg.rows import DictRow, dict_row

from db.url import DatabaseUrl


class Rows:
    """The application's side of the database: makes users and tasks, and looks at what became of them."""

    def __init__(self, url: DatabaseUrl) -> None:
        self.url = url.libpq
        self.connection = psycopg.connect(url.libpq, autocommit=True, row_factory=dict_row)

    def execute(self, statement: LiteralString, *parameters: Any) -> list[DictRow]:
        cursor = self.connection.execute(statement, parameters or None)
        # A SELECT of no columns has rows, and no description.
        answered = cursor.pgresult is not None and cursor.pgresult.status == ExecStatus.TUPLES_OK
        return cursor.fetchall() if answered else []

    def user(self, user_id: UUID | None = None) -> UUID:
        user_id = user_id or uuid4()
        self.execute("INSERT INTO auth.users (id) VALUES (%s) ON CONFLICT DO NOTHING", user_id)
        return user_id

    def task(
        self, *, user: UUID | None = None, prompt: str = "Say hello", agent: str = "rehearsal", **columns: Any
    ) -> int:
        owner = self.user(user)
        names = ["user_id", "prompt", "selected_agent", *columns]
        statement = psycopg.sql.SQL("INSERT INTO public.tasks ({}) VALUES ({}) RETURNING id").format(
            psycopg.sql.SQL(", ").join(map(psycopg.sql.Identifier, names)),
            psycopg.sql.SQL(", ").join(psycopg.sql.Placeholder() * len(names)),
        )
        row = self.connection.execute(statement, [owner, prompt, agent, *columns.values()]).fetchone()
        assert row
        return int(row["id"])

    def see(self, task_id: int) -> DictRow:
        rows = self.execute(
            "SELECT id, user_id, status::text AS status, progress, branch_name, logs FROM public.tasks WHERE id = %s",
            task_id,
        )
        assert rows, f"task {task_id} has no row"
        return rows[0]

    def status(self, task_id: int) -> str:
        return str(self.see(task_id)["status"])

    def messages(self, task_id: int) -> list[str]:
        return [entry["message"] for entry in self.see(task_id)["logs"]]

    def lease(self, task_id: int) -> DictRow | None:
        rows = self.execute("SELECT * FROM worker.leases WHERE task_id = %s", task_id)
        return rows[0] if rows else None

    def runs(self, task_id: int) -> list[DictRow]:
        return self.execute("SELECT * FROM worker.runs WHERE task_id = %s ORDER BY fence", task_id)

    def age_lease(self, task_id: int, *, seconds: float = 3600) -> None:
        """Let time pass for one lease: everything that happened to it happened `seconds` earlier."""
        self.execute(
            """UPDATE worker.leases SET expires_at = expires_at - make_interval(secs => %s),
               offered_at = offered_at - make_interval(secs => %s), not_before = not_before - make_interval(secs => %s)
               WHERE task_id = %s""",
            seconds,
            seconds,
            seconds,
            task_id,
        )

    def close(self) -> None:
        self.connection.close()
