"""Supervised processes, real ones: how they are started, and that none of them stays."""

import os
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
from worker.sandbox.base import Child, Sandbox
from worker.sandbox.command import Command
from worker.sandbox.process import ProcessSandbox

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a supervisor find every descendant")

SANDBOX: Sandbox = ProcessSandbox()
DAEMON = f"if os.fork() == 0: {SETSID}; {DEAF}; os.fork(); time.sleep(60)"
FORKED_TWICE = f"if os.fork() == 0: {SETSID}; os.fork() and os._exit(0); {DEAF}; time.sleep(60)"


def ended(child: Child, *, within: float = 3.0) -> int:
    assert eventually(lambda: child.poll() is not None, within=within)
    code = child.poll()
    assert code is not None
    return code


def outcome(command: Command) -> tuple[int, str, str]:
    with closing(SANDBOX.start(command)) as child:
        code = ended(child)
        return code, os.read(child.stdout, 65536).decode(), os.read(child.stderr, 65536).decode()


def test_a_program_gets_its_input_and_its_exit_code_comes_back(marked: Marked) -> None:
    with nothing_left(marked):
        assert outcome(marked.shell("cat; echo oops >&2; exit 7", stdin=b"hello")) == (7, "hello", "oops\n")


def test_a_large_input_that_nobody_reads_blocks_nobody(marked: Marked) -> None:
    assert outcome(marked.shell("exit 0", stdin=b"x" * 10**7))[0] == 0


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL, signal.SIGTERM])
def test_a_signal_shows_as_a_shell_shows_it(marked: Marked, number: int) -> None:
    assert outcome(marked.python(f"os.kill(os.getpid(), {number:d})"))[0] == 128 + number


def test_a_program_that_is_not_there_is_127_and_one_that_is_none_126(marked: Marked) -> None:
    assert outcome(marked.command("no-such-program"))[::2] == (127, "no-such-program: No such file or directory\n")
    assert outcome(marked.command("/"))[0] == 126


def test_memory_is_bounded_for_the_program_and_what_it_starts(marked: Marked) -> None:
    command = marked.shell("ulimit -d; sh -c 'ulimit -d'")
    assert outcome(command)[1] == "unlimited\nunlimited\n"
    assert outcome(replace(command, memory=64 * 2**20))[1] == "65536\n65536\n"


def test_a_missing_folder_is_told_at_once_and_leaks_nothing(marked: Marked) -> None:
    with nothing_left(marked), pytest.raises(FileNotFoundError):
        SANDBOX.start(Command(argv=("true",), cwd=marked.folder / "missing"))


@pytest.mark.parametrize("env", [{}, {"LC_CTYPE": "C", "A": "ä"}, {"LC_ALL": "C", "NEW": "a\nb"}])
def test_the_environment_is_exactly_the_commands(marked: Marked, env: dict[str, str]) -> None:
    read = "sys.stdout.buffer.write(open('/proc/self/environ', 'rb').read())"
    argv = (*marked.python(read).argv,)
    found = outcome(Command(argv=argv, cwd=marked.folder, env=env))[1]
    assert set(found.split("\0")) == {"", *(f"{name}={value}" for name, value in env.items())}


