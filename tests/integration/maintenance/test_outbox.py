"""The outbox of files: deleted through Storage, only if they were their project's owner's, and whatever goes wrong."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from db.url import DatabaseUrl
from tests.support import storage as faults
from tests.support.auth import policy
from tests.support.processes import eventually
from tests.support.projects import BUCKET, EACH, Projects
from tests.support.rows import Rows
from tests.support.storage import SECRET_KEY, Fault, Storage
from worker.maintenance import sweep
from worker.maintenance.files import AWAY, LEFT, UNSET, UNTAKEN, OrphanedFiles
from worker.maintenance.purge import DeletedProjects
from worker.maintenance.sweep import Ended, Report
from worker.settings import Settings

KEPT = timedelta(days=30)
Emptied = Callable[..., Report]
PROGRAM = """
import sys
from tests.integration.maintenance.test_outbox import purge_and_empty
purge_and_empty(sys.argv[1], sys.argv[2])
"""


def key(storage_url: str) -> dict[str, Any]:
    return {"supabase_url": storage_url, "supabase_key": SECRET_KEY}


@pytest.fixture
def purged(engine: Engine) -> Callable[[], Report]:
    return lambda: sweep.carry_out(policy("soft_deleted_projects"), engine)


@pytest.fixture
def emptied(engine: Engine, storage: Storage) -> Emptied:
    """Carry the policy out, by default with a key."""

    def emptied(**values: Any) -> Report:
        return sweep.carry_out(policy("orphaned_files", **(values or key(storage.url))), engine)

    return emptied


def orphan(projects: Projects, name: str, *, owner: UUID | None = None, bucket: str = BUCKET) -> None:
    """An entry of the outbox, of a project that is purged, as from yesterday."""
    projects.rows.execute(
        """INSERT INTO worker.orphaned_files (bucket, name, owner, named_by, project, added_at)
           VALUES (%s, %s, %s, %s, gen_random_uuid(), now() - interval '1 day')""",
        *(bucket, name, owner or projects.user, owner or projects.user),
    )


def reasons(projects: Projects) -> dict[str, str]:
    return {row["name"]: row["last_error"] for row in projects.outbox()}


def waits(projects: Projects) -> list[int]:
    """After how many minutes each may be looked at again."""
    asked = "SELECT ceil(extract(epoch FROM not_before - now()) / 60)::int AS minutes FROM worker.orphaned_files"
    return [row["minutes"] for row in projects.rows.execute(asked)]


def test_the_files_of_a_purged_project_go_and_no_others(
    projects: Projects, purged: Callable[[], Report], emptied: Emptied, storage: Storage
) -> None:
    (gone,), (kept,) = projects.make(1, deleted=31, uploads=3), projects.make(1, deleted=29)
    purged()

    report = emptied()

    assert (report.removed, report.remaining, report.skipped) == (3, 0, {})
    assert projects.stored() == {f"{kept}/1", f"{kept}/2"}
    assert dict(storage.deleted) == {(BUCKET, f"{gone}/{number}"): 1 for number in (1, 2, 3)}
    assert projects.outbox() == []


def test_a_file_that_several_rows_named_is_deleted_once(
    projects: Projects, purged: Callable[[], Report], emptied: Emptied, storage: Storage
) -> None:
    gone, also = projects.make(2, deleted=31, uploads=1)
    for project in (gone, also):
        projects.upload(project, f"{gone}/1")
    purged()
    assert len(projects.outbox()) == 4

    report = emptied()

    assert (report.removed, report.remaining, report.skipped) == (4, 0, {})
    assert dict(storage.deleted) == {(BUCKET, f"{gone}/1"): 1, (BUCKET, f"{also}/1"): 1}


def test_another_users_file_is_never_touched(
    projects: Projects, purged: Callable[[], Report], emptied: Emptied, storage: Storage
) -> None:
    """A user names a file of somebody else's in an upload of their own, and deletes the project."""
    victim = projects.rows.user()
    (theirs,) = projects.make(1, user=victim)
    (bait,) = projects.make(1, deleted=31, uploads=0)
    projects.store("of nobody", owner=None, owner_id=None)
    for name in (f"{theirs}/1", "of nobody"):
        projects.upload(bait, name)
    projects.rows.execute("DELETE FROM public.file_uploads WHERE user_id = %s", victim)  # it is named by no other row
    purged()

    report = emptied()

    foreign = "it belongs to somebody else than the project's owner"
    assert (report.removed, report.skipped) == (0, {foreign: 2})
    assert storage.requests == []
    assert reasons(projects) == {f"{theirs}/1": foreign, "of nobody": foreign}


