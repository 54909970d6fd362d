"""A row becomes a pushed branch; whatever a row holds, it ends with words that its owner understands."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from psycopg.types.json import Jsonb

from tests.acceptance.conftest import OWNER, TOKEN, Remote
from tests.support.fleet import Fleet, until
from tests.support.rows import Rows

Adding = Callable[..., int]
QUICK = "rehearse: pause 0\nrehearse: steps 1\n"


@pytest.fixture
def running(fleet: Fleet) -> Fleet:
    fleet.dispatcher()
    fleet.worker()
    return fleet


def ended(rows: Rows, *tasks: int) -> Callable[[], bool]:
    return lambda: all(rows.status(task) in {"completed", "error"} for task in tasks)


def test_a_pending_row_becomes_a_pushed_branch(running: Fleet, rows: Rows, add: Adding, remote: Remote) -> None:
    url = remote.repository()
    generated = add(QUICK + "Add a greeting", repo_url=url)
    named = add(QUICK + "Greet again", repo_url=url, branch_name="feature/greet")
    by_itself = add(QUICK + "rehearse: edit notes.txt hello\nrehearse: commit Mine", repo_url=url)
    nothing = add(QUICK + "rehearse: change nothing", repo_url=url)
    no_repository = add(QUICK + "What is the answer?")
    until(ended(rows, generated, named, by_itself, nothing, no_repository), within=40, what=running.text)

    heads = remote.heads()
    row = rows.see(generated)
    assert (row["status"], row["progress"]) == ("completed", 100)
    assert set(heads) == {"main", row["branch_name"], "feature/greet", rows.see(by_itself)["branch_name"]}
    assert row["branch_name"].startswith(f"codingit/{generated}-")
    assert heads[row["branch_name"]] in rows.messages(generated)[-1]
    assert remote.show(f"{heads['feature/greet']}:README.md") == "# A site"
    assert "Mine" in remote.show(rows.see(by_itself)["branch_name"])
    assert any("changed nothing" in message for message in rows.messages(nothing))
    assert rows.see(no_repository)["status"] == "completed"
    assert running.agents() == []
    until(lambda: not list((running.state / "workspaces").iterdir()), what="the workspaces are removed")
    assert rows.execute("SELECT FROM worker.leases") == []
    assert {run["outcome"] for run in rows.runs(generated)} == {"completed"}


HOSTILE: dict[str, tuple[dict[str, object], str]] = {
    "an unknown agent": ({"agent": "hal9000"}, "There is no agent"),
    "an agent that is not here, or would not be isolated": ({"agent": "cursor"}, "whoever runs the worker"),
    "an agent that is an option": ({"agent": "--help"}, "There is no agent"),
    "a model that is an option": ({"selected_model": "--dangerous"}, "begins with a letter or a digit"),
    "an option for an address": ({"repo_url": "--upload-pack=/tmp/x"}, "https://"),
    "ext::": ({"repo_url": "ext::sh%20-c%20id"}, "https://"),
    "file://": ({"repo_url": "file:///etc"}, "https://"),
    "ssh": ({"repo_url": "git@github.com:acme/site.git"}, "https://"),
    "credentials in the address": ({"repo_url": "https://me:hunter2hunter2@example.com/a/b"}, "user name or password"),
    "loopback": ({"repo_url": "https://127.0.0.1/acme/site"}, "not on the public internet"),
    "loopback in disguise": ({"repo_url": "https://2130706433/acme/site"}, "not valid"),
    "link-local": ({"repo_url": "https://169.254.169.254/latest/meta-data"}, "not on the public internet"),
    "a branch that git refuses": ({"repo_url": "URL", "branch_name": "a..b"}, "branch"),
    "a branch that is an option": ({"repo_url": "URL", "branch_name": "--force"}, "branch"),
    "the default branch": ({"repo_url": "URL", "branch_name": "main"}, "default branch"),
    "a prompt of 10 MB": ({"prompt": "x" * 10_000_000}, "longer than 100,000 characters"),
    "an empty prompt": ({"prompt": " \n "}, "empty"),
}


def test_hostile_rows_end_as_errors_that_a_user_understands(
    running: Fleet, rows: Rows, add: Adding, remote: Remote
) -> None:
    url = remote.repository()
    tasks = {}
    for name, (columns, _) in HOSTILE.items():
        filled = {key: url if value == "URL" else value for key, value in columns.items()}
        tasks[name] = add(**filled)
    stranger = rows.task(user=uuid4(), prompt="Read what is not mine", repo_url=url)
    until(ended(rows, *tasks.values(), stranger), within=60, what=running.text)

    for name, (_, words) in HOSTILE.items():
        row = rows.see(tasks[name])
        last = row["logs"][-1]
        assert (row["status"], last["type"]) == ("error", "error"), name
        assert words in last["message"], name
        assert "fault of the worker" not in last["message"], name
        assert "hunter2" not in json.dumps(row["logs"]), name
    assert rows.status(stranger) == "error"
    assert "does not exist" in rows.messages(stranger)[-1] or "not allowed" in rows.messages(stranger)[-1]
    assert set(remote.heads()) == {"main"}


def test_prompts_reach_the_agent_as_they_are(running: Fleet, rows: Rows, add: Adding) -> None:
    prompts = [
        QUICK + r"An escape \u0000 and \\u0000",
        QUICK + "; rm -rf / $(id) `id` && true | cat > x",
        "-rf --help\n" + QUICK,
    ]
    tasks = [add(prompt) for prompt in prompts]
    until(ended(rows, *tasks), within=30, what=running.text)

    assert [rows.status(task) for task in tasks] == ["completed"] * 3


def test_an_agent_that_fails_floods_or_babbles_ends_as_it_should(
    running: Fleet, rows: Rows, add: Adding, remote: Remote
) -> None:
    url = remote.repository()
    expected = {
        add(QUICK + "rehearse: fail I cannot do that", repo_url=url): ("error", "I cannot do that"),
        add(QUICK + "rehearse: exit 3", repo_url=url): ("error", "without a result (exit code 3)"),
        add(QUICK + "rehearse: crash", repo_url=url): ("error", "without a result (exit code 139)"),
        add(QUICK + "rehearse: garbage", repo_url=url): ("completed", "Completed"),
        add(QUICK + "rehearse: bytes 3MB", repo_url=url): ("completed", "Completed"),
        add(QUICK + "rehearse: print 10000 lines", repo_url=url): ("completed", "Completed"),
        add(QUICK + "rehearse: spawn 3", repo_url=url): ("completed", "Completed"),
    }
    until(ended(rows, *expected), within=60, what=running.text)

    for task, (status, words) in expected.items():
        assert rows.status(task) == status, (rows.messages(task)[-1], running.text())
        assert words in rows.messages(task)[-1]
        size = rows.execute("SELECT octet_length(logs::text) AS bytes FROM public.tasks WHERE id = %s", task)
        assert size[0]["bytes"] <= 900_000
    until(lambda: running.agents() == [], what="every descendant gone")


def test_an_overloaded_provider_puts_the_task_off(running: Fleet, rows: Rows, add: Adding) -> None:
    task = add(QUICK + "rehearse: overloaded")
    until(lambda: (rows.lease(task) or {}).get("backoffs") == 1, what=running.text)

    lease = rows.lease(task)
    assert lease
    assert rows.status(task) == "pending"
    assert rows.execute("SELECT %s::timestamptz > now() AS later", lease["not_before"])[0]["later"]


def test_no_secret_of_the_worker_is_seen_by_an_agent_or_kept(
    running: Fleet, rows: Rows, add: Adding, remote: Remote, tmp_path: Path
) -> None:
    url = remote.repository()
    shows_env = add(QUICK + "rehearse: env", repo_url=url)
    prints_token = add(QUICK + f"rehearse: secret {TOKEN}", repo_url=url)
    until(ended(rows, shows_env, prints_token), within=30, what=running.text)

    assert rows.status(shows_env) == rows.status(prints_token) == "completed"
    seen = "\n".join(rows.messages(shows_env))
    assert "DATABASE_URL" not in seen
    assert "CODINGIT_" not in seen
    kept = json.dumps([rows.see(shows_env)["logs"], rows.see(prints_token)["logs"]])
    assert TOKEN not in kept
    transcripts = list((running.state / "transcripts").rglob("*.gz"))
    assert transcripts
    for path in transcripts:
        assert TOKEN.encode() not in subprocess.run(["gzip", "-dc", path], capture_output=True, check=True).stdout
    assert TOKEN not in running.text()


def test_each_limit_cuts_the_run_off_and_saves_what_there_is(
    fleet: Fleet, rows: Rows, add: Adding, remote: Remote
) -> None:
    url = remote.repository()
    fleet.dispatcher()
    fleet.worker(CODINGIT_IDLE_LIMIT="1500ms", CODINGIT_OUTPUT_LIMIT="1MB")
    idle = add("rehearse: edit saved.txt kept\nrehearse: hang", repo_url=url)
    flood = add("rehearse: pause 0\nrehearse: print 100000 lines", repo_url=url)
    until(ended(rows, idle, flood), within=40, what=fleet.text)

    assert rows.status(idle) == rows.status(flood) == "error"
    assert "printed nothing for 1.5 seconds" in rows.messages(idle)[-1]
    assert "printed more than 1 MB" in rows.messages(flood)[-1]
    branch = rows.see(idle)["branch_name"]
    assert remote.show(f"{branch}:saved.txt") == "kept"
    assert remote.show(branch).splitlines()[4].strip().startswith("Partial:")


def test_a_run_out_of_time_is_warned_before_and_what_there_is_is_pushed(
    fleet: Fleet, rows: Rows, add: Adding, remote: Remote
) -> None:
    fleet.dispatcher()
    fleet.worker(CODINGIT_WALL_LIMIT="8s")
    task = add("rehearse: edit saved.txt kept\nrehearse: hang", repo_url=remote.repository())
    until(ended(rows, task), within=40, what=fleet.text)

    messages = rows.messages(task)
    assert sum("of which no more than 4 seconds is left" in message for message in messages) == 1
    assert rows.status(task) == "error"
    assert "took longer than 8 seconds in all" in messages[-1]
    branch = rows.see(task)["branch_name"]
    assert remote.show(f"{branch}:saved.txt") == "kept"
    assert remote.show(branch).splitlines()[4].strip().startswith("Partial:")


def test_a_log_that_the_web_app_keeps_as_text_stays_text(running: Fleet, rows: Rows, add: Adding) -> None:
    task = add(QUICK, logs=Jsonb("[]"))
    until(ended(rows, task), what=running.text)

    stored = rows.see(task)["logs"]
    assert isinstance(stored, str)
    assert json.loads(stored)[-1]["message"].startswith("Completed after")


@pytest.fixture
def several_users(rows: Rows) -> list[int]:
    return [rows.task(user=uuid4(), prompt=QUICK) for _ in range(6)]


def test_tasks_of_many_users_all_end_once(running: Fleet, rows: Rows, several_users: list[int]) -> None:
    until(ended(rows, *several_users), within=40, what=running.text)

    assert all(len(rows.runs(task)) == 1 for task in several_users)
    assert OWNER not in {run["user_id"] for task in several_users for run in rows.runs(task)}
