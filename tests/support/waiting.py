"""Calls that wait: each caller has a connection and a thread of its own, so that a test can watch it being kept."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import TypeVar

from db.engine import Database
from db.url import DatabaseUrl
from tests.support.processes import eventually
from tests.support.rows import Rows

Answer = TypeVar("Answer")
KEPT = "SELECT 1 AS found FROM pg_locks WHERE pid = %s AND NOT granted"
HELD = "SELECT locktype, relation::regclass::text AS relation, mode FROM pg_locks WHERE pid = %s AND granted"


class Caller:
    """One who calls and waits for the answer elsewhere."""

    def __init__(self, url: DatabaseUrl) -> None:
        self.database = Database(url)
        self.thread = ThreadPoolExecutor(1)
        self.pid: int = self.database.connection().info.backend_pid

    def start(self, call: Callable[[Database], Answer]) -> Future[Answer]:
        return self.thread.submit(call, self.database)

    def start_and_wait(self, call: Callable[[Database], Answer], rows: Rows) -> Future[Answer]:
        """Start a call that must be kept waiting; return once it is."""
        answer = self.start(call)
        assert eventually(lambda: rows.execute(KEPT, self.pid)), f"nothing kept it: {answer}"
        return answer

    def close(self) -> None:
        self.thread.shutdown()
        self.database.close()


@contextmanager
def callers(url: DatabaseUrl, count: int) -> Iterator[list[Caller]]:
    """Several callers, each connected."""
    with ExitStack() as stack:
        taken = [Caller(url) for _ in range(count)]
        for each in taken:
            stack.callback(each.close)
        yield taken
