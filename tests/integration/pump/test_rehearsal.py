"""The rehearsal agent, really run: every directive does what it says, and nothing more."""

import base64
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import worker.agents.rehearsal_program as program
from tests.integration.pump.conftest import Pumping
from worker.agents import Event, Job, Verdict, find
from worker.errors import LeaseLost
from worker.run.pump import LimitReached
from worker.run.streams import CUT, LONGEST

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a supervisor find every descendant")


@dataclass
class Performance:
    """What was seen of one run."""

    folder: Path
    events: list[Event] = field(default_factory=list)
    lines: list[bytes] = field(default_factory=list)
    verdict: Verdict | None = None
    code: int | None = None

    def messages(self) -> list[str]:
        return [event.message for event in self.events]

    def files(self) -> list[str]:
        found = (
            path.relative_to(self.folder) for path in self.folder.rglob("*") if path.is_symlink() or not path.is_dir()
        )
        return sorted(str(path) for path in found if path.parts[0] != ".git")


Rehearse = Callable[..., Performance]


@pytest.fixture
def rehearse(pumping: Pumping, tmp_path: Path) -> Rehearse:
    """Run the agent in a new folder on a prompt with these directives."""
    folder, home = tmp_path / "work", tmp_path / "home"
    folder.mkdir()
    home.mkdir()
    seen = Performance(folder)

    def rehearse(*directives: str, subject: str = "Add a greeting", **limits: float) -> Performance:
        agent = find("rehearsal")
        prompt = "\n".join((subject, *(f"rehearse: {directive}" for directive in directives)))
        job = Job(task_id=1, prompt=prompt, model=None, workspace=folder, home=home)
        parser = agent.parser(job)

        def on_line(line: bytes) -> None:
            seen.lines.append(line)
            seen.events += parser.feed(line)

        done = pumping(agent.command(job), on_line=on_line, **limits)  # type: ignore[arg-type]  # each limit has its own type
        assert done.stderr == b""
        seen.verdict, seen.code = parser.verdict, done.returncode
        return seen

    rehearse.folder = folder  # type: ignore[attr-defined]  # for tests that prepare it
    return rehearse


def verdict(seen: Performance) -> Verdict:
    assert seen.verdict is not None
    return seen.verdict


def test_without_directives_it_is_seen_to_work_for_some_seconds_and_leaves_a_note(rehearse: Rehearse) -> None:
    began = time.monotonic()
    seen = rehearse()
    assert 2 < time.monotonic() - began < 4
    assert (seen.code, verdict(seen).ok, verdict(seen).answer) == (0, True, "Done: Add a greeting")
    assert verdict(seen).usage == {"steps": 5, "edits": 1}
    assert (seen.folder / "REHEARSAL.md").read_text() == "- Add a greeting\n"
    assert [event.type for event in seen.events] == ["info", "command", "command", "info", "command", "info"]


def test_pauses_and_steps_are_its_pace(rehearse: Rehearse) -> None:
    began = time.monotonic()
    seen = rehearse("pause 0.01", "steps 20")
    assert time.monotonic() - began < 1.5
    assert len(seen.events) == 21


def test_it_edits_and_commits_in_the_order_it_was_told(rehearse: Rehearse) -> None:
    folder: Path = rehearse.folder  # type: ignore[attr-defined]  # set above
    subprocess.run(["git", "init", "--quiet", folder], check=True)
    seen = rehearse("pause 0", "edit a/b.txt one", "commit First words", "edit a/b.txt two", "commit", "commit third")
    log = subprocess.run(["git", "-C", folder, "log", "--format=%s"], check=True, capture_output=True, text=True)
    assert log.stdout.splitlines() == ["third", "Add a greeting", "First words"]
    assert seen.files() == ["REHEARSAL.md", "a/b.txt"]
    assert verdict(seen).ok


def test_it_commits_to_no_repository_but_its_folders_own(pumping: Pumping, tmp_path: Path) -> None:
    """Neither to one that lies above, nor to one that a prompt makes up out of files."""
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    folder = tmp_path / "work"
    folder.mkdir()
    bare = ("HEAD ref: refs/heads/main", "config [core]", "objects/x x", "refs/x x")
    directives = ("pause 0", *(f"edit {file}" for file in bare), "commit")
    prompt = "\n".join(("Work", *(f"rehearse: {directive}" for directive in directives)))
    agent = find("rehearsal")
    pumping(agent.command(Job(task_id=1, prompt=prompt, model=None, workspace=folder, home=tmp_path)))
    assert not list((tmp_path / ".git/objects").glob("??"))
    assert sorted(path.name for path in folder.iterdir()) == ["HEAD", "config", "objects", "refs"]
    assert [path.name for path in (folder / "objects").iterdir()] == ["x"]