@pytest.mark.parametrize("uploads", [1, 600], ids=["purged whole", "purged little by little"])
def test_a_file_that_somebody_else_named_in_the_owners_project_is_never_touched(
    projects: Projects, purged: Callable[[], Report], emptied: Emptied, uploads: int
) -> None:
    """Whoever may write a row of theirs into another's project could have any file of that owner's deleted."""
    attacker = projects.rows.user()
    (project,) = projects.make(1, deleted=31, uploads=uploads)
    projects.store("the owner's own")
    projects.upload(project, "the owner's own", user=attacker)
    purged()

    report = emptied()

    strange = "somebody else than the project's owner named it"
    assert (report.removed, report.skipped) == (uploads, {strange: 1})
    assert projects.stored() == {"the owner's own"}


def test_a_file_is_its_owners_only_if_no_column_says_otherwise(projects: Projects, emptied: Emptied) -> None:
    stranger = projects.rows.user()
    for name, owner, owner_id in (
        ("new", None, projects.user),
        ("old", projects.user, None),
        ("torn", stranger, projects.user),
        ("torn too", projects.user, stranger),
    ):
        projects.store(name, owner=owner, owner_id=owner_id)
        orphan(projects, name)

    emptied()

    assert projects.stored() == {"torn", "torn too"}


def test_a_users_row_does_not_stand_in_the_way_of_the_files_own_owner(
    projects: Projects, purged: Callable[[], Report], emptied: Emptied
) -> None:
    """Somebody else names the file in a project of theirs and has that purged first."""
    stranger = projects.rows.user()
    (bait,) = projects.make(1, deleted=40, user=stranger, uploads=0)
    (ours,) = projects.make(1, deleted=31, uploads=1)
    projects.upload(bait, f"{ours}/1", user=stranger)
    purged()

    report = emptied()

    assert report.removed == 2, "the stranger's entry too: there is nothing left to do"
    assert (projects.stored(), projects.outbox()) == (set(), [])


def test_a_file_of_another_live_project_of_theirs_stays(
    projects: Projects, purged: Callable[[], Report], emptied: Emptied, storage: Storage
) -> None:
    (live,) = projects.make(1, uploads=1)
    (bait,) = projects.make(1, deleted=31, uploads=0)
    projects.upload(bait, f"{live}/1")
    purged()

    assert emptied().skipped == {"a row still names it": 1}
    assert projects.stored() == {f"{live}/1"}
    assert storage.requests == []


@pytest.mark.parametrize(
    "statement",
    [
        """INSERT INTO public.file_uploads (user_id, file_name, file_path, bucket_name)
           VALUES (gen_random_uuid(), 'f', 'a file', 'project-files')""",
        """UPDATE public.user_profiles SET avatar_url = 'https://x/object/public/project-files/a file?t=1'
           WHERE user_id = %(user)s""",
        """UPDATE public.user_profiles SET avatar_url = 'https://x/render/image/public/project-files/a%%20file'
           WHERE user_id = %(user)s""",
        "INSERT INTO public.chat_sessions (session_id, user_id, s3_metadata_key) VALUES ('s', %(user)s, 'a file')",
        "INSERT INTO public.chat_sessions (session_id, user_id, s3_messages_key) VALUES ('s', %(user)s, 'a file')",
        """INSERT INTO public.chat_export_requests (user_id, export_type, s3_export_key)
           VALUES (%(user)s, 'csv', 'a file')""",
    ],
    ids=[
        "an upload of anybody's",
        "a picture",
        "a picture by its encoded address",
        "a chat",
        "its messages",
        "an export",
    ],
)
def test_a_file_that_any_row_names_stays(projects: Projects, emptied: Emptied, statement: str) -> None:
    projects.store("a file")
    orphan(projects, "a file")
    with projects.rows.connection.transaction():
        projects.rows.execute("SET LOCAL session_replication_role = replica")
        projects.rows.connection.execute(statement.encode(), {"user": projects.user})

    emptied()

    assert reasons(projects) == {"a file": "a row still names it"}
    assert projects.stored() == {"a file"}


def test_a_file_that_was_written_again_after_the_purge_stays(projects: Projects, emptied: Emptied) -> None:
    projects.store("again", written=0.5)
    orphan(projects, "again")

    emptied()

    assert reasons(projects) == {"again": "it was written again after the purge"}


