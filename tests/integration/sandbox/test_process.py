"""What only the sandbox that isolates nothing must stand: programs that reach for their supervisor."""

import signal
import sys
import time
from contextlib import closing
from datetime import timedelta

import pytest

from tests.integration.sandbox.test_conformance import ended
from tests.support.processes import Marked, eventually, nothing_left
from worker.sandbox.process import ProcessSandbox

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a supervisor find every descendant")

SANDBOX = ProcessSandbox()


def test_a_program_that_stopped_itself_or_its_supervisor_ends_too(marked: Marked) -> None:
    with nothing_left(marked), closing(SANDBOX.start(marked.shell("kill -STOP $PPID; kill -STOP $$"))) as child:
        time.sleep(0.2)
        child.stop(timedelta(milliseconds=100))
        ended(child)


def test_when_its_supervisor_is_killed_the_program_goes_with_it(marked: Marked) -> None:
    with nothing_left(marked), closing(SANDBOX.start(marked.shell("kill -KILL $PPID; exec sleep 60"))) as child:
        assert ended(child) == 128 + signal.SIGKILL
        assert eventually(lambda: not marked.alive())
