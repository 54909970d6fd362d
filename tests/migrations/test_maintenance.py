"""The clean-up of a Supabase project by its owner, who is no superuser and owns neither `auth` nor `storage`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pytest

from db import migrate
from db.engine import engine
from db.url import DatabaseUrl
from tests.migrations import beds
from tests.support.auth import policy
from tests.support.projects import EACH, Projects
from tests.support.rows import Rows
from tests.support.storage import ACCESS_KEY, ACCESS_SECRET, REGION, SECRET_KEY, Storage, storage_of
from worker.maintenance import sweep
from worker.maintenance.sweep import Ended, Report

DIRECTLY = """
CREATE TRIGGER protect_uploads_delete BEFORE DELETE ON storage.s3_multipart_uploads_parts
FOR EACH STATEMENT EXECUTE FUNCTION storage.protect_delete()"""
Swept = Callable[..., Report]


@pytest.fixture
def bed(pristine: DatabaseUrl) -> Iterator[tuple[Swept, Projects, Storage]]:
    """A Supabase project at the newest version: sweeps of its owner's, the application's rows, and its Storage."""
    owner = beds.supabase(pristine)
    migrate.upgrade(owner)
    with superusers(pristine) as rows, storage_of(pristine) as storage:
        rows.execute("INSERT INTO storage.buckets (id, name) VALUES ('project-files', 'project-files')")
        yield sweeping(owner, storage), Projects(rows), storage


@contextmanager
def superusers(url: DatabaseUrl) -> Iterator[Rows]:
    rows = Rows(url)
    try:
        yield rows
    finally:
        rows.close()


def sweeping(owner: DatabaseUrl, storage: Storage) -> Swept:
    keys = {
        "supabase_url": storage.url,
        "supabase_key": SECRET_KEY,
        "s3_access_key_id": ACCESS_KEY,
        "s3_secret_access_key": ACCESS_SECRET,
        "s3_region": REGION,
    }

    def swept(name: str, **values: Any) -> Report:
        database = engine(owner)
        try:
            return sweep.carry_out(policy(name, **(values or keys)), database)
        finally:
            database.dispose()

    return swept


def stale_upload(rows: Rows) -> None:
    upload = str(uuid4())
    rows.execute(
        """INSERT INTO storage.s3_multipart_uploads (id, upload_signature, bucket_id, key, version, created_at)
           VALUES (%s, 's', 'project-files', 'k', 'v', now() - interval '8 days')""",
        upload,
    )
    rows.execute(
        """INSERT INTO storage.s3_multipart_uploads_parts (upload_id, part_number, bucket_id, key, etag, version)
           VALUES (%s, 1, 'project-files', 'k', 'e', 'v')""",
        upload,
    )


def test_the_owner_of_the_project_purges_projects_and_their_files(bed: tuple[Swept, Projects, Storage]) -> None:
    swept, projects, _ = bed
    projects.make(2, deleted=31)
    (kept,) = projects.make(1)

    purged, emptied = swept("soft_deleted_projects"), swept("orphaned_files")

    assert (purged.ended, purged.removed) == (Ended.DONE, 2), purged
    assert (emptied.ended, emptied.removed) == (Ended.DONE, 4), emptied
    assert (projects.there(), projects.leaves()) == ({kept}, EACH)
    assert projects.stored() == {f"{kept}/1", f"{kept}/2"}


@pytest.mark.parametrize("values", [{}, {"s3_region": "without a key"}])
def test_the_owner_of_the_project_ends_stale_uploads(
    bed: tuple[Swept, Projects, Storage], values: dict[str, str]
) -> None:
    swept, projects, _ = bed
    stale_upload(projects.rows)

    report = swept("stale_multipart_uploads", **values)

    assert (report.ended, report.removed) == (Ended.DONE, 1), report
    assert projects.rows.execute("SELECT FROM storage.s3_multipart_uploads_parts") == []


def test_a_table_that_storage_protects_is_told_from_a_right_that_is_missing(
    bed: tuple[Swept, Projects, Storage],
) -> None:
    swept, projects, _ = bed
    stale_upload(projects.rows)
    projects.rows.execute(DIRECTLY)

    protected = swept("stale_multipart_uploads", s3_region="without a key")
    through_storage = swept("stale_multipart_uploads")
    projects.rows.execute("REVOKE DELETE ON storage.s3_multipart_uploads FROM project_owner")
    lacking = swept("stale_multipart_uploads")

    assert (protected.ended, protected.advice) == (Ended.REFUSED, ())
    assert "Use the Storage API" in str(protected.refused)
    assert (through_storage.ended, through_storage.removed) == (Ended.DONE, 1), "Storage removes its rows itself"
    assert lacking.ended is Ended.REFUSED
    assert lacking.advice[0].startswith("GRANT DELETE ON storage.s3_multipart_uploads TO project_owner;")


def test_nothing_is_purged_beside_the_applications_own_function(pristine: DatabaseUrl) -> None:
    owner = beds.supabase(pristine)
    beds.original(pristine, owner, schemas=["public"])
    migrate.upgrade(owner)
    with superusers(pristine) as rows, storage_of(pristine) as storage:
        rows.execute("UPDATE public.projects SET status = 'deleted', deleted_at = now() - interval '31 days'")
        swept = sweeping(owner, storage)

        refused = swept("soft_deleted_projects")
        there = rows.execute("SELECT count(*) FROM public.projects")[0]["count"]
        overridden = swept("soft_deleted_projects", purge_despite=("function:public.soft_delete_project",))

    assert (refused.ended, there) == (Ended.REFUSED, 2)
    assert "CODINGIT_PURGE_DESPITE" in str(refused.refused)
    assert (overridden.ended, overridden.removed) == (Ended.DONE, 2), overridden
