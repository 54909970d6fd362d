"""What a batch reads in large tables: the rows that it removes, by indexes, and no table from end to end."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from tests.support.projects import Projects
from tests.support.rows import Rows
from worker.maintenance.files import OrphanedFiles
from worker.maintenance.purge import DeletedProjects
from worker.maintenance.uploads import StaleUploads
from worker.settings import Settings

KEPT = timedelta(days=5)
SCANNED = """
SELECT schemaname || '.' || relname AS name, seq_scan FROM pg_stat_user_tables
WHERE schemaname IN ('public', 'storage', 'worker') AND n_live_tup > 1000"""
UPLOADS = """
WITH upload AS (INSERT INTO storage.s3_multipart_uploads (id, upload_signature, bucket_id, key, version, created_at)
    SELECT 'upload ' || n, 's', 'project-files', 'k', 'v', now() - n * interval '1 minute'
    FROM generate_series(1, 20000) AS n RETURNING id)
INSERT INTO storage.s3_multipart_uploads_parts (upload_id, part_number, bucket_id, key, etag, version)
SELECT id, n, 'project-files', 'k', 'e', 'v' FROM upload, generate_series(1, 3) AS n"""


@pytest.fixture
def large(rows: Rows, projects: Projects) -> None:
    """A few thousand live projects, and a few that are not, all with rows of every kind."""
    projects.make(2_000)
    projects.make(1_000, deleted=6)
    rows.execute(UPLOADS)
    rows.execute(
        """INSERT INTO worker.orphaned_files (bucket, name, owner, named_by, project)
           SELECT bucket_id, name || '?', owner, owner, gen_random_uuid() FROM storage.objects
           UNION ALL (SELECT bucket_id, name, owner, owner, gen_random_uuid() FROM storage.objects LIMIT 100)"""
    )
    rows.execute("VACUUM ANALYZE")
    rows.execute("SELECT pg_stat_force_next_flush()")  # what the filling read is counted before, and not meanwhile


@contextmanager
def only_by_indexes(rows: Rows, engine: Engine) -> Iterator[Session]:
    """No large table is read from end to end in the block."""
    before = rows.execute(SCANNED)
    with Session(engine) as session:
        yield session
        session.commit()
        session.connection().exec_driver_sql("SELECT pg_stat_force_next_flush()")
        session.commit()
    assert len(before) > 8
    after = rows.execute(SCANNED)
    assert [row["name"] for row in after if row not in before] == []


def test_a_batch_of_projects(large: None, rows: Rows, engine: Engine) -> None:
    with only_by_indexes(rows, engine) as session:
        done = DeletedProjects(kept=KEPT).remove(session, 20, None)
        DeletedProjects(kept=KEPT).remove(session, 20, done.last)

    assert done.count == 20


def test_a_batch_of_uploads(large: None, rows: Rows, engine: Engine) -> None:
    batch = StaleUploads(kept=KEPT, settings=Settings(_env_file=None))
    with only_by_indexes(rows, engine) as session:
        done = batch.remove(session, 20, None)
        batch.remove(session, 20, done.last)

    assert done.count == 20


def test_a_batch_of_files(large: None, rows: Rows, engine: Engine) -> None:
    batch = OrphanedFiles(settings=Settings(_env_file=None))
    with only_by_indexes(rows, engine) as session:
        done = batch.remove(session, 100, None)
        batch.remove(session, 100, done.last)

    assert done.count > 50


def test_a_large_batch_of_uploads_reads_no_more_than_it_removes(large: None, rows: Rows, engine: Engine) -> None:
    """However many others are stale: else ten times as many would take a hundred times as long."""
    batch = StaleUploads(kept=KEPT, settings=Settings(_env_file=None))
    before = rows.execute(READ)[0]["read"]
    with Session(engine) as session:
        done = batch.remove(session, 1000, None)
        session.connection().exec_driver_sql("SELECT pg_stat_force_next_flush()")
        session.commit()

    assert done.count == 1000
    assert rows.execute(READ)[0]["read"] - before < 8 * done.count


READ = """
SELECT seq_tup_read + (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes i WHERE i.relid = t.relid) AS read
FROM pg_stat_user_tables t WHERE schemaname = 'storage' AND relname = 's3_multipart_uploads'"""
