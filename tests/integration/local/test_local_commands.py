"""`codingit-worker local …`, typed as a person or a program would."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
import redis

from worker.local import state

Command = Callable[..., subprocess.CompletedProcess[str]]
STATUS = {"running", "ready", "command", "pid", "since", "postgres_port", "redis_port", "folder"}


def gone(processes: Callable[[], list[int]], folder: Path, *, seconds: float = 5) -> bool:
    """Whether in time no server is left and nobody holds the folder."""
    deadline = time.monotonic() + seconds
    while (processes() or state.running(folder)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return processes() == [] and state.running(folder) is None


def test_start_status_url_stop(command: Command, processes: Callable[[], list[int]], folder: Path) -> None:
    started = command("start", "--json")
    assert started.returncode == 0, started.stderr
    status = json.loads(started.stdout)
    assert status.keys() == STATUS
    assert (status["running"], status["ready"], status["command"]) == (True, True, "local start")

    urls = json.loads(command("url", "--json").stdout)
    assert urls.keys() == {"database_url", "redis_url"}
    assert urlsplit(urls["database_url"]).port == status["postgres_port"]
    with psycopg.connect(urls["database_url"]) as connection:
        assert connection.execute("select current_user, current_database()").fetchone() == ("postgres", "codingit")
    with redis.Redis.from_url(urls["redis_url"]) as broker:
        assert broker.ping()
    shown = command("status")
    assert (shown.returncode, str(status["postgres_port"]) in shown.stdout) == (0, True)
    assert (urlsplit(urls["database_url"]).password or "") not in shown.stdout + started.stdout
    plain = command("url").stdout.splitlines()
    assert plain == [f"DATABASE_URL={urls['database_url']}", f"REDIS_URL={urls['redis_url']}"]

    stopped = command("stop", "--json")
    assert json.loads(stopped.stdout) == {"stopped": True, "deleted": False, "folder": str(folder)}
    assert processes() == []


def test_where_nothing_runs(command: Command) -> None:
    status = command("status", "--json")
    assert status.returncode == 1
    assert json.loads(status.stdout)["running"] is False
    url = command("url")
    assert (url.returncode, url.stdout) == (1, "")
    assert "codingit-worker local start" in url.stderr
    stop = command("stop")
    assert (stop.returncode, stop.stdout) == (0, "No servers run for this checkout.\n")


def test_a_second_start_says_who_holds_the_checkout(used: Path, command: Command) -> None:
    pid = json.loads(command("start", "--json").stdout)["pid"]

    second = command("start")

    assert second.returncode == 1
    assert second.stderr.startswith(f"Error: `codingit-worker local start` (pid {pid}, since ")
    assert "codingit-worker local stop" in second.stderr
    assert state.running(used) is not None


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_no_signal_to_the_holder_leaves_an_orphan(
    used: Path, command: Command, processes: Callable[[], list[int]], sign: signal.Signals
) -> None:
    pid = json.loads(command("start", "--json").stdout)["pid"]

    os.kill(pid, sign)

    assert gone(processes, used)


def test_when_one_server_dies_the_other_is_stopped(
    used: Path, command: Command, processes: Callable[[], list[int]]
) -> None:
    command("start")
    broker = next(pid for pid in processes() if "valkey" in Path(f"/proc/{pid}/cmdline").read_text())

    os.kill(broker, signal.SIGKILL)

    assert gone(processes, used)


def test_stop_ends_an_up_as_well(command: Command, folder: Path) -> None:
    up = (
        "import sys, time; from pathlib import Path; from worker.local import state\n"
        "with state.held(Path(sys.argv[1])): print('ready', flush=True); time.sleep(60)"
    )
    with subprocess.Popen((sys.executable, "-c", up, folder), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        refused = command("start")
        assert f"`codingit-worker up` (pid {process.pid}, since " in refused.stderr
        assert "Ctrl-C" in refused.stderr
        assert "still starting" in command("url").stderr
        assert "Stopped `codingit-worker up`" in command("stop").stdout
        assert process.wait(5) == -signal.SIGTERM


def test_delete_removes_everything_also_of_running_servers(command: Command, used: Path) -> None:
    command("start")

    assert json.loads(command("stop", "--delete", "--json").stdout)["deleted"] is True

    assert not used.exists()
    used.mkdir()


def test_delete_spares_a_folder_that_is_not_ours(command: Command, folder: Path) -> None:
    (folder / "precious").touch()

    refused = command("stop", "--delete")

    assert refused.returncode == 1
    assert "not removed" in refused.stderr
    assert (folder / "precious").exists()


def test_a_failing_start_says_why_and_leaves_nothing(command: Command, folder: Path) -> None:
    (folder / "postgres").mkdir()

    failed = command("start")

    assert failed.returncode == 1
    assert failed.stderr.startswith(f"Error: {folder}/postgres holds no database")
    assert failed.stderr.count("\n") == 1
    assert state.running(folder) is None