@pytest.mark.parametrize(
    "path", ["../x", "/tmp/x", ".git/config", "a/../../x", ".GIT/x", ".git. /x", "link/x", "out", "."]
)
def test_it_writes_nowhere_but_in_its_folder(rehearse: Rehearse, tmp_path: Path, path: str) -> None:
    folder: Path = rehearse.folder  # type: ignore[attr-defined]  # set above
    (folder / "link").symlink_to(tmp_path)
    (folder / "out").symlink_to(tmp_path / "x")
    seen = rehearse("pause 0", f"edit {path} hello")
    assert [event.type for event in seen.events] == ["info", "error"]
    assert seen.files() == ["link", "out"]
    assert not (tmp_path / "x").exists()


def test_it_changes_nothing_when_told_so(rehearse: Rehearse) -> None:
    assert rehearse("change nothing").files() == []


def test_it_prints_lines_and_bytes(rehearse: Rehearse) -> None:
    seen = rehearse("change nothing", "print 1000 lines", "bytes 10MB")
    assert seen.messages()[1:] == [f"line {number}" for number in range(1, 1001)]
    assert b"x" * LONGEST + CUT in seen.lines
    assert verdict(seen).ok


def test_it_prints_a_secret_in_every_form(rehearse: Rehearse) -> None:
    secret = 'sk-"a/b" c+d'
    text = "\n".join(rehearse("change nothing", f"secret {secret}").messages())
    forms = (secret, json.dumps(secret), "sk-%22a%2Fb%22%20c%2Bd", base64.b64encode(secret.encode()).decode())
    assert all(form in text for form in forms)
    assert 'half: sk-"a/\nb" c+d was' in text


def test_garbage_spoils_nothing(rehearse: Rehearse) -> None:
    seen = rehearse("change nothing", "garbage")
    assert verdict(seen).ok
    assert any(b"\xff" in line for line in seen.lines)
    assert any(b"\x00" in line for line in seen.lines)
    assert any("\ud800" in message for message in seen.messages())


def test_its_environment_holds_nothing_of_ours(rehearse: Rehearse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUR_SECRET", "very-secret")
    seen = rehearse("change nothing", "env")
    assert {message.partition("=")[0] for message in seen.messages()[1:]} == {
        "GIT_CEILING_DIRECTORIES",
        "HOME",
        "LANG",
        "PATH",
    }


def test_what_it_spawns_does_not_outlive_it(rehearse: Rehearse) -> None:
    seen = rehearse("change nothing", "spawn 3")
    pids = seen.messages()[1].removeprefix("left behind: ").split()
    assert len(pids) == 3
    assert not any(Path("/proc", pid).exists() for pid in pids)


@pytest.mark.parametrize(
    ("directive", "expected"),
    [
        ("fail Out of ideas", Verdict(ok=False, answer="Out of ideas", usage={"steps": 5, "edits": 0})),
        (
            "overloaded",
            Verdict(ok=False, answer="The provider is overloaded.", usage={"steps": 5, "edits": 0}, overloaded=True),
        ),
    ],
)
def test_it_fails_as_it_is_told(rehearse: Rehearse, directive: str, expected: Verdict) -> None:
    seen = rehearse(directive)
    assert (seen.code, seen.verdict) == (1, expected)


@pytest.mark.parametrize(("directive", "code"), [("exit 3", 3), ("crash", 139)])
def test_it_ends_without_a_verdict(rehearse: Rehearse, directive: str, code: int) -> None:
    seen = rehearse(directive)
    assert (seen.code, seen.verdict) == (code, None)


def test_it_sleeps_in_silence(rehearse: Rehearse) -> None:
    with pytest.raises(LimitReached, match="nothing"):
        rehearse("sleep 30", idle=0.5)


def test_it_hangs_until_it_is_killed(rehearse: Rehearse, pumping: Pumping) -> None:
    began = time.monotonic()

    def lose() -> None:
        if time.monotonic() > began + 0.5:
            raise LeaseLost("gone")

    pumping.on_watch = lose
    with pytest.raises(LeaseLost):
        rehearse("hang")
    assert 0.9 < time.monotonic() - began < 2


@pytest.mark.parametrize(
    "directive", ["dance", "", "sleep soon", "sleep inf", "bytes 5 elephants", "change everything"]
)
def test_what_it_does_not_know_it_refuses_and_names_what_it_knows(rehearse: Rehearse, directive: str) -> None:
    seen = rehearse(directive)
    assert not verdict(seen).ok
    assert all(known in verdict(seen).answer for known in program.DIRECTIVES)
    assert seen.files() == []


def test_every_directive_is_documented() -> None:
    described = {line.split()[0] for line in str(program.__doc__).splitlines() if line.startswith("    ")}
    assert described == set(program.DIRECTIVES)
