"""The clients of Storage against a server of faults: what is done, what is tried again, and what is told of a key."""

import time
from collections.abc import Iterator
from contextlib import closing, nullcontext
from datetime import timedelta
from uuid import uuid4

import pytest
from pydantic import SecretStr

from tests.support import storage as faults
from tests.support.rows import Rows
from tests.support.storage import ACCESS_KEY, ACCESS_SECRET, JWT, REGION, SECRET_KEY, Fault, Storage
from worker.errors import WrongUse
from worker.maintenance.storage import (
    Files,
    NotTaken,
    StorageRefused,
    StorageUnavailable,
    Upload,
    Uploads,
    uploads,
)
from worker.maintenance.storage import files as files_of
from worker.settings import Settings, read

BUCKET = "project-files"
SOON = timedelta(milliseconds=300)


@pytest.fixture
def files(storage: Storage) -> Iterator[Files]:
    with closing(Files(storage.url, SecretStr(SECRET_KEY), patience=SOON, pauses=(0.01, 0.01))) as opened:
        yield opened


@pytest.fixture
def s3(storage: Storage) -> Iterator[Uploads]:
    with closing(uploads_of(storage)) as opened:
        yield opened


def uploads_of(storage: Storage, *, secret: str = ACCESS_SECRET) -> Uploads:
    endpoint = f"{storage.url}/storage/v1/s3"
    return Uploads(endpoint, key_id=ACCESS_KEY, secret=SecretStr(secret), region=REGION, patience=SOON)


def stored(rows: Rows, *names: str, bucket: str = BUCKET) -> None:
    for name in names:
        rows.execute("INSERT INTO storage.objects (bucket_id, name) VALUES (%s, %s)", bucket, name)


def remaining(rows: Rows) -> list[str]:
    return [row["name"] for row in rows.execute("SELECT name FROM storage.objects ORDER BY name")]


def begun(rows: Rows, key: str = "videos/Ünïcode & 100 %.mp4", *, bucket: str = BUCKET) -> Upload:
    upload = Upload(id=str(uuid4()), bucket=bucket, key=key)
    rows.execute(
        """INSERT INTO storage.s3_multipart_uploads (id, upload_signature, bucket_id, key, version)
           VALUES (%s, 's', %s, %s, 'v')""",
        upload.id,
        bucket,
        key,
    )
    return upload


def test_exactly_the_named_files_go(storage: Storage, files: Files, rows: Rows) -> None:
    stored(rows, "a", "a/b", "ä ö?#%.txt", "kept")

    assert files.delete(BUCKET, ["a", "ä ö?#%.txt", "never was there"]) == {}

    assert remaining(rows) == ["a/b", "kept"]


def test_a_legacy_key_goes_into_both_headers(storage: Storage, rows: Rows) -> None:
    stored(rows, "a")

    with closing(Files(storage.url, SecretStr(JWT))) as files:
        files.delete(BUCKET, ["a"])

    assert remaining(rows) == []


def test_many_names_go_in_requests_of_500(storage: Storage, files: Files, rows: Rows) -> None:
    names = [f"file {number:04}" for number in range(1_001)]
    stored(rows, *names)

    files.delete(BUCKET, names)

    assert remaining(rows) == []
    assert len(storage.requests) == 3


@pytest.mark.parametrize("fault", [faults.broken, faults.overloaded, faults.reset, faults.reset_when_done])
def test_what_passes_is_tried_again(storage: Storage, files: Files, rows: Rows, fault: Fault) -> None:
    stored(rows, "a")
    storage.faults = [fault, fault]

    files.delete(BUCKET, ["a"])

    assert remaining(rows) == []
    assert len(storage.requests) == 3


@pytest.mark.parametrize("fault", [faults.broken, faults.overloaded, faults.reset, faults.silent, faults.slow])
def test_an_outage_is_given_up_after_three_tries(storage: Storage, files: Files, fault: Fault) -> None:
    storage.always = fault
    began = time.monotonic()

    with pytest.raises(StorageUnavailable):
        files.delete(BUCKET, ["a"])

    assert len(storage.requests) == 3
    assert time.monotonic() - began < 4, "a server that sends a byte at a time was waited for"


def test_a_server_that_is_not_there_is_an_outage(storage: Storage, files: Files) -> None:
    storage.server.server_close()

    with pytest.raises(StorageUnavailable, match="does not answer"):
        files.delete(BUCKET, ["a"])


def test_a_bucket_that_is_gone_is_no_fault(storage: Storage, files: Files) -> None:
    storage.always = faults.nothing_there

    assert files.delete(BUCKET, ["a"]) == {}


@pytest.mark.parametrize("fault", [faults.web_page, faults.wrong_json])
def test_what_does_not_speak_as_storage_is_told(storage: Storage, files: Files, fault: Fault) -> None:
    storage.always = fault

    with pytest.raises(StorageRefused, match="not Storage that answers 200 at CODINGIT_SUPABASE_URL"):
        files.delete(BUCKET, ["a"])


def test_a_wrong_path_is_not_taken_for_a_file_that_is_gone(storage: Storage) -> None:
    told = "not Storage that answers 404 at CODINGIT_SUPABASE_URL"
    elsewhere = Files(f"{storage.url}/elsewhere", SecretStr(SECRET_KEY))
    with closing(elsewhere), pytest.raises(StorageRefused, match=told):
        elsewhere.delete(BUCKET, ["a"])


