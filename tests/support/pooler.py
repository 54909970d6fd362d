"""PgBouncer in transaction mode, as Supabase's pooler is: each transaction may get another connection's session."""

import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from db.url import DatabaseUrl
from worker.local import child, state
from worker.local.child import Child

CONFIGURATION = """\
[databases]
* = host=127.0.0.1 port={postgres}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
pool_mode = transaction
auth_type = plain
auth_file = {users}
server_reset_query =
max_client_conn = 100
default_pool_size = {sessions}
server_login_retry = 1
logfile =
unix_socket_dir =
"""


def program() -> str | None:
    """Where Debian and others put it; None where it is not installed."""
    return shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/bin")


def start(folder: Path, *, postgres: int, port: int, role: str, password: str, sessions: int) -> Child:
    """Begin to pool that many of one role's sessions with any database of the server on port `postgres`."""
    users = folder / "users.txt"
    users.write_text(f'"{role}" "{password}"\n')
    configuration = folder / "pgbouncer.ini"
    configuration.write_text(CONFIGURATION.format(postgres=postgres, port=port, users=users, sessions=sessions))
    for file in (users, configuration):
        state.hand_over(file)
    argv = (program() or "pgbouncer", configuration)
    return child.spawn("PgBouncer", argv, log=folder / "pgbouncer.log", cwd=folder, farewell=signal.SIGINT)


@contextmanager
def pooled(url: DatabaseUrl) -> Iterator[DatabaseUrl]:
    """The same database through a pooler that has one session for all; skipped where there is none but in CI."""
    if program() is None and not os.environ.get("CI"):
        pytest.skip("PgBouncer is not installed")
    folder = Path(tempfile.mkdtemp(prefix="codingit-tests-pooler-"))
    folder.chmod(0o755)
    parts = urlsplit(url.libpq)
    port = child.free_port()
    begun = start(
        folder, postgres=parts.port or 0, port=port, role=url.user or "", password=url.password or "", sessions=1
    )
    try:
        wait_for(begun, port)
        yield replace(url, libpq=url.libpq.replace(f":{parts.port}/", f":{port}/"), pooled=True)
    finally:
        begun.end()
        shutil.rmtree(folder, ignore_errors=True)


def wait_for(pooler: Child, port: int) -> None:
    """Return once it takes connections."""
    deadline = time.monotonic() + child.START_TIMEOUT
    while time.monotonic() < deadline:
        if pooler.process.poll() is not None:
            raise pooler.failure()
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise pooler.failure()
