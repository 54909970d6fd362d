"""The pump with real processes: nothing is lost, nothing runs over, nothing stays."""

import gc
import os
import resource
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from tests.integration.pump.conftest import Pumping
from tests.support.processes import DEAF, SETSID, Marked, nothing_left
from worker.errors import LeaseLost
from worker.run import limits
from worker.run.pump import LimitReached
from worker.run.streams import COLLECTED, CUT, ERRORS, LONGEST

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a supervisor find every descendant")

STUBBORN = (f"if os.fork() == 0: {SETSID}; {DEAF}; os.fork(); time.sleep(60)", DEAF)
WRITE = "sys.stdout.buffer.write"


def test_output_errors_and_exit_code_come_back(pumping: Pumping, marked: Marked) -> None:
    with nothing_left(marked):
        done = pumping(marked.shell("cat; echo oops >&2; exit 3", stdin=b"a\nb"))
    assert (done.returncode, done.stdout, done.stderr) == (3, b"a\nb", b"oops\n")


def test_lines_end_at_newlines_alone_and_the_last_needs_none(pumping: Pumping, marked: Marked) -> None:
    lines: list[bytes] = []
    done = pumping(marked.shell("cat", stdin=b"one\r\n\ntwo\x0b\xe2\x80\xa8\x00\xff\nlast"), on_line=lines.append)
    assert lines == [b"one\r", b"", b"two\x0b\xe2\x80\xa8\x00\xff", b"last"]
    assert done.stdout == b""


def test_lines_of_3_mb_are_whole_and_longer_ones_are_cut(pumping: Pumping, marked: Marked) -> None:
    lines: list[bytes] = []
    program = f"{WRITE}(b'x' * {LONGEST} + b'\\n' + b'y' * {LONGEST + 1} + b'\\nnext\\n' + b'z' * {2 * LONGEST})"
    pumping(marked.python(program), on_line=lines.append)
    assert lines == [b"x" * LONGEST, b"y" * LONGEST + CUT, b"next", b"z" * LONGEST + CUT]


def test_of_the_errors_the_end_is_kept_and_all_lines_are_handed_on(pumping: Pumping, marked: Marked) -> None:
    lines: list[bytes] = []
    program = "for n in range(20000): print(f'line {n}', file=sys.stderr)"
    done = pumping(marked.python(program), on_error_line=lines.append)
    assert (lines[0], lines[-1], len(lines)) == (b"line 0", b"line 19999", 20000)
    assert len(done.stderr) == ERRORS
    assert done.stderr.endswith(b"line 19999\n")


def test_what_is_collected_has_a_bound(pumping: Pumping, marked: Marked) -> None:
    assert len(pumping(marked.shell(f"head -c {COLLECTED} /dev/zero")).stdout) == COLLECTED
    with nothing_left(marked), pytest.raises(LimitReached) as reached:
        pumping(marked.shell("exec cat /dev/zero"))
    assert reached.value.what == "output"


def test_what_was_left_in_the_pipe_by_a_program_that_is_gone_is_read(pumping: Pumping, marked: Marked) -> None:
    """It ends while `watch` blocks, and its pipe holds more than is read at once."""
    pumping.on_watch = lambda: time.sleep(0.4)
    enlarge = "import fcntl; fcntl.fcntl(1, fcntl.F_SETPIPE_SZ, 2**20)"
    assert pumping(marked.python(enlarge, f"{WRITE}(b'x' * 500_000)")).stdout == b"x" * 500_000


def test_leftover_processes_neither_stay_nor_delay_the_end(pumping: Pumping, marked: Marked) -> None:
    began = time.monotonic()
    with nothing_left(marked):
        done = pumping(marked.python(STUBBORN[0], "time.sleep(0.2)", "print('done')"))
    assert done.stdout == b"done\n"
    assert time.monotonic() - began < 2


def test_it_ticks_while_nothing_is_printed(pumping: Pumping, marked: Marked) -> None:
    pumping(marked.shell("sleep 1"))
    assert 5 <= len(pumping.watched) <= 13


