"""What every sandbox owes, with real processes: how they are started, bounded and read, and that none of them stays."""

import os
import re
import select
import signal
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.processes import DEAF, SETSID, Marked, eventually, nothing_left
from tests.support.sandboxes import NAMES, sandbox
from worker.sandbox import cgroup
from worker.sandbox.base import Child, Sandbox
from worker.sandbox.command import Command

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a supervisor find every descendant")

DAEMON = f"if os.fork() == 0: {SETSID}; {DEAF}; os.fork(); time.sleep(60)"
FORKED_TWICE = f"if os.fork() == 0: {SETSID}; os.fork() and os._exit(0); {DEAF}; time.sleep(60)"


UP = "print('up', flush=True)"


def heard(child: Child) -> bytes:
    """What it printed first."""
    assert select.select([child.stdout], [], [], 10)[0]
    return os.read(child.stdout, 100)


def ended(child: Child, *, within: float = 20.0) -> int:
    assert eventually(lambda: child.poll() is not None, within=within)
    code = child.poll()
    assert code is not None
    return code


def outcome(sandbox: Sandbox, command: Command) -> tuple[int, str, str]:
    with closing(sandbox.start(command)) as child:
        code = ended(child)
        return code, os.read(child.stdout, 65536).decode(), os.read(child.stderr, 65536).decode()


def test_a_program_gets_its_input_and_its_exit_code_comes_back(sandbox: Sandbox, marked: Marked) -> None:
    with nothing_left(marked):
        assert outcome(sandbox, marked.shell("cat; echo oops >&2; exit 7", stdin=b"hello")) == (7, "hello", "oops\n")


def test_a_large_input_that_nobody_reads_blocks_nobody(sandbox: Sandbox, marked: Marked) -> None:
    assert outcome(sandbox, marked.shell("exit 0", stdin=b"x" * 10**7))[0] == 0


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL, signal.SIGTERM])
def test_a_signal_shows_as_a_shell_shows_it(sandbox: Sandbox, marked: Marked, number: int) -> None:
    assert outcome(sandbox, marked.python(f"os.kill(os.getpid(), {number:d})"))[0] == 128 + number


def test_a_program_that_is_not_there_is_127_and_one_that_is_none_126(sandbox: Sandbox, marked: Marked) -> None:
    code, _, said = outcome(sandbox, marked.command("no-such-program"))
    assert code == 127
    assert re.fullmatch(r".*no-such-program'?: No such file or directory\n", said)
    assert outcome(sandbox, marked.command("/"))[0] == 126


def test_memory_is_bounded_for_the_program_and_what_it_starts(sandbox: Sandbox, marked: Marked) -> None:
    command = marked.shell("ulimit -d; sh -c 'ulimit -d'")
    assert outcome(sandbox, command)[1] == "unlimited\nunlimited\n"
    assert outcome(sandbox, replace(command, memory=64 * 2**20))[1] == "65536\n65536\n"


def test_a_missing_folder_is_told_at_once_and_leaks_nothing(sandbox: Sandbox, marked: Marked) -> None:
    with nothing_left(marked), pytest.raises(FileNotFoundError):
        sandbox.start(Command(argv=("true",), cwd=marked.folder / "missing"))


@pytest.mark.parametrize("env", [{}, {"LC_CTYPE": "C", "A": "ä"}, {"LC_ALL": "C", "NEW": "a\nb"}])
def test_the_environment_is_exactly_the_commands(sandbox: Sandbox, marked: Marked, env: dict[str, str]) -> None:
    read = "sys.stdout.buffer.write(open('/proc/self/environ', 'rb').read())"
    found = outcome(sandbox, replace(marked.python(read), env=env))[1]
    assert set(found.split("\0")) == {"", *(f"{name}={value}" for name, value in env.items())}