def test_nothing_of_ours_is_to_be_read_from_the_supervisor(marked: Marked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUR_SECRET", "very-secret")
    read = "print(open(f'/proc/{os.getppid()}/environ').read())"
    assert "very-secret" not in outcome(marked.python(read))[1]
    fds = outcome(marked.python("print(*sorted(os.listdir('/proc/self/fd')))"))[1]
    assert fds.split() == ["0", "1", "2", "3"]  # the last is the listing itself


OURS = 2**31 - 1
"""Signals 1 to 31; the next two are the C library's own, which keeps programs from them as it found them."""


def test_umask_core_dumps_and_signals_are_as_a_program_expects_them(marked: Marked) -> None:
    kept = signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    try:
        report = outcome(marked.shell("umask; ulimit -c; grep -E 'Sig(Blk|Ign)' /proc/self/status"))[1].split()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
        signal.signal(signal.SIGINT, kept)
    assert report[:3] == ["0077", "0", "SigBlk:"]
    assert [int(mask, 16) & OURS for mask in (report[3], report[5])] == [0, 0]


def test_a_signal_to_the_workers_process_group_reaches_neither_it_nor_its_supervisor(marked: Marked) -> None:
    with closing(SANDBOX.start(marked.shell("sleep 60"))):
        assert eventually(lambda: len(marked.alive()) >= 2)
        assert os.getsid(0) not in {os.getsid(pid) for pid in marked.alive()}
        assert os.getpgrp() not in {os.getpgid(pid) for pid in marked.alive()}


@pytest.mark.parametrize("leftover", [DAEMON, FORKED_TWICE])
def test_what_a_program_leaves_behind_ends_with_it(marked: Marked, leftover: str) -> None:
    with nothing_left(marked):
        began = time.monotonic()
        assert outcome(marked.python(leftover, "time.sleep(0.3)", "print('done')"))[:2] == (0, "done\n")
        assert time.monotonic() - began < 2


def test_a_stopped_tree_ends_though_it_ignores_sigterm_and_left_its_session(marked: Marked) -> None:
    with (
        nothing_left(marked),
        closing(SANDBOX.start(marked.python(DAEMON, FORKED_TWICE, DEAF, "time.sleep(60)"))) as child,
    ):
        assert eventually(lambda: len(marked.alive()) >= 5)
        child.stop(timedelta(milliseconds=200))
        child.stop(timedelta(milliseconds=200))
        assert ended(child, within=1.5) == 128 + signal.SIGKILL


def test_a_program_has_its_grace_to_end_by_itself(marked: Marked) -> None:
    lines = ("signal.signal(signal.SIGTERM, lambda *_: (print('tidied'), sys.exit(3)))", "print('up', flush=True)")
    with closing(SANDBOX.start(marked.python(*lines, "time.sleep(60)"))) as child:
        assert eventually(lambda: len(marked.alive()) == 2)
        time.sleep(0.1)
        child.stop(timedelta(seconds=5))
        assert ended(child) == 3
        assert os.read(child.stdout, 100) == b"up\ntidied\n"


def test_a_program_that_stopped_itself_or_its_supervisor_ends_too(marked: Marked) -> None:
    with nothing_left(marked), closing(SANDBOX.start(marked.shell("kill -STOP $PPID; kill -STOP $$"))) as child:
        time.sleep(0.2)
        child.stop(timedelta(milliseconds=100))
        ended(child)


def test_closing_alone_ends_the_tree(marked: Marked) -> None:
    with nothing_left(marked):
        child = SANDBOX.start(marked.python(DAEMON, "time.sleep(60)"))
        assert eventually(lambda: len(marked.alive()) >= 3)
        child.close()
        child.close()


def test_a_fork_bomb_is_put_out(marked: Marked) -> None:
    """Each process forks again and again, up to 200 at once: what is killed makes room for what is not."""
    lines = (
        "import resource",
        DEAF,
        "until = time.monotonic() + 20",
        "while time.monotonic() < until:",
        "    if len(os.listdir('/proc')) < int(sys.argv[1]) + 200:",
        "        os.fork() or (os.setsid() if os.getpid() != os.getpgrp() else None)",
        "    else: time.sleep(0.001)",
    )
    command = marked.python(*lines)
    room = str(len(list(Path("/proc").iterdir())))
    bomb = Command(argv=(*command.argv, room), cwd=command.cwd, env=command.env)
    with nothing_left(marked), closing(SANDBOX.start(bomb)) as child:
        assert eventually(lambda: len(marked.alive()) > 100, within=10)
        child.stop(timedelta())
        ended(child, within=5)


WORKER = """
import sys, time
from pathlib import Path
from worker.sandbox.command import Command
from worker.sandbox.process import ProcessSandbox
mark, folder, *argv = sys.argv[1:]
child = ProcessSandbox().start(Command(argv=tuple(argv), cwd=Path(folder), env={"MARK": mark}))
time.sleep(60)
"""


def test_when_the_worker_is_killed_its_programs_go_with_it(marked: Marked) -> None:
    argv = marked.python(DAEMON, FORKED_TWICE, DEAF, "time.sleep(60)").argv
    worker = subprocess.Popen((sys.executable, "-c", WORKER, marked.mark, str(marked.folder), *argv))
    try:
        assert eventually(lambda: len(marked.alive()) >= 5, within=5)
    finally:
        worker.kill()
        worker.wait()
    assert eventually(lambda: not marked.alive(), within=2)


def test_when_its_supervisor_is_killed_the_program_goes_with_it(marked: Marked) -> None:
    with nothing_left(marked), closing(SANDBOX.start(marked.shell("kill -KILL $PPID; exec sleep 60"))) as child:
        assert ended(child) == 128 + signal.SIGKILL
        assert eventually(lambda: not marked.alive())
