"""A large queue: 200,000 pending tasks of 2,000 users, one of whom has 20,000, and 500,000 that have ended."""

from typing import LiteralString

import psycopg
from psycopg import sql

from db.url import DatabaseUrl
from tests.support import plans

PENDING: LiteralString = """
INSERT INTO public.tasks (user_id, prompt)
SELECT lpad(to_hex(CASE WHEN n <= %(of_one)s THEN 1 ELSE n %% %(users)s + 1 END), 32, '0')::uuid, 'Do it'
FROM generate_series(1, %(pending)s) n
"""
ENDED: LiteralString = """
INSERT INTO public.tasks (user_id, prompt, status, progress)
SELECT lpad(to_hex(n %% %(users)s + 1), 32, '0')::uuid, 'Do it', 'completed', 100
FROM generate_series(1, %(ended)s) n
"""
RUNNING: LiteralString = """
WITH task AS (
    INSERT INTO public.tasks (user_id, prompt, status, progress)
    SELECT lpad(to_hex(n %% %(users)s + 1), 32, '0')::uuid, 'Do it', 'processing', 10
    FROM generate_series(1, %(running)s) n RETURNING id, user_id
), lease AS (
    INSERT INTO worker.leases (task_id, user_id, fence, holder, expires_at, attempt)
    SELECT id, user_id, nextval('worker.fences'), 'worker@elsewhere', now() + interval '1 day', 1 FROM task
    RETURNING task_id, user_id, fence
)
INSERT INTO worker.runs (fence, task_id, user_id, attempt, holder) SELECT fence, task_id, user_id, 1, 'w' FROM lease
"""
PUT_OFF: LiteralString = """
INSERT INTO worker.leases (task_id, user_id, fence, not_before, attempt)
SELECT id, user_id, nextval('worker.fences'), now() + interval '1 day', 1
FROM public.tasks WHERE status = 'pending' ORDER BY id DESC LIMIT %(running)s
"""
HISTORY: LiteralString = """
INSERT INTO worker.runs (fence, task_id, user_id, attempt, holder, finished_at, outcome)
SELECT nextval('worker.fences'), id, user_id, 1, 'w', now(), 'completed'
FROM public.tasks WHERE status = 'completed' LIMIT %(ended)s / 2
"""


def fill(
    owner_url: DatabaseUrl, *, users: int, pending: int, of_one: int = 0, ended: int = 0, running: int = 0
) -> None:
    """Fill an empty database quickly, without triggers and foreign keys. Not even autovacuum analyses it."""
    numbers = {"users": users, "pending": pending, "of_one": of_one, "ended": ended, "running": running}
    with psycopg.connect(owner_url.libpq, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        for table in (("public", "tasks"), ("worker", "leases"), ("worker", "runs")):
            off = sql.SQL("ALTER TABLE {} SET (autovacuum_enabled = off)")
            connection.execute(off.format(sql.Identifier(*table)))
        for statement in (ENDED, RUNNING, PENDING, PUT_OFF, HISTORY):
            connection.execute(statement, numbers)


def report_plans(owner_url: DatabaseUrl) -> None:
    """Have the sessions of workers in that database report their plans."""
    with psycopg.connect(owner_url.libpq, autocommit=True) as connection:
        for name, value in plans.SETTINGS.items():
            connection.execute(
                sql.SQL("ALTER ROLE task_worker IN DATABASE {} SET {} = {}").format(
                    sql.Identifier(connection.info.dbname), sql.SQL(name), sql.Literal(value)
                )
            )
