"""Uploads that nobody finished: aborted over S3 first, and only then their rows; without a key the rows alone."""

import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import structlog
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from db.queries.maintenance import LOCKED
from tests.support import storage as faults
from tests.support.auth import policy
from tests.support.rows import Rows
from tests.support.storage import ACCESS_KEY, ACCESS_SECRET, REGION, Fault, Storage
from worker.maintenance import sweep
from worker.maintenance.sweep import Bounds, Ended, Report
from worker.maintenance.uploads import AWAY, PARTS, UNTAKEN, UPLOADS, StaleUploads
from worker.settings import Settings

KEPT = timedelta(days=7)
Swept = Callable[..., Report]
BEGUN = """
WITH upload AS (INSERT INTO storage.s3_multipart_uploads (id, upload_signature, bucket_id, key, version, created_at)
    SELECT gen_random_uuid()::text, 's', 'project-files', 'key ' || n, 'v', now() - make_interval(secs => %s * 86400)
    FROM generate_series(1, %s) AS n RETURNING id, key),
part AS (INSERT INTO storage.s3_multipart_uploads_parts (upload_id, part_number, bucket_id, key, etag, version)
    SELECT id, n, 'project-files', key, 'e', 'v' FROM upload, generate_series(1, %s) AS n)
SELECT id FROM upload"""


class MultipartUploads:
    """Storage's rows of uploads that are going on."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows

    def begin(self, count: int = 1, *, days: float, parts: int = 2) -> set[str]:
        return {row["id"] for row in self.rows.execute(BEGUN, days, count, parts)}

    def there(self) -> set[str]:
        return {row["id"] for row in self.rows.execute("SELECT id FROM storage.s3_multipart_uploads")}

    def parts(self) -> int:
        return int(self.rows.execute("SELECT count(*) FROM storage.s3_multipart_uploads_parts")[0]["count"])


@pytest.fixture
def begun(rows: Rows) -> MultipartUploads:
    return MultipartUploads(rows)


@pytest.fixture
def swept(engine: Engine, storage: Storage) -> Swept:
    """Carry the policy out, by default with a key of S3's."""

    def swept(*, bounds: Bounds | None = None, first: int = 50, **values: Any) -> Report:
        chosen = policy("stale_multipart_uploads", **(values or keys(storage)))
        return sweep.carry_out(replace(chosen, first=first, pause=timedelta()), engine, bounds)

    return swept


def keys(storage: Storage) -> dict[str, Any]:
    return {
        "supabase_url": storage.url,
        "s3_access_key_id": ACCESS_KEY,
        "s3_secret_access_key": ACCESS_SECRET,
        "s3_region": REGION,
    }


def test_only_what_was_begun_long_ago_is_aborted(begun: MultipartUploads, storage: Storage, swept: Swept) -> None:
    stale, young = begun.begin(3, days=8), begun.begin(2, days=6)

    report = swept()

    assert (report.removed, report.remaining, report.skipped) == (3, 0, {})
    assert set(storage.aborted) == stale
    assert begun.there() == young
    assert begun.parts() == 4


def test_another_s3_leaves_the_rows_to_us(begun: MultipartUploads, storage: Storage, swept: Swept) -> None:
    stale = begun.begin(3, days=8)
    storage.leaves_rows = True

    assert swept().removed == 3
    assert set(storage.aborted) == stale
    assert (begun.there(), begun.parts()) == (set(), 0)


def test_an_upload_that_s3_has_forgotten_loses_its_row(begun: MultipartUploads, storage: Storage, swept: Swept) -> None:
    stale = begun.begin(2, days=8)
    storage.leaves_rows = True
    storage.aborted = list(stale)

    assert swept().removed == 2
    assert begun.there() == set()


def test_without_a_key_rows_go_alone_and_a_warning_says_so_once(begun: MultipartUploads, swept: Swept) -> None:
    begun.begin(UPLOADS + 3, days=8)

    with structlog.testing.capture_logs() as logs:
        report = swept(s3_region="somewhere")

    assert report.removed == UPLOADS + 3
    assert begun.parts() == 0
    assert [entry["log_level"] for entry in logs if entry["event"] == "uploads.bytes_left"] == ["warning"]