def test_a_file_of_a_project_that_was_restored_in_the_middle_of_its_purge_stays(
    projects: Projects, engine: Engine, emptied: Emptied
) -> None:
    (project,) = projects.make(1, deleted=31, uploads=600)
    place = None
    while not projects.outbox():
        with Session(engine) as session, session.begin():
            place = DeletedProjects(kept=KEPT).remove(session, 1, place).last
    projects.restore(project)

    report = emptied()

    assert report.removed == 0
    assert set(report.skipped) == {"its project is not purged yet"}
    assert len(projects.stored()) == 600


def test_a_name_without_a_file_is_struck_off_though_no_storage_is_set(projects: Projects, emptied: Emptied) -> None:
    orphan(projects, "never was there")
    projects.store("there")
    orphan(projects, "there")

    report = emptied(supabase_url=None)

    assert (report.removed, report.skipped) == (1, {UNSET: 1})
    assert [(row["name"], row["attempts"]) for row in projects.outbox()] == [("there", 0)]
    assert emptied().removed == 1, "and at once, when an address is set"


@pytest.mark.parametrize("fault", [faults.broken, faults.overloaded, faults.reset])
def test_an_outage_leaves_all_in_the_outbox_for_later_and_later(
    projects: Projects, storage: Storage, emptied: Emptied, fault: Fault
) -> None:
    for name in ("a", "b"):
        projects.store(name)
        orphan(projects, name)
    storage.always = fault

    assert emptied().skipped == {AWAY: 2}
    assert projects.stored() == {"a", "b"}
    assert emptied().skipped == {}, "they are not looked at again at once"
    assert waits(projects) == [1, 1]
    storage.always = None
    projects.rows.execute("UPDATE worker.orphaned_files SET not_before = now()")
    assert emptied().removed == 2


@pytest.mark.parametrize(("attempts", "minutes"), [(0, 1), (1, 2), (2, 4), (10, 1024), (11, 1440), (2**31 - 2, 1440)])
def test_each_time_it_is_put_off_for_twice_as_long_up_to_a_day(
    projects: Projects, emptied: Emptied, attempts: int, minutes: int
) -> None:
    projects.store("foreign", owner=None, owner_id=None)
    orphan(projects, "foreign")
    projects.rows.execute("UPDATE worker.orphaned_files SET attempts = %s", attempts)

    emptied()

    assert waits(projects) == [minutes]


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("UPDATE storage.objects SET updated_at = now() WHERE name = 'b'", "it was written again after the purge"),
        (
            """INSERT INTO public.file_uploads (user_id, file_name, file_path, bucket_name)
            SELECT user_id, 'f', 'b', 'project-files' FROM public.projects LIMIT 1""",
            "a row still names it",
        ),
    ],
    ids=["written", "named"],
)
def test_a_file_that_is_needed_again_is_not_asked_for_a_second_time(
    projects: Projects, storage: Storage, emptied: Emptied, statement: str, why: str
) -> None:
    """Storage failed at first, and its user was quicker than the request that is made again."""
    projects.make(1, uploads=0)
    for name in "abc":
        projects.store(name)
        orphan(projects, name)

    def meanwhile(speaker: faults.Speaker) -> bool:
        projects.rows.execute(statement)
        return faults.broken(speaker)

    storage.faults = [meanwhile]
    report = emptied()

    assert (report.removed, report.skipped) == (2, {why: 1})
    assert projects.stored() == {"b"}


def test_what_storage_only_says_it_deleted_stays_in_the_outbox(
    projects: Projects, storage: Storage, emptied: Emptied
) -> None:
    for name in "abcd":
        projects.store(name)
        orphan(projects, name)
    storage.faults = [faults.partial]

    report = emptied()

    assert (report.removed, report.skipped) == (2, {LEFT: 2})
    assert reasons(projects) == {"c": LEFT, "d": LEFT}


def test_one_that_storage_does_not_take_does_not_stand_in_the_way(
    projects: Projects, storage: Storage, emptied: Emptied
) -> None:
    for name in "abcdefg":
        projects.store(name)
        orphan(projects, name)
    orphan(projects, "d")
    storage.always = faults.refusing("d")

    report = emptied()

    assert (report.removed, report.skipped) == (6, {UNTAKEN: 2})
    assert reasons(projects) == {"d": UNTAKEN}


@pytest.mark.parametrize("fault", [faults.expired, faults.wrong_json, faults.web_page])
def test_a_wrong_key_or_address_ends_the_sweep_and_costs_no_file_its_turn(
    projects: Projects, storage: Storage, emptied: Emptied, fault: Fault
) -> None:
    projects.store("a")
    orphan(projects, "a")
    storage.always = fault

    report = emptied()

    assert report.ended is Ended.REFUSED
    assert "CODINGIT_SUPABASE_" in str(report.refused)
    assert SECRET_KEY not in str(report)
    storage.always = None
    assert emptied().removed == 1