def test_nothing_of_ours_is_to_be_read_from_any_process_that_it_sees(
    sandbox: Sandbox, marked: Marked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUR_SECRET", "very-secret")
    read = "print(*(open(f'/proc/{pid}/environ').read() for pid in (os.getppid(), 'self', sys.argv[1])))"
    command = marked.python(read)
    seen = outcome(sandbox, replace(command, argv=(*command.argv, "1" if sandbox.isolates else "self")))
    assert (seen[0], "very-secret" in seen[1], marked.mark in seen[1]) == (0, False, True)
    fds = outcome(sandbox, marked.python("print(*sorted(os.listdir('/proc/self/fd')))"))[1]
    assert fds.split() == ["0", "1", "2", "3"]  # the last is the listing itself


OURS = 2**31 - 1
"""Signals 1 to 31; the next two are the C library's own, which keeps programs from them as it found them."""


def test_umask_core_dumps_and_signals_are_as_a_program_expects_them(sandbox: Sandbox, marked: Marked) -> None:
    kept = signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    try:
        report = outcome(sandbox, marked.shell("umask; ulimit -c; grep -E 'Sig(Blk|Ign)' /proc/self/status"))[1].split()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
        signal.signal(signal.SIGINT, kept)
    assert report[:3] == ["0077", "0", "SigBlk:"]
    assert [int(mask, 16) & OURS for mask in (report[3], report[5])] == [0, 0]


def test_a_signal_to_the_workers_process_group_reaches_neither_it_nor_its_supervisor(
    sandbox: Sandbox, marked: Marked
) -> None:
    with closing(sandbox.start(marked.shell("sleep 60"))):
        assert eventually(lambda: len(marked.alive()) >= 2)
        assert os.getsid(0) not in {os.getsid(pid) for pid in marked.alive()}
        assert os.getpgrp() not in {os.getpgid(pid) for pid in marked.alive()}


@pytest.mark.parametrize("leftover", [DAEMON, FORKED_TWICE])
def test_what_a_program_leaves_behind_ends_with_it(sandbox: Sandbox, marked: Marked, leftover: str) -> None:
    with nothing_left(marked):
        began = time.monotonic()
        assert outcome(sandbox, marked.python(leftover, "time.sleep(0.3)", "print('done')"))[:2] == (0, "done\n")
        assert time.monotonic() - began < 20


def test_a_stopped_tree_ends_though_it_ignores_sigterm_and_left_its_session(sandbox: Sandbox, marked: Marked) -> None:
    with (
        nothing_left(marked),
        closing(sandbox.start(marked.python(DAEMON, FORKED_TWICE, DEAF, UP, "time.sleep(60)"))) as child,
    ):
        assert heard(child) == b"up\n"
        assert eventually(lambda: len(marked.alive()) >= 5, within=20)
        child.stop(timedelta(milliseconds=200))
        child.stop(timedelta(milliseconds=200))
        assert ended(child) == 128 + signal.SIGKILL


def test_a_program_has_its_grace_to_end_by_itself(sandbox: Sandbox, marked: Marked) -> None:
    lines = ("signal.signal(signal.SIGTERM, lambda *_: (print('tidied'), sys.exit(3)))", UP)
    with closing(sandbox.start(marked.python(*lines, "time.sleep(60)"))) as child:
        assert heard(child) == b"up\n"
        child.stop(timedelta(seconds=5))
        assert ended(child) == 3
        assert os.read(child.stdout, 100) == b"tidied\n"


def test_closing_alone_ends_the_tree(sandbox: Sandbox, marked: Marked) -> None:
    with nothing_left(marked):
        child = sandbox.start(marked.python(DAEMON, "time.sleep(60)"))
        assert eventually(lambda: len(marked.alive()) >= 3, within=20)
        child.close()
        child.close()


def test_a_fork_bomb_is_put_out(sandbox: Sandbox, marked: Marked) -> None:
    """Each process forks again and again, up to 200 at once: what is killed makes room for what is not."""
    lines = (
        DEAF,
        "room = len(os.listdir('/proc')) + 200",
        "until = time.monotonic() + 20",
        "while time.monotonic() < until:",
        "    if len(os.listdir('/proc')) < room:",
        "        os.fork() or (os.setsid() if os.getpid() != os.getpgrp() else None)",
        "    else: time.sleep(0.001)",
    )
    with nothing_left(marked), closing(sandbox.start(marked.python(*lines))) as child:
        assert eventually(lambda: len(marked.alive()) > 100, within=10)
        child.stop(timedelta())
        ended(child, within=5)


WORKER = """
import sys, time
from dataclasses import replace
from pathlib import Path
from tests.support.processes import Marked
from tests.support.sandboxes import sandbox
name, mark, folder, *lines = sys.argv[1:]
marked = Marked(Path(folder))
marked.mark = mark
child = sandbox(name, marked.folder).start(marked.python(*lines))
time.sleep(60)
"""


@pytest.mark.parametrize("name", NAMES)
def test_when_the_worker_is_killed_its_programs_and_mounts_go_with_it(marked: Marked, name: str) -> None:
    sandbox(name)
    lines = (DAEMON, FORKED_TWICE, DEAF, "time.sleep(60)")
    before = mounts()
    worker = subprocess.Popen((sys.executable, "-c", WORKER, name, marked.mark, str(marked.folder), *lines))
    try:
        assert eventually(lambda: len(marked.alive()) >= 5, within=10)
    finally:
        worker.kill()
        worker.wait()
    assert eventually(lambda: not marked.alive(), within=3)
    assert mounts() == before
    assert not left_groups()


def mounts() -> list[str]:
    """Those of this machine, as its other processes see them."""
    return Path("/proc/self/mounts").read_text().splitlines()


def left_groups() -> list[Path]:
    """Control groups of sandboxes whose worker is no more."""
    groups = (group for home in cgroup.homes() for group in home.folder.glob(f"{cgroup.NAME}*"))
    return [group for group in groups if not Path("/proc", group.name.split("-")[1]).exists()]


def test_its_output_may_be_a_file_that_loses_nothing(sandbox: Sandbox, marked: Marked) -> None:
    """Also where the program ends without emptying a pipe, and with what it started appending."""
    script = "head -c 1000000 /dev/zero; sh -c 'printf end'"
    with nothing_left(marked), closing(sandbox.start(replace(marked.shell(script), tail=True))) as child:
        assert ended(child) == 0
        assert os.fstat(child.stdout).st_size == 1_000_003
        assert os.pread(child.stdout, 10, 1_000_000) == b"end"
        assert os.fstat(child.stdout).st_nlink == 0


def test_no_file_becomes_larger_than_the_command_may_write(sandbox: Sandbox, marked: Marked) -> None:
    outcome(sandbox, replace(marked.shell("truncate -s 5G sparse; cat /dev/zero > full"), largest=10**6))
    assert [(marked.folder / name).stat().st_size for name in ("sparse", "full")] == [0, 10**6]