def test_a_key_without_what_uses_it_is_a_mistake_that_costs_no_row(
    begun: MultipartUploads, swept: Swept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever sets a key wants the bytes gone: rows alone would lose them for good."""
    there = begun.begin(2, days=8)
    monkeypatch.setitem(sys.modules, "boto3", None)

    report = swept()

    assert (report.ended, report.removed) == (Ended.REFUSED, 0)
    assert "pip install 'codingit-worker[s3]'" in str(report.refused)
    assert begun.there() == there


@pytest.mark.parametrize("fault", [faults.broken, faults.overloaded, faults.reset])
def test_an_outage_leaves_rows_and_parts(begun: MultipartUploads, storage: Storage, swept: Swept, fault: Fault) -> None:
    stale = begun.begin(3, days=8)
    storage.always = fault

    report = swept()

    assert (report.removed, report.skipped) == (0, {AWAY: 3})
    assert (begun.there(), begun.parts()) == (stale, 6)
    storage.always = None
    assert swept().removed == 3


def test_what_was_aborted_before_an_outage_is_settled(begun: MultipartUploads, storage: Storage, swept: Swept) -> None:
    begun.begin(4, days=8)
    storage.leaves_rows = True
    storage.faults = [lambda _: True]
    storage.always = faults.broken

    report = swept()

    assert (report.removed, report.skipped) == (1, {AWAY: 3})
    assert begun.parts() == 6


@pytest.mark.parametrize("fault", [faults.expired, faults.web_page])
def test_a_key_or_an_address_that_is_wrong_ends_the_sweep_and_is_told(
    begun: MultipartUploads, storage: Storage, swept: Swept, fault: Fault
) -> None:
    stale = begun.begin(2, days=8)
    storage.always = fault

    report = swept()

    assert report.ended is Ended.REFUSED
    assert "CODINGIT_S3_" in str(report.refused)
    assert begun.there() == stale


def test_one_that_cannot_be_aborted_does_not_stand_in_the_way(
    begun: MultipartUploads, storage: Storage, swept: Swept, rows: Rows
) -> None:
    odd = begun.begin(1, days=9)
    rows.execute("INSERT INTO storage.buckets (id, name) VALUES ('my bucket', 'my bucket')")
    rows.execute("UPDATE storage.s3_multipart_uploads SET bucket_id = 'my bucket'")
    begun.begin(2, days=8)

    report = swept(first=1, **keys(storage))

    assert (report.removed, report.skipped) == (2, {UNTAKEN: 1})
    assert begun.there() == odd


def test_a_signature_that_fails_for_one_alone_does_not_stand_in_the_way(
    begun: MultipartUploads, storage: Storage, swept: Swept
) -> None:
    odd = begun.begin(1, days=9)
    begun.begin(2, days=8)
    storage.always = faults.refusing_upload(*odd)

    report = swept()

    assert (report.ended, report.removed, report.skipped) == (Ended.DONE, 2, {UNTAKEN: 1})
    assert begun.there() == odd


def test_an_upload_of_very_many_parts_goes_in_several_transactions(begun: MultipartUploads, swept: Swept) -> None:
    begun.begin(1, days=8, parts=3 * PARTS + 1)

    report = swept(first=1, s3_region="somewhere")

    assert (report.removed, begun.parts()) == (1, 0)
    assert report.batches >= 3


def test_no_transaction_is_open_while_s3_is_asked(
    begun: MultipartUploads, storage: Storage, swept: Swept, rows: Rows
) -> None:
    begun.begin(1, days=8)
    seen: list[int] = []

    def look(_: faults.Speaker) -> bool:
        open_ones = """SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL"""
        seen.append(rows.execute(open_ones)[0]["count"])
        return True

    storage.faults = [look]
    swept()

    assert seen == [0]


def test_an_upload_that_storage_has_locked_is_left(begun: MultipartUploads, engine: Engine, swept: Swept) -> None:
    stale = begun.begin(1, days=8, parts=0)
    with engine.connect() as other, other.begin():
        other.exec_driver_sql("SELECT 1 FROM storage.s3_multipart_uploads FOR UPDATE")
        report = swept(s3_region="somewhere")

    assert (report.removed, report.skipped) == (0, {LOCKED: 1})
    assert begun.there() == stale


def test_a_preview_tells_what_would_go(begun: MultipartUploads, engine: Engine) -> None:
    stale = begun.begin(2, days=8)
    begun.begin(1, days=1)

    with Session(engine) as session:
        found = StaleUploads(kept=KEPT, settings=Settings(_env_file=None)).expired(session)

    assert found.count == 2
    assert {line.split()[0] for line in found.sample} == stale


def test_a_place_in_the_middle_of_one_moment_loses_nothing(begun: MultipartUploads, swept: Swept, rows: Rows) -> None:
    begun.begin(7, days=8)
    rows.execute("UPDATE storage.s3_multipart_uploads SET created_at = '2020-01-01'")

    assert swept(first=2, s3_region="somewhere").removed == 7
