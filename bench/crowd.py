"""A large app: users with tasks, projects, messages and files, scattered over the tables as they come in over time."""

from typing import LiteralString
from uuid import UUID

import psycopg

EACH = 100
"""Tasks, messages and files that a user has, the messages in ten projects, the files in ten directories."""
NEEDLES = 10
"""Messages of the first user that hold the word `needle`, which nobody else's do; all hold `common`."""
PROJECTS_EACH = 10
FIRST = UUID(int=1)
"""The first user; the others follow."""
USERS: LiteralString = """
INSERT INTO auth.users (id) SELECT lpad(to_hex(n), 32, '0')::uuid FROM generate_series(1, %(users)s::bigint) n
"""
TASKS: LiteralString = """
INSERT INTO public.tasks (user_id, status, prompt, created_at)
SELECT lpad(to_hex(1 + n %% %(users)s::bigint), 32, '0')::uuid, 'completed', 'Add a page that says hello',
    timestamptz '2026-01-01' + n * interval '1 second'
FROM generate_series(0, %(users)s::bigint * 100 - 1) n
"""
PROJECTS: LiteralString = """
INSERT INTO public.projects (id, user_id, title, updated_at)
SELECT lpad(to_hex(1 + n), 32, '0')::uuid, lpad(to_hex(1 + n %% %(users)s::bigint), 32, '0')::uuid, 'Project ' || n,
    timestamptz '2026-01-01' + n * interval '1 second'
FROM generate_series(0, %(users)s::bigint * %(projects)s::bigint - 1) n
"""
MESSAGES: LiteralString = """
INSERT INTO public.messages (project_id, role, content, sequence_number, created_at)
SELECT lpad(to_hex(1 + n %% (%(users)s::bigint * 10)), 32, '0')::uuid, 'user',
    jsonb_build_object('type', 'text', 'text', concat_ws(' ', 'common',
        'word' || n * 7919 %% 10007, 'word' || n * 104729 %% 10009, 'word' || n * 1299709 %% 10037,
        CASE WHEN n %% (%(users)s::bigint * 10) = 0 THEN 'needle' END)),
    n / (%(users)s::bigint * 10), timestamptz '2026-01-01' + n * interval '1 second'
FROM generate_series(0, %(users)s::bigint * 100 - 1) n
"""
FILES: LiteralString = """
INSERT INTO public.workspace_files (user_id, path, name, parent_path, content, size_bytes)
SELECT lpad(to_hex(1 + n %% %(users)s::bigint), 32, '0')::uuid, format('src/%%s/%%s.ts', k / 10, k), k || '.ts',
    format('src/%%s', k / 10), 'export {}', 9
FROM generate_series(0, %(users)s::bigint * 100 - 1) n, LATERAL (SELECT n / %(users)s::bigint AS k) file
"""


def fill(connection: psycopg.Connection, *, users: int, projects: int = PROJECTS_EACH) -> None:
    """
    Fill an empty database quickly, without triggers and foreign keys, and let its statistics be known.

    Of so many `projects` a user, at least ten, ten hold the messages.
    """
    connection.execute("SET session_replication_role = replica")
    for statement in (USERS, TASKS, PROJECTS, MESSAGES, FILES):
        connection.execute(statement, {"users": users, "projects": projects})
    connection.execute("SET session_replication_role = origin")
    connection.execute(
        "VACUUM ANALYZE auth.users, public.tasks, public.projects, public.messages, public.workspace_files"
    )
