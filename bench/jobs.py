"""What there is to clean up in a large database, and the one statement that would do it at once."""

from dataclasses import dataclass
from typing import LiteralString

SESSIONS: LiteralString = """
INSERT INTO auth.sessions (id, user_id, not_after, created_at, updated_at)
SELECT gen_random_uuid(), users.ids[1 + n % cardinality(users.ids)],
    now() - interval '4 days' * (CASE WHEN n % 2 = 0 THEN 1 ELSE -1 END) - n * interval '1 millisecond',
    now() - interval '30 days', now() - interval '5 days'
FROM (SELECT array_agg(id) AS ids FROM auth.users) AS users, generate_series(1, {count} * 2) AS n;
INSERT INTO auth.refresh_tokens (token, user_id, session_id, revoked, created_at, updated_at)
SELECT gen_random_uuid(), user_id, id, false, created_at, updated_at FROM auth.sessions
WHERE updated_at < now() - interval '1 day'
"""
"""Each with one token."""
UPLOADS: LiteralString = """
INSERT INTO storage.s3_multipart_uploads (id, upload_signature, bucket_id, key, version, created_at)
SELECT 'upload ' || n, 'signature', 'project-files', 'key ' || n, 'version',
    now() - make_interval(days => 1 + n % 2 * 10, secs => n)
FROM generate_series(1, {count} * 2) n;
INSERT INTO storage.s3_multipart_uploads_parts (upload_id, part_number, bucket_id, key, etag, version, size)
SELECT 'upload ' || n, part, 'project-files', 'key ' || n, md5(n::text), 'version', 5242880
FROM generate_series(1, 20) part, generate_series(1, {count} * 2) n
"""
"""Parts lie scattered, as they arrive."""
PROJECTS: LiteralString = """
INSERT INTO auth.users (id) SELECT lpad(to_hex(n), 32, '0')::uuid FROM generate_series(1, 1000) n;
INSERT INTO public.projects (id, user_id, title, status, deleted_at)
SELECT lpad(to_hex(n), 32, '0')::uuid, lpad(to_hex(1 + n % 1000), 32, '0')::uuid, 'Project', 'deleted',
    now() - make_interval(days => 1 + n % 2 * 40, secs => n)
FROM generate_series(1, {count} * 2) n;
INSERT INTO public.messages (project_id, role, content, sequence_number)
SELECT lpad(to_hex(n), 32, '0')::uuid, 'user', '{{"type": "text", "text": "Add a page that says hello"}}', m
FROM generate_series(1, 100) m, generate_series(1, {count} * 2) n;
INSERT INTO public.fragments (id, user_id, project_id, title, template, code, file_path)
SELECT lpad(to_hex(n * 100 + m), 32, '0')::uuid, lpad(to_hex(1 + n % 1000), 32, '0')::uuid,
    lpad(to_hex(n), 32, '0')::uuid, 'Fragment', 'nextjs', repeat('export {{}};', 50), 'page.tsx'
FROM generate_series(1, 20) m, generate_series(1, {count} * 2) n;
INSERT INTO public.fragment_executions (fragment_id, user_id, template, status, stdout)
SELECT lpad(to_hex(n * 100 + 1 + m % 20), 32, '0')::uuid, lpad(to_hex(1 + n % 1000), 32, '0')::uuid, 'nextjs',
    'completed', 'ready'
FROM generate_series(1, 50) m, generate_series(1, {count} * 2) n;
INSERT INTO public.file_uploads (user_id, project_id, file_name, file_path, bucket_name)
SELECT lpad(to_hex(1 + n % 1000), 32, '0')::uuid, lpad(to_hex(n), 32, '0')::uuid, 'file', n || '/' || m, 'project-files'
FROM generate_series(1, 50) m, generate_series(1, {count} * 2) n
"""
"""With all that hangs on a project."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is removed: things with the rows that hang on each. As many others are there, to be kept."""

    policy: str
    fill: LiteralString
    count: int
    rows: int
    """Rows of each, itself included."""
    single: LiteralString
    """The statement that does the same at once."""
    kept: LiteralString
    """Counts the rows that are there, but those that `LIVE` put there."""

    @property
    def removed(self) -> int:
        """Rows that go, of all tables."""
        return self.count * self.rows


JOBS = (
    Job(
        policy="expired_sessions",
        fill=SESSIONS,
        count=500_000,
        rows=2,
        single="DELETE FROM auth.sessions WHERE not_after < now() - interval '72 hours'",
        kept="SELECT (SELECT count(*) FROM auth.sessions) + count(*) - 10000 FROM auth.refresh_tokens",
    ),
    Job(
        policy="stale_multipart_uploads",
        fill=UPLOADS,
        count=50_000,
        rows=21,
        single="DELETE FROM storage.s3_multipart_uploads WHERE created_at < now() - interval '7 days'",
        kept="""SELECT (SELECT count(*) FROM storage.s3_multipart_uploads) + count(*)
            FROM storage.s3_multipart_uploads_parts""",
    ),
    Job(
        policy="soft_deleted_projects",
        fill=PROJECTS,
        count=5_000,
        rows=221,
        single="DELETE FROM public.projects WHERE deleted_at < now() - interval '30 days'",
        kept="""SELECT (SELECT count(*) FROM public.projects) + (SELECT count(*) FROM public.messages)
            + (SELECT count(*) FROM public.fragments) + (SELECT count(*) FROM public.fragment_executions)
            + (SELECT count(*) FROM public.file_uploads)""",
    ),
)
