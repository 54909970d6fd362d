"""Commands whose output is a file that is read as it grows: nothing is lost, and no limit is less of one."""

import os
import resource
import signal
import sys
import time
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from tests.integration.pump.conftest import Pumping
from tests.support.processes import Marked, nothing_left
from tests.support.sandboxes import NAMES, sandbox
from worker.run.pump import LimitReached
from worker.sandbox.command import Command

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a supervisor find every descendant")

IMPATIENT = (
    "os.set_blocking(1, False)",
    "left = memoryview(b'x' * 999_999 + bytes([10]))",
    "try:",
    "    while left: left = left[os.write(1, left):]",
    "except BlockingIOError: pass",
    "os._exit(0)",
)
"""As some programs end: what a full pipe does not take at once is lost."""


@pytest.fixture(params=NAMES)
def pumping(request: pytest.FixtureRequest, marked: Marked) -> Pumping:
    return Pumping(sandbox=sandbox(request.param, marked.folder))


def tailed(command: Command) -> Command:
    return replace(command, tail=True)


def test_a_program_that_waits_for_no_pipe_loses_nothing(pumping: Pumping, marked: Marked) -> None:
    pumping.on_watch = lambda: time.sleep(0.2)  # meanwhile nobody reads
    assert len(pumping(marked.python(*IMPATIENT)).stdout) < 10**6
    with nothing_left(marked):
        assert pumping(tailed(marked.python(*IMPATIENT))).stdout == b"x" * 999_999 + b"\n"


def test_lines_arrive_while_it_runs_and_the_last_needs_no_newline(pumping: Pumping, marked: Marked) -> None:
    lines: list[tuple[bytes, float]] = []
    script = "echo one; sleep 0.5; echo two; sleep 0.5; printf three; echo oops >&2"
    done = pumping(tailed(marked.shell(script)), on_line=lambda line: lines.append((line, time.monotonic())))
    assert [line for line, _ in lines] == [b"one", b"two", b"three"]
    assert all(later[1] - earlier[1] > 0.3 for earlier, later in pairwise(lines))
    assert done.stderr == b"oops\n"


def test_what_it_starts_appends_and_an_emptied_file_is_read_from_its_start(pumping: Pumping, marked: Marked) -> None:
    lines: list[bytes] = []
    script = "echo first; sh -c 'echo second'; sleep 0.3; echo > /dev/stdout; sleep 0.3; echo last"
    pumping(tailed(marked.shell(script)), on_line=lines.append)
    assert lines == [b"first", b"second", b"", b"last"]


def test_it_ticks_and_costs_next_to_nothing_while_nothing_is_printed(pumping: Pumping, marked: Marked) -> None:
    used = time.process_time()
    pumping(tailed(marked.shell("sleep 2")))
    assert len(pumping.watched) >= 15
    assert time.process_time() - used < 0.1


@pytest.mark.parametrize("flood", ["exec cat /dev/zero", "exec yes"])
def test_a_flood_ends_at_the_limit_though_it_is_written_faster_than_read(
    pumping: Pumping, marked: Marked, flood: str
) -> None:
    """It is read but now and then: what counts is what was written, of which nothing may stay on the disk."""
    pumping.on_watch = lambda: time.sleep(0.2)
    free = os.statvfs(marked.folder).f_bavail
    with nothing_left(marked), pytest.raises(LimitReached, match="printed more than 5 MB") as reached:
        pumping(tailed(marked.shell(flood)), output=5 * 10**6, on_line=lambda _: None)
    assert reached.value.what == "output"
    assert (free - os.statvfs(marked.folder).f_bavail) * os.statvfs(marked.folder).f_frsize < 500 * 10**6


def test_not_even_while_nobody_looks_the_file_grows_beyond_the_disk_limit(pumping: Pumping, marked: Marked) -> None:
    sizes: list[int] = []

    def look() -> None:
        time.sleep(0.5)
        sizes.extend(Path(f"/proc/{pid}/fd/1").stat().st_size for pid in marked.alive())

    pumping.on_watch = look
    with pytest.raises(LimitReached):
        pumping(tailed(marked.shell("cat /dev/zero; sleep 60")), output=10**6, disk=3 * 10**6)
    assert max(sizes) == 3 * 10**6


def test_what_was_printed_at_once_and_ended_is_over_the_limit_too(pumping: Pumping, marked: Marked) -> None:
    pumping.on_watch = lambda: time.sleep(0.3)
    with pytest.raises(LimitReached):
        pumping(tailed(marked.shell("head -c 2000000 /dev/zero")), output=10**6, on_line=lambda _: None)


def test_idle_means_that_the_file_does_not_grow(pumping: Pumping, marked: Marked) -> None:
    script = "for i in 1 2 3 4 5 6; do echo x; sleep 0.1; done"
    assert pumping(tailed(marked.shell(script)), idle=0.4).returncode == 0
    with pytest.raises(LimitReached, match="printed nothing"):
        pumping(tailed(marked.shell("echo x; sleep 60")), idle=0.4)


def test_a_large_output_is_read_whole_in_bounded_memory(pumping: Pumping, marked: Marked) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    read = [0]
    pumping.every = timedelta(milliseconds=100)
    pumping(
        tailed(marked.shell("yes 0123456789 | head -n 3000000")),
        on_line=lambda line: read.__setitem__(0, read[0] + (line == b"0123456789")),
    )
    assert read == [3_000_000]
    assert pumping.watched
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000


def test_no_file_grows_beyond_the_disk_limit_not_even_a_sparse_one(pumping: Pumping, marked: Marked) -> None:
    done = pumping(marked.shell("truncate -s 5G sparse; echo $?; head -c 100 /dev/zero > small; echo $?"), disk=10**6)
    assert (done.stdout, (marked.folder / "sparse").stat().st_size) == (b"%d\n0\n" % (128 + signal.SIGXFSZ), 0)
