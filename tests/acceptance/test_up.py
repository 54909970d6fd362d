"""`codingit-worker up`, as a newcomer types it: it starts, shows, survives, and leaves nothing behind."""

import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.acceptance.conftest import git
from tests.integration.local.conftest import working_in
from tests.support.processes import eventually
from tests.support.rows import Rows
from worker.local import demo_user
from worker.local.servers import servers

NOBODYS = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
"""An environment without HOME, TERM or a setting."""


class Up:
    """One `up` on a folder of its own, its output in a file, its processes known by a mark in their environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.output = folder.with_suffix(".out")
        self.mark = uuid4().hex
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str, **env: str) -> None:
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                self.typed("up", *options),
                env={**NOBODYS, "MARK": self.mark, **env},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def typed(self, *words: str) -> tuple[str, ...]:
        return (sys.executable, "-m", "worker", *words, "--folder", str(self.folder))

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Another command on the same folder."""
        return subprocess.run(self.typed(*words), env=NOBODYS, capture_output=True, text=True, timeout=60, check=False)

    def add(self, prompt: str) -> subprocess.CompletedProcess[str]:
        """Add a task of the demo user's."""
        url = self.run("local", "url").stdout.partition("\n")[0].removeprefix("DATABASE_URL=")
        words = (sys.executable, "-m", "worker", "tasks", "add", prompt, "--user", demo_user.EMAIL)
        env = {**NOBODYS, "ADMIN_DATABASE_URL": url}
        return subprocess.run(words, env=env, capture_output=True, text=True, timeout=60, check=False)

    def said(self) -> str:
        return self.output.read_text()

    def until_said(self, words: str, *, within: float = 30) -> None:
        assert eventually(lambda: words in self.said(), within=within), f"{words!r} not said:\n{self.said()}"

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def ended(self, *, within: float = 30) -> int:
        assert self.process is not None
        return self.process.wait(within)

    def pid_of(self, *words: str) -> int:
        """Our child whose command line has these words."""
        for process in self.alive():
            parts = Path(f"/proc/{process}/cmdline").read_text().split("\0")
            parent = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1]
            if set(words) <= set(parts) and self.process and int(parent) == self.process.pid:
                return process
        raise AssertionError(f"nothing runs with {words}")

    def alive(self) -> list[int]:
        """Every process of this run: by its mark, or by the folder it works in."""
        marked = [int(process.name) for process in Path("/proc").glob("[0-9]*") if self._has_mark(process)]
        return sorted({*marked, *working_in(self.folder)})

    def _has_mark(self, process: Path) -> bool:
        try:
            return f"MARK={self.mark}".encode() in (process / "environ").read_bytes().split(b"\0")
        except OSError:
            return False

    def kill(self) -> None:
        for pid in self.alive():
            os.kill(pid, signal.SIGKILL)
        if self.process is not None:
            self.process.wait()


@pytest.fixture
def up() -> Iterator[Up]:
    """To be started; whatever is left of it at the end is killed."""
    folder = Path(tempfile.mkdtemp(prefix="codingit-up-"))
    started = Up(folder)
    try:
        yield started
    finally:
        started.kill()
        eventually(lambda: not started.alive())
        shutil.rmtree(folder)
        started.output.unlink(missing_ok=True)


@pytest.fixture
def look(up: Up) -> Callable[[], list[str]]:
    """The statuses of all tasks afterwards, and `held` for each that somebody still holds."""

    def statuses() -> list[str]:
        with servers(up.folder) as addresses:
            rows = Rows(addresses.database_url)
            found = [row["status"] for row in rows.execute("SELECT status::text FROM public.tasks")]
            found += ["held" for _ in rows.execute("SELECT task_id FROM worker.leases WHERE holder IS NOT NULL")]
            rows.close()
        return sorted(found)

    return statuses


