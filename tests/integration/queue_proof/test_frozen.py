"""Clients that freeze, vanish or never hear the answer: whatever they were at, they hold nothing that others want."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import timedelta

import pytest

from db.engine import Database
from db.errors import DatabaseUnreachable
from db.queries import queue
from db.url import DatabaseUrl
from tests.integration.queue.conftest import append, offer, recover, try_claim
from tests.integration.queue_proof.scenarios import WAITERS, running
from tests.support.processes import eventually
from tests.support.proxy import Proxy, proxied
from tests.support.rows import Rows
from tests.support.waiting import HELD, KEPT, Caller, callers

TTL = timedelta(seconds=30)
CALLS: Mapping[str, Callable[[Database, queue.Claim], object]] = {
    **WAITERS,
    "offer": lambda database, _: offer(database),
    "claim": lambda database, claim: try_claim(database, claim.task_id),
    "tick": lambda database, claim: queue.tick(database, claim.task_id, fence=claim.fence, ttl=TTL),
    "recover": lambda database, _: recover(database),
}
RUN = """
import sys
from itertools import count
from db.engine import Database
from db.queries import queue
from db.url import DatabaseUrl
url, task, fence = sys.argv[1:]
with Database(DatabaseUrl(url)) as database:
    print(database.connection().info.backend_pid, flush=True)
    for flush in count(1):
        queue.append(database, int(task), fence=int(fence), flush=flush, entries=[], progress=50)
"""
"""A worker that does nothing but append."""


IDLE = """
SELECT 1 AS found FROM pg_stat_activity a WHERE pid = %s AND state = 'idle' AND xact_start IS NULL
    AND NOT EXISTS (SELECT FROM pg_locks l WHERE l.pid = a.pid)
"""


@pytest.mark.parametrize("name", CALLS)
def test_between_two_calls_a_client_holds_nothing(shared_worker_url: DatabaseUrl, shared_rows: Rows, name: str) -> None:
    claim = running(shared_worker_url, shared_rows)
    with callers(shared_worker_url, 1) as (client,):
        client.start(lambda database: CALLS[name](database, claim)).result()

        assert_idle(shared_rows, client.pid)


def test_a_process_stopped_at_any_moment_blocks_nobody(shared_worker_url: DatabaseUrl, shared_rows: Rows) -> None:
    claim = running(shared_worker_url, shared_rows)
    with appending(shared_worker_url, claim) as (process, pid):
        for moment in range(30):
            time.sleep(0.001 * moment)  # another moment of its work each time
            process.send_signal(signal.SIGSTOP)
            assert_idle(shared_rows, pid)
            assert eventually(lambda: both_rows_are_free(shared_rows, claim))
            process.send_signal(signal.SIGCONT)


def test_a_process_killed_while_it_waits_blocks_nobody(shared_worker_url: DatabaseUrl, shared_rows: Rows) -> None:
    claim = running(shared_worker_url, shared_rows)
    with appending(shared_worker_url, claim) as (process, pid):
        with shared_rows.connection.transaction():
            shared_rows.execute("UPDATE public.tasks SET prompt = 'Changed' WHERE id = %s", claim.task_id)
            assert eventually(lambda: shared_rows.execute(KEPT, pid))
            process.kill()
            process.wait()
        assert eventually(
            lambda: shared_rows.execute("SELECT 1 AS one FROM pg_stat_activity WHERE pid = %s", pid) == []
        )
        shared_rows.execute("SELECT 1 AS one FROM public.tasks WHERE id = %s FOR UPDATE NOWAIT", claim.task_id)


def test_an_answer_that_never_comes_leaves_no_lock_and_the_repeat_is_done_once(
    shared_worker_url: DatabaseUrl, shared_rows: Rows
) -> None:
    """The server has the call, and is about to answer, when the network goes silent."""
    claim = running(shared_worker_url, shared_rows)
    with proxied(shared_worker_url.libpq) as (proxy, address), callers(DatabaseUrl(address), 1) as (client,):
        unanswered = appended_into_silence(client, proxy, claim, shared_rows)
        assert_idle(shared_rows, client.pid)
        with Database(shared_worker_url) as other:
            assert append(other, claim, "line", flush=1).refusal is None
        proxy.cut()
        assert isinstance(unanswered.exception(timeout=10), DatabaseUnreachable)

    assert shared_rows.messages(claim.task_id) == ["line"]


def appended_into_silence(client: Caller, proxy: Proxy, claim: queue.Claim, rows: Rows) -> Future[queue.Appended]:
    with rows.connection.transaction():
        rows.execute("UPDATE public.tasks SET prompt = 'Changed' WHERE id = %s", claim.task_id)
        answer = client.start_and_wait(lambda database: append(database, claim, "line", flush=1), rows)
        proxy.freeze()
    return answer


def both_rows_are_free(rows: Rows, claim: queue.Claim) -> bool:
    found = rows.execute(
        """SELECT 1 AS one FROM public.tasks t JOIN worker.leases l ON l.task_id = t.id
           WHERE t.id = %s FOR UPDATE SKIP LOCKED""",
        claim.task_id,
    )
    return bool(found)


@contextmanager
def appending(url: DatabaseUrl, claim: queue.Claim) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A process of its own that appends without end, and its backend."""
    argv = [sys.executable, "-c", RUN, url.libpq, str(claim.task_id), str(claim.fence)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout
        try:
            yield process, int(process.stdout.readline())
        finally:
            process.kill()


def assert_idle(rows: Rows, pid: int) -> None:
    """The server is through with whatever it was asked, and keeps no lock for this client."""
    assert eventually(lambda: rows.execute(IDLE, pid)), rows.execute(HELD, pid)