@pytest.mark.parametrize("flood", ["yes", "yes >&2", "cat /dev/zero", "yes '' | head -c 100000000 | cat"])
def test_it_ticks_on_time_in_a_flood_and_its_memory_is_bounded(pumping: Pumping, marked: Marked, flood: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with nothing_left(marked), pytest.raises(LimitReached):
        pumping(marked.shell(flood), wall=1, on_line=lambda _: None, on_error_line=lambda _: None)
    assert len(pumping.watched) >= 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000


def test_slow_readers_of_lines_do_not_keep_it_from_ticking(pumping: Pumping, marked: Marked) -> None:
    pumping(marked.shell("yes | head -n 1000"), on_line=lambda _: time.sleep(0.001))
    assert len(pumping.watched) >= 5


def test_a_watch_that_blocks_loses_nothing_and_makes_nobody_idle(pumping: Pumping, marked: Marked) -> None:
    pumping.on_watch = lambda: time.sleep(0.5)
    lines: list[bytes] = []
    pumping(marked.shell("for i in 1 2 3 4 5 6 7 8 9; do echo $i; sleep 0.1; done"), on_line=lines.append, idle=0.3)
    assert lines == [b"%d" % number for number in range(1, 10)]


def test_a_waker_wakes_it_at_once_and_does_not_spin(pumping: Pumping, marked: Marked) -> None:
    reading, writing = os.pipe()
    pumping.every, pumping.wakers = timedelta(seconds=10), (reading,)
    lines: list[float] = []

    def ring(_: bytes) -> None:
        os.write(writing, b"!")
        lines.append(time.monotonic())

    used = time.process_time()
    pumping(marked.shell("sleep 0.3; echo now; sleep 0.7"), on_line=ring)
    assert time.process_time() - used < 0.2
    assert len(pumping.watched) == 2
    assert pumping.watched[1] - lines[0] < 0.1
    assert os.read(reading, 10) == b"!"
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize("fault", [LeaseLost("gone"), KeyboardInterrupt(), SystemExit(0), ValueError()])
def test_whatever_watch_raises_the_tree_is_gone_before_it_is_raised_again(
    pumping: Pumping, marked: Marked, fault: BaseException
) -> None:
    began = time.monotonic()
    pumping.on_watch = raising(fault, after=lambda: len(marked.alive()) >= 4 and time.monotonic() > began + 0.3)
    with nothing_left(marked):
        with pytest.raises(type(fault)) as raised:
            pumping(marked.python(*STUBBORN, "while True: print('x' * 10000)"), on_line=lambda _: None)
        assert raised.value is fault
        assert time.monotonic() - pumping.watched[-1] < 1.5
        del raised
        fault.__traceback__ = None
        gc.collect()


def raising(fault: BaseException, *, after: Callable[[], bool]) -> Callable[[], None]:
    def watch() -> None:
        if after():
            raise fault

    return watch


def test_a_reader_of_lines_that_raises_ends_the_tree(pumping: Pumping, marked: Marked) -> None:
    def refuse(_: bytes) -> None:
        raise LeaseLost("gone")

    with nothing_left(marked), pytest.raises(LeaseLost):
        pumping(marked.python(*STUBBORN, "print('x', flush=True)", "time.sleep(60)"), on_line=refuse)


@pytest.mark.parametrize(
    ("script", "limit", "what", "sentence"),
    [
        ("while :; do echo x; sleep 0.05; done", {"wall": 0.5}, "wall", "It took longer than 0.5 seconds in all"),
        ("echo x; sleep 60", {"idle": 0.5}, "idle", "It printed nothing for 0.5 seconds"),
        ("yes", {"output": 10**6}, "output", "It printed more than 1 MB"),
        ("yes >&2", {"output": 10**6}, "output", "It printed more than 1 MB"),
        (
            "mkdir a; head -c 3000000 /dev/zero > a/b; sleep 60",
            {"disk": 2 * 10**6},
            "disk",
            "Its folder grew larger than 2 MB",
        ),
    ],
)
def test_a_limit_ends_the_tree_and_tells_why(
    pumping: Pumping, marked: Marked, *, script: str, limit: dict[str, float], what: str, sentence: str
) -> None:
    with nothing_left(marked), pytest.raises(LimitReached, match=sentence) as reached:
        pumping(marked.shell(script), on_line=lambda _: None, **limit)  # type: ignore[arg-type]  # each has its type
    assert reached.value.what == what


def test_a_program_that_goes_on_printing_is_not_idle(pumping: Pumping, marked: Marked) -> None:
    script = "for i in 1 2 3 4 5 6 7 8; do echo x >&2; sleep 0.1; done"
    assert pumping(marked.shell(script), idle=0.4).returncode == 0


def test_disk_use_is_not_followed_through_symbolic_links(pumping: Pumping, marked: Marked) -> None:
    (marked.folder / "root").symlink_to("/")
    (marked.folder / "loop").symlink_to(".")
    assert pumping(marked.shell("sleep 0.3"), disk=10**5).returncode == 0


def test_measuring_many_files_neither_takes_long_at_once_nor_forgets_any(
    pumping: Pumping, marked: Marked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MEASURE", 0.0)
    for number in range(30):
        (marked.folder / f"{number}").write_bytes(b"x" * 4096)
    with pytest.raises(LimitReached):
        pumping(marked.shell("sleep 20"), disk=29 * 4096)


def test_a_deadline_that_is_over_ends_the_next_command_at_once(pumping: Pumping, marked: Marked) -> None:
    with nothing_left(marked), pytest.raises(LimitReached):
        pumping(marked.shell("sleep 60"), wall=0)


def test_many_commands_leave_nothing_behind(pumping: Pumping, marked: Marked) -> None:
    with nothing_left(marked):
        assert {pumping(marked.shell("exit 0")).returncode for _ in range(30)} == {0}


def test_the_disk_limit_is_for_the_folder_that_is_named(pumping: Pumping, marked: Marked, tmp_path: Path) -> None:
    """Caches go to an agent's HOME, beside the repository that it runs in."""
    with pytest.raises(LimitReached) as reached:
        pumping(
            marked.shell(f"head -c 3000000 /dev/zero > {tmp_path}/beside; sleep 60"), disk=2 * 10**6, folder=tmp_path
        )

    assert reached.value.what == "disk"
