"""`codingit-worker tasks …` as a person or a program types it, on rows as their owners leave them."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from io import BytesIO, TextIOWrapper
from uuid import UUID, uuid4

import pytest
from psycopg.types.json import Jsonb

from db.engine import Database
from db.queries import queue
from db.url import DatabaseUrl
from tests.integration.queue.conftest import append, finish, try_claim
from tests.support.rows import Rows
from worker.cli import main
from worker.settings import settings

Typed = Callable[..., subprocess.CompletedProcess[str]]
EVIL = "\x1b[31mred\x1b]0;title\x07 [bold]not markup[/bold] \u202egnp.exe"


@pytest.fixture
def env(owner_url: DatabaseUrl) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "ADMIN_DATABASE_URL": owner_url.libpq, "COLUMNS": "200"}


@pytest.fixture
def typed(env: dict[str, str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Typed]:
    """Runs `codingit-worker tasks …` without a terminal, in this process, since a process each would take minutes."""

    def run(*words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
        settings.cache_clear()
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["codingit-worker", "tasks", *words])
        monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(stdin)))
        capfd.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        said = capfd.readouterr()
        return subprocess.CompletedProcess(words, int(left.value.code or 0), said.out, said.err)

    yield run
    settings.cache_clear()


def command(*words: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "worker", "tasks", *words)


def answered(done: subprocess.CompletedProcess[str]) -> object:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def refused(done: subprocess.CompletedProcess[str], code: int) -> str:
    """The one sentence with which a command was refused."""
    assert (done.returncode, done.stderr.count("\n")) == (code, 1), done.stderr
    assert done.stderr.startswith("Error: ")
    return done.stderr.strip()


def test_a_task_is_added_as_the_web_app_would(typed: Typed, rows: Rows) -> None:
    user = rows.user()
    rows.execute("UPDATE auth.users SET email = 'Ann@example.com' WHERE id = %s", user)
    wishes = ("--repo", "https://example.com/a/b", "--model", "m-1", "--branch", "topic", "--agent", "claude")

    added = answered(typed("add", "-", "--user", "ann@EXAMPLE.com", *wishes, "--json", stdin="Grüß\nmich\n".encode()))

    assert isinstance(added, dict)
    row = rows.execute("SELECT * FROM public.tasks WHERE id = %s", added["id"])[0]
    expected = {"prompt": "Grüß\nmich\n", "user_id": user, "status": "pending", "progress": 0, "branch_name": "topic"}
    expected |= {"repo_url": "https://example.com/a/b", "selected_agent": "claude", "selected_model": "m-1"}
    assert {name: row[name] for name in expected} == expected
    [entry] = row["logs"]
    assert (entry["type"], entry["message"], len(entry["id"])) == ("info", "Task created, preparing to start...", 21)


def test_an_owner_must_be_named_and_known(typed: Typed, rows: Rows) -> None:
    assert "--user" in refused(typed("add", "Hello"), 2)
    stranger = str(uuid4())
    assert stranger in refused(typed("add", "Hello", "--user", stranger), 1)
    assert "nobody@example.com" in refused(typed("add", "Hello", "--user", "nobody@example.com"), 1)
    assert rows.execute("SELECT id FROM public.tasks") == []


def test_prompts_that_cannot_be_stored_are_wrong_use(typed: Typed, rows: Rows) -> None:
    user = str(rows.user())
    for prompt in (b"", b" \n", b"a\0b", b"\xff\xfe"):
        assert "prompt" in refused(typed("add", "-", "--user", user, stdin=prompt), 2)
    assert typed("add").returncode == 2


def test_the_list_is_newest_first_and_goes_on_page_by_page(typed: Typed, rows: Rows) -> None:
    ann, ben = rows.user(), rows.user()
    ids = [rows.task(user=ann if number % 2 else ben) for number in range(5)]
    rows.execute("UPDATE public.tasks SET created_at = 'infinity', updated_at = '-infinity' WHERE id = %s", ids[0])
    rows.execute("UPDATE public.tasks SET status = 'error' WHERE id = ANY(%s)", ids[:2])

    def listed(*options: str) -> list[int]:
        found = answered(typed("list", "--json", *options))
        assert isinstance(found, list)
        return [task["id"] for task in found]

    assert listed() == ids[::-1]
    assert listed("--limit", "2") == [ids[4], ids[3]]
    assert listed("--limit", "2", "--before", str(ids[3])) == [ids[2], ids[1]]
    assert listed("--status", "error, completed") == [ids[1], ids[0]]
    assert listed("--user", str(ann)) == [ids[3], ids[1]]
    assert f"--before {ids[3]}" in typed("list", "--limit", "2").stdout
    assert "Did you mean error?" in refused(typed("list", "--status", "eror"), 2)


def test_a_row_cannot_speak_to_the_terminal(typed: Typed, rows: Rows) -> None:
    entry = {"id": "x", "timestamp": EVIL, "type": "error", "message": EVIL}
    task = rows.task(prompt=EVIL, branch_name=EVIL, repo_url=EVIL, selected_model=EVIL, logs=Jsonb([entry]))
    rows.execute("UPDATE public.tasks SET status = 'error' WHERE id = %s", task)

    for words in (("list",), ("show", str(task)), ("watch", str(task))):
        said = typed(*words).stdout
        assert "red [bold]not markup[/bold] gnp.exe" in said
        assert not {"\x1b", "\x07", "\u202e"} & set(said)


@pytest.mark.parametrize(
    ("logs", "messages"),
    [
        ([{"message": "an array"}], ["an array"]),
        (json.dumps([{"message": "a string"}]), ["a string"]),
        ([5, "text", None, {"no": "message"}, [], {"message": {"of": 1}}], [None] * 5 + ['{"of": 1}']),
        ("not JSON", []),
        ({"an": "object"}, []),
        (None, []),
    ],
)
def test_logs_of_any_kind_can_be_shown(typed: Typed, rows: Rows, logs: object, messages: list[str | None]) -> None:
    task = rows.task(logs=Jsonb(logs))

    shown = answered(typed("show", str(task), "--json"))

    assert isinstance(shown, dict)
    assert [entry["message"] for entry in shown["logs"]] == messages
    assert typed("show", str(task)).returncode == 0
    assert typed("list").returncode == 0


def test_show_tells_every_attempt(typed: Typed, rows: Rows, database: Database) -> None:
    task = rows.task()
    claimed = try_claim(database, task, holder="runs@host task-1")
    assert claimed
    push = queue.Pushed(branch="topic", head="1234567890abcdef", base=None)
    queue.record_push(database, task, fence=claimed.fence, push=push)
    rows.execute("UPDATE worker.runs SET started_at = now() - interval '90 s'")
    finish(database, claimed)

    shown = answered(typed("show", str(task), "--json"))
    said = typed("show", str(task)).stdout

    assert isinstance(shown, dict)
    [attempt] = shown["attempts"]
    assert 90 <= attempt.pop("seconds") < 100
    assert attempt == {
        "attempt": 1,
        "worker": "runs@host task-1",
        "outcome": "completed",
        "error": None,
        "branch": "topic",
        "head": "1234567890abcdef",
    }
    assert "runs@host" in said
    assert "1234567890" in said
    assert "tasks list" in refused(typed("show", "999"), 1)


def test_watch_follows_to_the_end_and_exits_by_it(env: dict[str, str], rows: Rows, database: Database) -> None:
    task = rows.task(logs=Jsonb([]))
    with subprocess.Popen(command("watch", str(task)), env=env, stdout=subprocess.PIPE, text=True) as watching:
        claimed = try_claim(database, task)
        assert claimed
        append(database, claimed, "first", "second")
        assert watching.stdout
        assert [watching.stdout.readline().split()[-1] for _ in range(2)] == ["first", "second"]
        finish(database, claimed, outcome="error")
        rest = watching.stdout.read().splitlines()
    assert watching.returncode == 1
    assert [rest[0].split()[-1], rest[-1]] == ["done", f"Task {task}: error"]


def test_watch_of_what_is_not_there_or_goes_away_fails(env: dict[str, str], typed: Typed, rows: Rows) -> None:
    assert "There is no task 999" in refused(typed("watch", "999"), 1)
    task = rows.task(logs=Jsonb([{"message": "hello"}]))
    with subprocess.Popen(
        command("watch", str(task), "--json"), env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as watching:
        assert watching.stdout
        assert watching.stderr
        assert json.loads(watching.stdout.readline())["message"] == "hello"
        rows.execute("DELETE FROM public.tasks WHERE id = %s", task)
        assert "was deleted" in watching.stderr.read()
    assert watching.returncode == 1


def test_ctrl_c_ends_the_watching_and_not_the_task(env: dict[str, str], rows: Rows) -> None:
    task = rows.task(logs=Jsonb([{"message": "hello"}]))
    with subprocess.Popen(
        command("watch", str(task)), env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as watching:
        assert watching.stdout
        assert watching.stderr
        watching.stdout.readline()
        watching.send_signal(signal.SIGINT)
        assert f"task {task} goes on" in watching.stderr.read()
    assert watching.returncode == 130
    assert rows.status(task) == "pending"


def test_cancel_ends_what_waits_or_runs(typed: Typed, rows: Rows) -> None:
    task = rows.task()

    assert answered(typed("cancel", str(task), "--json")) == {"id": task, "was": "pending", "status": "error"}

    assert rows.status(task) == "error"
    assert rows.messages(task)[-1] == "Cancelled by an operator."
    assert "already ended" in refused(typed("cancel", str(task)), 1)
    assert "no task 999" in refused(typed("cancel", "999"), 1)


def test_retry_puts_back_what_has_ended_and_nothing_that_runs(typed: Typed, rows: Rows, database: Database) -> None:
    task = rows.task()
    claimed = try_claim(database, task)
    assert claimed
    assert f"tasks cancel {task}" in refused(typed("retry", str(task)), 1)
    finish(database, claimed)

    assert answered(typed("retry", str(task), "--json")) == {"id": task, "was": "completed", "status": "pending"}

    assert rows.status(task) == "pending"
    assert typed("retry", str(task)).stdout == f"Task {task} waits already.\n"
    assert "no task 999" in refused(typed("retry", "999"), 1)


def test_delete_by_status_asks_first_and_spares_everything_else(typed: Typed, rows: Rows) -> None:
    ann = rows.user()
    ids = {name: rows.task(user=ann, status=name) for name in ("pending", "processing", "completed", "error")}
    strangers = rows.task(status="error")

    assert "--yes" in refused(typed("delete", "--status", "completed,error"), 2)
    deleted = typed("delete", "--status", "completed,error", "--user", str(ann), "--yes", "--json")

    assert answered(deleted) == {"deleted": 2}
    left = {row["id"] for row in rows.execute("SELECT id FROM public.tasks")}
    assert left == {ids["pending"], ids["processing"], strangers}
    assert typed("delete", "--status", "completed").stdout == "Deleted 0 tasks.\n"


def test_on_a_terminal_the_answer_decides(env: dict[str, str], rows: Rows) -> None:
    rows.task(status="error")
    for answer, code, left in ((b"n\n", 1, 1), (b"y\n", 0, 0)):
        ours, theirs = pty.openpty()
        with subprocess.Popen(
            command("delete", "--status", "error"), env=env, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs
        ) as asking:
            os.close(theirs)
            assert b"Delete 1 task (error)?" in os.read(ours, 1000)
            os.write(ours, answer)
            asking.wait(10)
        os.close(ours)
        assert asking.returncode == code
        assert len(rows.execute("SELECT id FROM public.tasks")) == left


def test_delete_by_id_says_which_there_were_not(typed: Typed, rows: Rows) -> None:
    first, second, third = (rows.task() for _ in range(3))

    assert answered(typed("delete", str(first), str(second), "--json")) == {"deleted": 2}

    some = typed("delete", str(first), str(third))
    assert (some.returncode, some.stdout) == (1, "Deleted 1 task.\n")
    assert f"no task {first}" in some.stderr
    for words in ((), (str(first), "--status", "error"), (str(first), "--user", str(uuid4()))):
        assert typed("delete", *words).returncode == 2


def test_where_status_is_text_with_a_check_everything_works_alike(typed: Typed, rows: Rows, database: Database) -> None:
    rows.execute("DROP INDEX public.worker_tasks_pending")
    rows.execute("DROP TRIGGER worker_ring_for_pending ON public.tasks")
    rows.execute("ALTER TABLE public.tasks ALTER status DROP DEFAULT, ALTER status TYPE text USING status::text")
    rows.execute("ALTER TABLE public.tasks ALTER status SET DEFAULT 'pending'")
    rows.execute("DROP TYPE public.task_status_enum")
    user = rows.user(UUID(int=7))

    assert typed("add", "Hello", "--user", str(user)).returncode == 0

    found = answered(typed("list", "--status", "pending", "--json"))
    assert isinstance(found, list)
    [task] = found
    assert typed("cancel", str(task["id"])).returncode == 0
    assert answered(typed("delete", "--status", "error,pending", "--yes", "--json")) == {"deleted": 1}


def test_a_database_of_another_kind_is_told_in_a_sentence(
    env: dict[str, str], typed: Typed, owner_url: DatabaseUrl, worker_url: DatabaseUrl
) -> None:
    env["ADMIN_DATABASE_URL"] = worker_url.libpq
    assert "ADMIN_DATABASE_URL" in refused(typed("list"), 1)
    env["ADMIN_DATABASE_URL"] = owner_url.with_database("template1").libpq
    assert "db upgrade" in refused(typed("list"), 1)
    env["ADMIN_DATABASE_URL"] = "postgresql://ann:hush-hush@127.0.0.1:1/none"
    began = time.monotonic()
    said = refused(typed("list"), 1)
    assert "does not answer" in said
    assert "hush-hush" not in said
    assert time.monotonic() - began < 10
