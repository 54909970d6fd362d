"""`codingit-worker maintenance …` and `projects restore` as a person or a program types them."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

import beat_schedule
from db.url import DatabaseUrl
from tests.support.auth import Auth
from tests.support.rows import Rows
from worker.cli import main
from worker.settings import settings

Typed = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def env(owner_url: DatabaseUrl, tmp_path: Path) -> dict[str, str]:
    address = {"MAINTENANCE_DATABASE_URL": owner_url.libpq, "ADMIN_DATABASE_URL": owner_url.libpq}
    return address | {"PATH": os.environ["PATH"], "COLUMNS": "200", "CODINGIT_STATE_DIR": str(tmp_path)}


@pytest.fixture
def typed(env: dict[str, str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Typed]:
    """Runs `codingit-worker …` without a terminal, in this process."""

    def run(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
        settings.cache_clear()
        for name, value in (env | more).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["codingit-worker", *words])
        capfd.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        said = capfd.readouterr()
        return subprocess.CompletedProcess(words, int(left.value.code or 0), said.out, said.err)

    yield run
    settings.cache_clear()


@pytest.fixture
def auth(rows: Rows) -> Auth:
    return Auth(rows)


def answered(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def refused(done: subprocess.CompletedProcess[str], code: int) -> str:
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith("Error: ")
    return done.stderr.strip()


def test_every_policy_is_listed_with_its_time(typed: Typed) -> None:
    found = answered(typed("maintenance", "list", "--json", CODINGIT_MAINTENANCE_OFF="runs"))

    assert {each["name"] for each in found} == set(beat_schedule.JOBS)
    times = {each["name"]: each["when"] for each in found}
    assert times["expired_sessions"] == "7 * * * *"
    assert times["runs"] is None
    assert times["finished_tasks"] is None
    shown = typed("maintenance", "list").stdout
    assert all(each["name"] in shown for each in found)


def test_a_preview_tells_and_removes_nothing(typed: Typed, auth: Auth) -> None:
    auth.many(7)
    oldest = auth.session(expired=9999)

    found = answered(typed("maintenance", "preview", "expired_sessions", "--json"))
    assert (found["count"], found["sample"][0].split()[0]) == (8, str(oldest))
    assert "would remove 8" in typed("maintenance", "preview", "expired_sessions").stdout
    assert "would remove 8" in typed("maintenance", "run", "expired_sessions", "--dry-run").stdout
    assert len(auth.sessions()) == 8


def test_a_run_removes_reports_and_is_remembered(typed: Typed, auth: Auth) -> None:
    auth.many(7)

    limited = answered(typed("maintenance", "run", "expired_sessions", "--limit", "3", "--json"))
    assert (limited["removed"], limited["ended"], limited["remaining"]) == (3, "limit", 4)
    done = typed("maintenance", "run", "expired_sessions")
    assert "expired_sessions removed 4 (1 batch," in done.stdout
    assert done.returncode == 0
    assert auth.sessions() == set()
    remembered = answered(typed("maintenance", "history", "--json"))
    assert [(each["name"], each["report"]["removed"]) for each in remembered] == [
        ("expired_sessions", 4),
        ("expired_sessions", 3),
    ]
    assert re.search(r"expired_sessions +limit +3 +4 ", typed("maintenance", "history").stdout)
    assert answered(typed("maintenance", "history", "runs", "--json")) == []


def test_a_preview_tells_what_a_run_would_leave_and_why(typed: Typed, project: Callable[..., UUID], rows: Rows) -> None:
    project(31)
    rows.execute("ALTER FUNCTION public.soft_delete_project(uuid) SECURITY DEFINER SET work_mem = '1MB'")
    foreign, stored = uuid4(), uuid4()
    rows.execute("INSERT INTO storage.buckets (id, name) VALUES ('b', 'b')")
    rows.execute("INSERT INTO storage.objects (bucket_id, name) VALUES ('b', %s)", str(stored))
    for name, why in ((foreign, "it is not theirs"), (stored, None), (uuid4(), None)):
        rows.execute(
            """INSERT INTO worker.orphaned_files (bucket, name, owner, named_by, project, last_error)
            VALUES ('b', %s, gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), %s)""",
            *(str(name), why),
        )

    unsafe = answered(typed("maintenance", "preview", "soft_deleted_projects", "--json"))
    files = answered(typed("maintenance", "preview", "orphaned_files", "--json"))
    told = typed("maintenance", "run", "soft_deleted_projects", "--dry-run").stdout

    assert [(count, why[:8]) for why, count in unsafe["staying"].items()] == [(1, "Any user")]
    assert files["staying"] == {
        "it is not theirs": 1,
        "CODINGIT_SUPABASE_URL and CODINGIT_SUPABASE_KEY are not set": 1,
    }
    assert files["count"] == 3
    assert "But 1 of these would stay: Any user can put any project into the bin" in told
    done = typed("maintenance", "run", "soft_deleted_projects")
    assert (done.returncode, "It ended because: somebody has to mend something first." in done.stdout) == (1, True)


def test_a_warning_is_no_part_of_the_json(typed: Typed, rows: Rows) -> None:
    rows.execute("INSERT INTO storage.buckets (id, name) VALUES ('b', 'b')")
    rows.execute(
        """INSERT INTO storage.s3_multipart_uploads (id, upload_signature, bucket_id, key, version, created_at)
        VALUES ('u', 's', 'b', 'k', 'v', now() - interval '8 days')"""
    )

    done = typed("maintenance", "run", "stale_multipart_uploads", "--json")

    assert answered(done)["removed"] == 1
    assert "uploads.bytes_left" in done.stderr


def test_the_history_of_a_policy_is_that_of_all_hosts_or_of_one(typed: Typed, rows: Rows) -> None:
    for name in ("workspaces@alpha", "workspaces@beta", "runs"):
        rows.execute("INSERT INTO worker.schedule_slots (name, scheduled_for, holder) VALUES (%s, now(), 'h')", name)

    def names(which: str) -> set[str]:
        return {each["name"] for each in answered(typed("maintenance", "history", which, "--json"))}

    assert names("workspaces") == {"workspaces@alpha", "workspaces@beta"}
    assert names("workspaces@beta") == {"workspaces@beta"}
    assert names("runs") == {"runs"}
    assert "maintenance list" in refused(typed("maintenance", "history", "workspace"), 2)


def test_an_empty_history_says_so(typed: Typed) -> None:
    assert typed("maintenance", "history").stdout == "Nothing was carried out yet.\n"


def test_a_policy_that_is_off_or_unknown_is_refused_with_what_to_do(typed: Typed) -> None:
    assert "CODINGIT_FINISHED_TASK_RETENTION" in refused(typed("maintenance", "run", "finished_tasks"), 2)
    assert "maintenance list" in refused(typed("maintenance", "preview", "session"), 2)


def test_a_role_without_rights_is_told_what_would_help(typed: Typed, worker_url: DatabaseUrl, auth: Auth) -> None:
    auth.many(1)
    for verb in ("preview", "run"):
        told = refused(typed("maintenance", verb, "expired_sessions", MAINTENANCE_DATABASE_URL=worker_url.libpq), 1)
        assert "GRANT SELECT, UPDATE, DELETE ON auth.sessions TO task_worker; -- as " in told
    assert len(auth.sessions()) == 1


def test_a_table_that_is_not_there_is_told_with_what_makes_it(typed: Typed, rows: Rows) -> None:
    rows.execute("DROP TABLE worker.runs")

    told = refused(typed("maintenance", "preview", "runs"), 1)
    assert "-- there is no table worker.runs; was codingit-worker db upgrade run?" in told


def test_a_disk_needs_no_database(typed: Typed, tmp_path: Path) -> None:
    old = tmp_path / "transcripts" / "7" / "1-a.log.gz"
    new = tmp_path / "transcripts" / "8" / "2-b.log.gz"
    for path in (old, new):
        path.parent.mkdir(parents=True)
        path.touch()
    os.utime(old, (time.time() - 31 * 86400,) * 2)
    nowhere = {"MAINTENANCE_DATABASE_URL": "postgresql://x@127.0.0.1:1/x"}

    assert answered(typed("maintenance", "preview", "transcripts", "--json", **nowhere))["sample"] == ["7/1-a.log.gz"]
    assert answered(typed("maintenance", "run", "transcripts", "--json", **nowhere))["removed"] == 1
    assert (old.exists(), new.exists()) == (False, True)


def test_a_long_run_shows_how_far_it_is_and_ends_cleanly_at_ctrl_c(env: dict[str, str], auth: Auth, rows: Rows) -> None:
    """Each row takes its time, so that the run lasts; the bar is for the terminal, the report for whoever reads it."""
    auth.many(400)
    rows.execute(
        """CREATE FUNCTION public.slowly() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN PERFORM pg_sleep(0.01); RETURN OLD; END $$"""
    )
    rows.execute("CREATE TRIGGER slowly BEFORE DELETE ON auth.sessions FOR EACH ROW EXECUTE FUNCTION public.slowly()")
    terminal, theirs = pty.openpty()
    argv = (sys.executable, "-m", "worker", "maintenance", "run", "expired_sessions")
    process = subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=theirs, text=True)
    os.close(theirs)
    seen = b""
    while not re.search(rb"[1-9][0-9]*/400", seen):
        seen += os.read(terminal, 1000)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=20)
    os.close(terminal)

    assert process.returncode == 130
    assert "It ended because: it was told to stop. Run it again to go on." in said
    removed = re.search(r"removed (\d+)", said)
    assert removed
    assert int(removed[1]) == 400 - len(auth.sessions()) > 0


# Projects.


@pytest.fixture
def project(rows: Rows) -> Callable[..., UUID]:
    """A project that was deleted so many days ago, or is not."""

    def project(deleted: float | None = None) -> UUID:
        made = uuid4()
        rows.execute(
            """INSERT INTO public.projects (id, user_id, title, status, deleted_at) VALUES (%s, %s, 'Mine',
            (CASE WHEN %s::float IS NULL THEN 'archived' ELSE 'deleted' END)::public.project_status_enum,
            now() - make_interval(secs => %s))""",
            made,
            rows.user(),
            deleted,
            None if deleted is None else deleted * 86400,
        )
        return made

    return project


def stands(rows: Rows, project: UUID) -> tuple[str, bool]:
    [row] = rows.execute("SELECT status::text AS status, deleted_at FROM public.projects WHERE id = %s", project)
    return row["status"], row["deleted_at"] is not None


def test_a_deleted_project_is_restored_while_it_is_kept(typed: Typed, project: Callable[..., UUID], rows: Rows) -> None:
    ours, other = project(29.9), project(29.9)

    assert answered(typed("projects", "restore", str(ours), "--json")) == {"id": str(ours), "status": "active"}
    assert stands(rows, ours) == ("active", False)
    assert stands(rows, other) == ("deleted", True)


def test_it_is_too_late_once_its_purge_may_have_begun(typed: Typed, project: Callable[..., UUID], rows: Rows) -> None:
    late = project(30.1)

    assert "more than 30 days ago" in refused(typed("projects", "restore", str(late)), 1)
    assert stands(rows, late) == ("deleted", True)
    assert typed("projects", "restore", str(late), CODINGIT_PROJECT_RETENTION="31d").returncode == 0


def test_what_is_not_deleted_or_not_there_is_told_apart(typed: Typed, project: Callable[..., UUID], rows: Rows) -> None:
    archived = project()

    assert "is not deleted" in refused(typed("projects", "restore", str(archived)), 1)
    assert stands(rows, archived) == ("archived", False)
    assert "There is no project" in refused(typed("projects", "restore", str(uuid4())), 1)