def test_an_answer_that_was_lost_is_known_from_the_database(
    projects: Projects, storage: Storage, emptied: Emptied
) -> None:
    projects.store("a")
    orphan(projects, "a")
    storage.faults = [faults.reset_when_done, faults.broken, faults.broken]

    report = emptied()

    assert (report.removed, report.skipped) == (1, {})
    assert projects.outbox() == []


def test_two_at_once_do_no_harm(projects: Projects, storage: Storage, emptied: Emptied) -> None:
    for number in range(150):
        projects.store(f"file {number}")
        orphan(projects, f"file {number}")
    with ThreadPoolExecutor(2) as pool:
        reports = [each.result(30) for each in [pool.submit(emptied) for _ in range(2)]]

    assert sum(report.removed for report in reports) == 150, reports
    assert set(storage.deleted.values()) == {1}
    assert (projects.stored(), projects.outbox()) == (set(), [])


def test_each_bucket_is_asked_for_its_own(projects: Projects, storage: Storage, emptied: Emptied) -> None:
    for bucket in ("fragments", "project-files"):
        projects.store("same name", bucket=bucket)
        orphan(projects, "same name", bucket=bucket)

    assert emptied().removed == 2
    assert storage.requests == ["/storage/v1/object/fragments", "/storage/v1/object/project-files"]


def test_no_transaction_is_open_while_storage_is_asked(
    projects: Projects, storage: Storage, emptied: Emptied, rows: Rows
) -> None:
    projects.store("a")
    orphan(projects, "a")
    seen: list[int] = []

    def look(_: faults.Speaker) -> bool:
        open_ones = """SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL"""
        seen.append(rows.execute(open_ones)[0]["count"])
        return True

    storage.faults = [look]
    emptied()

    assert seen == [0]


def test_a_preview_names_files_and_reasons_fit_for_a_terminal(projects: Projects, engine: Engine) -> None:
    orphan(projects, "a\x1b[2Jb\n")

    with Session(engine) as session:
        found = OrphanedFiles(settings=Settings(_env_file=None)).expired(session)

    assert (found.count, found.sample) == (1, ("project-files/a?[2Jb?",))


def test_a_purge_that_is_killed_twice_is_ended_by_the_next_run(
    owner_url: DatabaseUrl, projects: Projects, storage: Storage
) -> None:
    """Of 500 projects with two files each, beside 50 that are live and 50 that may still be restored."""
    doomed = projects.make(500, deleted=31)
    kept = {*projects.make(50), *projects.make(50, deleted=29)}
    files = {f"{project}/{number}" for project in kept for number in (1, 2)}
    with running(owner_url, storage) as process:
        assert eventually(lambda: len(projects.there()) < 550, within=30)
        process.kill()
    there = projects.there()
    assert kept < there, "it was killed in the middle"
    assert projects.leaves() == len(there) * EACH, "what is there is whole"
    assert len(projects.outbox()) == 2 * (600 - len(there)), "what is gone has left the names of its files"
    assert len(projects.stored()) == 1200
    with running(owner_url, storage) as process:
        assert eventually(lambda: len(storage.deleted) > 100, within=30)
        process.kill()
    assert 100 < len(storage.deleted) < 1000, "it was killed in the middle"
    with running(owner_url, storage) as process:
        assert process.wait(60) == 0

    assert projects.there() == kept
    assert projects.leaves() == len(kept) * EACH
    assert projects.outbox() == []
    assert projects.stored() == files
    assert dict(storage.deleted) == {(BUCKET, f"{project}/{number}"): 1 for project in doomed for number in (1, 2)}


@contextmanager
def running(url: DatabaseUrl, storage: Storage) -> Iterator[subprocess.Popen[bytes]]:
    """A process that purges and empties the outbox; gone when the block is left."""
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, url.libpq, storage.url])
    try:
        yield process
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
        process.wait()


def purge_and_empty(url: str, storage_url: str) -> None:
    """What the process does, in small steps."""
    from db.engine import engine as engine_of

    engine = engine_of(DatabaseUrl.parse(url))
    for name in ("soft_deleted_projects", "orphaned_files"):
        small = replace(policy(name, **key(storage_url)), first=10, largest=10, pause=timedelta(milliseconds=5))
        report = sweep.carry_out(small, engine)
        assert report.ended is Ended.DONE, report