def test_the_demo_from_nothing_to_its_end(up: Up, look: Callable[[], list[str]]) -> None:
    up.start("--demo", "--exit-when-done")

    assert up.ended(within=60) == 0, up.said()
    assert up.alive() == []

    said = up.said()
    assert "All 6 tasks ended as they should: 4 completed, 1 cancelled, 1 error" in said
    assert "\x1b" not in said
    assert "There are no moon plants" in said
    assert look() == ["completed"] * 4 + ["error"]
    branches = git("branch", "--format=%(refname:short)", cwd=up.folder / "up/repositories/demo/garden.git").split()
    assert branches[-2:] == ["how-to-test-1", "main"]
    assert [re.sub("[0-9]+", "N", name) for name in sorted(branches[:-2])] == [
        "codingit/N-write-down-how-often-each-plant-is",
        "codingit/N-describe-the-roses-and-commit-that",
    ]
    no_secret_is_readable(up)


def no_secret_is_readable(up: Up) -> None:
    """What was generated is in files that only we may read, in no log and not on the screen."""
    access = json.loads((up.folder / "up/access.json").read_text())
    for name in ("access.json", "credentials.toml"):
        assert stat.S_IMODE((up.folder / "up" / name).stat().st_mode) == 0o600
    logs = "".join(log.read_text() for log in [*up.folder.glob("*.log"), *up.folder.glob("up/logs/*")])
    for secret in (access["worker_password"], access["git_token"], access["flower_password"]):
        assert secret not in logs + up.said()


def test_sigterm_gives_back_what_runs_and_leaves_nothing(up: Up, look: Callable[[], list[str]]) -> None:
    up.start("--demo", "--exit-when-done", CODINGIT_GRACE="1s")
    up.until_said("processing")

    second = up.run("up", "--demo")
    assert second.returncode == 1
    assert second.stderr.startswith(f"Error: `codingit-worker up` (pid {up.process.pid if up.process else 0}, since ")
    up.send(signal.SIGTERM)

    assert up.ended(within=8) == 130, up.said()
    assert up.alive() == []
    assert {"processing", "held"}.isdisjoint(look())


def test_a_killed_demo_is_not_in_the_way_of_the_next(up: Up, look: Callable[[], list[str]]) -> None:
    up.start("--demo")
    up.until_said("processing")
    up.send(signal.SIGKILL)
    assert up.ended() == -signal.SIGKILL
    assert eventually(lambda: up.alive() == [], within=10)

    up.start("--demo", "--exit-when-done")

    assert up.ended(within=60) == 0, up.said()
    assert "pending" not in look()


def test_a_second_ctrl_c_hurries_and_still_gives_back(up: Up, look: Callable[[], list[str]]) -> None:
    up.start(CODINGIT_GRACE="30s")
    up.until_said("Everything runs")
    assert up.add("Take your time\nrehearse: sleep 60").returncode == 0
    up.until_said("processing")

    up.send(signal.SIGINT)
    up.until_said("Ctrl-C again hurries")
    up.send(signal.SIGINT)

    assert up.ended(within=20) == 0, up.said()  # not 30, as the grace is
    assert eventually(lambda: up.alive() == [])
    assert {"processing", "held"}.isdisjoint(look())


def test_a_killed_worker_comes_back_and_a_killed_up_leaves_nothing(up: Up) -> None:
    up.start("--concurrency", "1")
    up.until_said("Everything runs")

    os.kill(up.pid_of("worker", "runs"), signal.SIGKILL)
    up.until_said("The worker runs again", within=5)
    assert "The worker was ended by SIGKILL" in up.said()
    up.send(signal.SIGKILL)

    assert eventually(lambda: up.alive() == [], within=10)


def test_servers_of_local_start_are_used_and_left_running(up: Up) -> None:
    assert up.run("local", "start").returncode == 0
    before = set(up.alive())
    try:
        up.start()
        up.until_said("Everything runs")
        assert "of `local start`" in up.said()
        up.send(signal.SIGINT)

        assert up.ended(within=10) == 0
        assert "Tasks that still run" not in up.said()
        assert set(up.alive()) == before
    finally:
        assert up.run("local", "stop").returncode == 0


def test_a_chosen_port_in_use_is_told_before_anything_starts(up: Up) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        chosen = f"127.0.0.1:{taken.getsockname()[1]}"
        up.start(CODINGIT_FLOWER_ADDRESS=chosen)

        assert up.ended() == 1
    assert up.said().startswith(f"Error: CODINGIT_FLOWER_ADDRESS is {chosen}, where nothing can listen")
    assert up.said().count("\n") == 1
    assert not (up.folder / "postgres").exists()
