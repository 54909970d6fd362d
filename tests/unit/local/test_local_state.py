"""Who holds a checkout's folder, told by a lock that no crash can leave behind."""

import os
import stat
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from worker.errors import CommandFailed
from worker.local import child, state
from worker.local.state import Holder

CRASH = """
import os, sys
from pathlib import Path
from worker.local import state

with state.held(Path(sys.argv[1])):
    os._exit(1)
"""


def test_nobody_holds_a_folder_that_was_never_used(tmp_path: Path) -> None:
    assert state.running(tmp_path / "none") is None


def test_the_holder_is_known_until_it_lets_go(tmp_path: Path) -> None:
    with state.held(tmp_path, command="up"):
        holder = state.running(tmp_path)
        assert holder is not None
        assert (holder.pid, holder.command, holder.addresses) == (os.getpid(), "up", None)
    assert state.running(tmp_path) is None


def test_a_second_holder_is_refused_with_the_first_ones_name(tmp_path: Path) -> None:
    first = rf"`codingit-worker up` \(pid {os.getpid()}, since \d\d:\d\d\) already runs in this checkout\. Stop it with"
    with state.held(tmp_path), pytest.raises(CommandFailed, match=first), state.held(tmp_path):
        pass


def test_what_a_crashed_holder_wrote_means_nothing(tmp_path: Path) -> None:
    subprocess.run((sys.executable, "-c", CRASH, tmp_path), check=False)
    assert (tmp_path / "holder.json").exists()

    assert state.running(tmp_path) is None
    with state.held(tmp_path, command="local start"):
        holder = state.running(tmp_path)
        assert holder is not None
        assert holder.command == "local start"


def test_the_addresses_are_known_once_the_servers_answer(tmp_path: Path) -> None:
    kept = state.Kept(postgres_password="p", redis_password="r", postgres_port=1, redis_port=2)
    with state.held(tmp_path):
        state.keep(tmp_path, kept)
        state.announce(tmp_path, kept)
        holder = state.running(tmp_path)
    assert holder is not None
    assert holder.addresses == kept.addresses()
    assert holder.addresses.database_url.libpq == "postgresql://postgres:p@127.0.0.1:1/codingit"
    assert holder.addresses.redis_url == "redis://:r@127.0.0.1:2/0"


def test_a_lock_file_that_was_deleted_locks_nobody_out(tmp_path: Path) -> None:
    with state.held(tmp_path):
        (tmp_path / "lock").unlink()
        with state.held(tmp_path):
            pass


def test_passwords_are_made_once_and_readable_by_us_alone(tmp_path: Path) -> None:
    made = state.kept(tmp_path)
    assert made != state.kept(tmp_path)
    assert min(len(made.postgres_password), len(made.redis_password)) >= 48

    state.keep(tmp_path, made)

    assert state.kept(tmp_path) == made
    assert stat.S_IMODE((tmp_path / "servers.json").stat().st_mode) == 0o600
    assert made.postgres_password not in repr(made)
    assert made.redis_password not in repr(made.addresses())


def test_a_kept_file_that_cannot_be_read_says_how_to_begin_anew(tmp_path: Path) -> None:
    (tmp_path / "servers.json").write_text("{")

    with pytest.raises(CommandFailed, match=r"servers\.json cannot be read .* local stop --delete"):
        state.kept(tmp_path)


def test_a_holder_of_another_day_is_told_with_its_date() -> None:
    now = datetime.now().astimezone()
    today = Holder(pid=7, command="up", since=now)
    earlier = Holder(pid=7, command="up", since=now - timedelta(days=2))

    assert str(today) == f"`codingit-worker up` (pid 7, since {now:%H:%M})"
    assert f"since {earlier.since:%Y-%m-%d}" in str(earlier)


def test_a_nearly_full_disk_is_refused_before_anything_breaks(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match=r"disk is full: \d+ MB are free for .*, the local servers need \d+ MB"):
        state.check_room(tmp_path, needed=2**62)


def test_root_is_told_which_folder_is_closed_to_its_servers(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    (closed / "below").mkdir(parents=True)
    closed.chmod(0o700)

    with pytest.raises(CommandFailed, match="is closed to the user that root's servers run as"):
        state.check_passage(closed / "below")


def test_a_user_without_a_name_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    state.check_user()
    monkeypatch.setattr(os, "geteuid", lambda: 4_000_000)

    with pytest.raises(CommandFailed, match="User 4000000 has no name here"):
        state.check_user()


def test_a_full_disk_is_told_in_a_sentence() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full to write to")
    with (
        pytest.raises(CommandFailed, match="disk is full"),
        state.plainly(),
        Path("/dev/full").open("wb", buffering=0) as full,
    ):
        full.write(b"x")


@pytest.mark.parametrize(
    ("log", "why"),
    [
        ("", "it ended without a word"),
        ("one\ntwo\n", "two"),
        (
            "2026 UTC [7] FATAL:  could not write: No space left on device\nHINT: x\n",
            "no space is left on the disk",
        ),
        ("initdb: error: could not create directory\ninitdb: removing contents\n", "could not create directory"),
    ],
)
def test_the_reason_is_the_last_line_of_a_log_that_says_why(log: str, why: str) -> None:
    assert child.reason(log) == why


def test_a_child_whose_parent_died_before_it_could_ask_ends_at_once() -> None:
    if child.LIBC is None:
        pytest.skip("only Linux tells a child of its parent's death")
    orphaned = "import os, signal\nfrom worker.local import child\nchild.die_with(os.getpid(), signal.SIGTERM)()"
    assert subprocess.run((sys.executable, "-c", orphaned), check=False).returncode == 1
