"""Projects with everything that hangs on them, as the application leaves them; ages are in days."""

from typing import Any
from uuid import UUID

from tests.support.rows import Rows

BUCKET = "project-files"
FILLED = """
WITH project AS (INSERT INTO public.projects (user_id, title, status, deleted_at)
        SELECT %(user)s, 'Project ' || n,
            CASE WHEN %(deleted)s::float IS NULL THEN 'active' ELSE 'deleted' END::project_status_enum,
            now() - make_interval(secs => %(deleted)s::float * 86400)
        FROM generate_series(1, %(count)s) AS n
        RETURNING id, user_id),
    message AS (INSERT INTO public.messages (project_id, role, content, sequence_number)
        SELECT id, 'user', '{}', n FROM project, generate_series(1, %(messages)s) AS n),
    fragment AS (INSERT INTO public.fragments (user_id, project_id, title, template, code, file_path)
        SELECT user_id, id, 'Fragment', 'nextjs', 'code', 'path' FROM project, generate_series(1, %(fragments)s)
        RETURNING id, user_id),
    execution AS (INSERT INTO public.fragment_executions (fragment_id, user_id, template)
        SELECT id, user_id, 'nextjs' FROM fragment, generate_series(1, %(executions)s)),
    workspace AS (INSERT INTO public.workspace_files (user_id, project_id, path, name)
        SELECT user_id, id, id || '/' || n, 'file' FROM project, generate_series(1, %(files)s) AS n),
    upload AS (INSERT INTO public.file_uploads (user_id, project_id, file_name, file_path, bucket_name)
        SELECT user_id, id, 'upload', id || '/' || n, 'project-files'
        FROM project, generate_series(1, %(uploads)s) AS n),
    stored AS (INSERT INTO storage.objects (bucket_id, name, owner, owner_id, created_at, updated_at)
        SELECT 'project-files', id || '/' || n, user_id, user_id::text, now() - interval '90 days',
            now() - interval '90 days' FROM project, generate_series(1, %(uploads)s) AS n)
SELECT id FROM project"""
LEAVES = """
SELECT (SELECT count(*) FROM public.messages) + (SELECT count(*) FROM public.fragments)
    + (SELECT count(*) FROM public.fragment_executions) + (SELECT count(*) FROM public.workspace_files)
    + (SELECT count(*) FROM public.file_uploads) AS count"""
NUMBERS = {"messages": 3, "fragments": 2, "executions": 2, "files": 2, "uploads": 2}
EACH = 3 + 2 + 2 * 2 + 2 + 2
"""Rows that hang on a project of these numbers."""


class Projects:
    """The application's side of a database: its users' projects, and what is left of them."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.user = rows.user()

    def make(
        self, count: int = 1, *, deleted: float | None = None, user: UUID | None = None, **numbers: int
    ) -> list[UUID]:
        """So many, deleted so many days ago or not at all, each with rows of every kind and stored files of its own."""
        values = {**NUMBERS, **numbers, "user": user or self.user, "deleted": deleted, "count": count}
        return [row["id"] for row in self.rows.connection.execute(FILLED.encode(), values).fetchall()]

    def upload(self, project: UUID | None, name: str, *, user: UUID | None = None, bucket: str = BUCKET) -> None:
        """A row that names a file, whoever's that is."""
        self.rows.execute(
            """INSERT INTO public.file_uploads (user_id, project_id, file_name, file_path, bucket_name)
               VALUES (%s, %s, 'file', %s, %s)""",
            *(user or self.user, project, name, bucket),
        )

    def store(self, name: str, *, bucket: str = BUCKET, written: float = 90, **owners: UUID | None) -> None:
        """A file written so many days ago, of `owner` and `owner_id`, which are the user where they are not given."""
        owner, owner_id = (owners.get(column, self.user) for column in ("owner", "owner_id"))
        self.rows.execute(
            """INSERT INTO storage.objects (bucket_id, name, owner, owner_id, created_at, updated_at)
               SELECT %s, %s, %s, %s, since, since
               FROM (VALUES (now() - make_interval(secs => %s * 86400))) AS v (since)""",
            *(bucket, name, owner, owner_id and str(owner_id), written),
        )

    def restore(self, project: UUID) -> None:
        self.rows.execute("UPDATE public.projects SET deleted_at = NULL, status = 'active' WHERE id = %s", project)

    def there(self) -> set[UUID]:
        return {row["id"] for row in self.rows.execute("SELECT id FROM public.projects")}

    def leaves(self) -> int:
        """Rows that hang on projects, in all tables together."""
        return int(self.rows.execute(LEAVES)[0]["count"])

    def stored(self) -> set[str]:
        return {row["name"] for row in self.rows.execute("SELECT name FROM storage.objects")}

    def outbox(self) -> list[dict[str, Any]]:
        return self.rows.execute("SELECT * FROM worker.orphaned_files ORDER BY bucket, name, owner, id")