def test_an_expired_key_is_told_once_and_without_the_key(storage: Storage, files: Files) -> None:
    storage.always = faults.expired

    with pytest.raises(StorageRefused, match=r"does not take CODINGIT_SUPABASE_KEY: .*timestamp check failed") as told:
        files.delete(BUCKET, ["a"])

    assert SECRET_KEY not in str(told.value)
    assert len(storage.requests) == 1


@pytest.mark.parametrize("odd", ["e", "jwt signature, unauthorized"])
def test_one_name_that_is_refused_does_not_stand_in_the_way_of_others(
    storage: Storage, files: Files, rows: Rows, odd: str
) -> None:
    names = ["a", "b", "c", odd, "d", "f", "g"]
    stored(rows, *names)
    storage.always = faults.refusing(odd)

    refused = files.delete(BUCKET, names)

    assert refused == {odd: f"Storage answers 400: Invalid key: {odd}"}
    assert remaining(rows) == [odd]


def test_an_upload_is_aborted_by_its_signed_name(storage: Storage, s3: Uploads, rows: Rows) -> None:
    upload, other = begun(rows), begun(rows)

    s3.abort(upload)

    assert storage.aborted == [upload.id]
    assert [row["id"] for row in rows.execute("SELECT id FROM storage.s3_multipart_uploads")] == [other.id]


def test_an_upload_that_s3_does_not_know_is_no_fault(storage: Storage, s3: Uploads) -> None:
    s3.abort(Upload(id="long-gone", bucket=BUCKET, key="a"))

    assert storage.aborted == []


def test_a_wrong_secret_is_told_without_it(storage: Storage, rows: Rows) -> None:
    s3 = uploads_of(storage, secret="another-secret")
    with closing(s3), pytest.raises(StorageRefused, match="S3 does not take CODINGIT_S3_ACCESS_KEY_ID") as told:
        s3.abort(begun(rows))

    assert "another-secret" not in str(told.value)


def test_an_expired_s3_key_is_told(storage: Storage, s3: Uploads, rows: Rows) -> None:
    storage.always = faults.expired

    with pytest.raises(StorageRefused, match="S3 does not take CODINGIT_S3_ACCESS_KEY_ID"):
        s3.abort(begun(rows))


@pytest.mark.parametrize("fault", [faults.broken, faults.overloaded, faults.reset, faults.silent])
def test_an_outage_of_s3_is_tried_again_and_told(storage: Storage, s3: Uploads, rows: Rows, fault: Fault) -> None:
    storage.always = fault

    with pytest.raises(StorageUnavailable):
        s3.abort(begun(rows))

    assert len(storage.requests) == 3


def test_a_web_page_is_not_taken_for_an_abort(storage: Storage, s3: Uploads, rows: Rows) -> None:
    storage.always = faults.web_page

    with pytest.raises(StorageRefused, match="web page"):
        s3.abort(begun(rows))


def test_a_bucket_that_s3_has_no_name_for_concerns_its_uploads_alone(s3: Uploads) -> None:
    with pytest.raises(NotTaken):
        s3.abort(Upload(id="u", bucket="no bucket / of S3", key="a"))


def test_without_keys_nothing_is_aborted() -> None:
    assert uploads(Settings(_env_file=None)) is None
    assert files_of(Settings(_env_file=None)) is None


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"SUPABASE_KEY": "sb_secret_x"}, "CODINGIT_SUPABASE_KEY needs CODINGIT_SUPABASE_URL"),
        ({"SUPABASE_URL": "abc.supabase.co"}, "CODINGIT_SUPABASE_URL: it must look like https://"),
        ({"SUPABASE_URL": "https://a.co", "SUPABASE_KEY": "sb_publishable_x"}, "it is the public key"),
        ({"SUPABASE_URL": "https://a.co", "SUPABASE_KEY": "e30.eyJyb2xlIjoiYW5vbiJ9.x"}, "it is the public key"),
        ({"SUPABASE_URL": "https://a.co", "S3_ACCESS_KEY_ID": "x"}, "go together"),
        ({"S3_ACCESS_KEY_ID": "x", "S3_SECRET_ACCESS_KEY": "y"}, "needs CODINGIT_SUPABASE_URL"),
    ],
)
def test_keys_that_cannot_work_are_told_before_they_are_used(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], told: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"CODINGIT_{name}", value)

    with pytest.raises(WrongUse, match=told):
        read(env_file=None)


@pytest.mark.parametrize(
    ("database", "fits"),
    [
        ("postgresql://postgres:x@db.abc.supabase.co:5432/postgres", True),
        ("postgresql://postgres.abc:x@aws-0-eu.pooler.supabase.com:6543/postgres", True),
        ("postgresql://postgres:x@10.0.0.1/postgres", True),
        ("postgresql://postgres:x@db.staging.supabase.co:5432/postgres", False),
        ("postgresql://postgres.staging:x@aws-0-eu.pooler.supabase.com:6543/postgres", False),
    ],
)
def test_files_are_deleted_only_where_the_database_says_what_they_are(
    monkeypatch: pytest.MonkeyPatch, database: str, fits: bool
) -> None:
    """A copy of a project's database names its files: with the project's own key they would be deleted there."""
    monkeypatch.setenv("CODINGIT_SUPABASE_URL", "https://abc.supabase.co")
    monkeypatch.setenv("CODINGIT_SUPABASE_KEY", "sb_secret_x")
    monkeypatch.setenv("MAINTENANCE_DATABASE_URL", database)

    with nullcontext() if fits else pytest.raises(WrongUse, match="abc, and the database of project staging"):
        read(env_file=None)
