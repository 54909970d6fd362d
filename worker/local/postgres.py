"""The local PostgreSQL: its data folder, its settings, its start."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psycopg
from psycopg import sql

from worker.errors import CommandFailed
from worker.local import child, state
from worker.local.binaries import Binaries
from worker.local.child import Child

NAME = "PostgreSQL"
ORPHAN_TIMEOUT = 10.0
CONNECT_TIMEOUT = 5
SETTINGS: Mapping[str, str] = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "lc_messages": "C",
}
"""A server for one developer: small, on loopback. Data stays safe: fsync is on."""
AS_SUPABASE = ("-E", "UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
BEGIN_ANEW = "To begin anew, without what is in it: codingit-worker local stop --delete"


def prepare(binaries: Binaries, folder: Path, kept: state.Kept, *, durable: bool) -> None:
    """
    Make the data folder if there is none, and clear what a killed run left of itself.

    Raises:
        CommandFailed: when the data are of another major version, or of a password that is lost.
    """
    data = folder / "postgres"
    if not data.exists():
        state.keep(folder, kept)
        create(binaries, folder, password=kept.postgres_password, durable=durable)
        return
    check_version(binaries, data)
    if not (folder / "servers.json").exists():
        raise CommandFailed(f"The password of the database in {data} is lost ({folder}/servers.json). {BEGIN_ANEW}")
    clear_lock_file(data)


def check_version(binaries: Binaries, data: Path) -> None:
    """Raises CommandFailed when another major version made the data."""
    mark = data / "PG_VERSION"
    if not mark.exists():
        raise CommandFailed(f"{data} holds no database (PG_VERSION is missing). {BEGIN_ANEW}")
    version = mark.read_text().strip()
    if version != binaries.postgres_major:
        raise CommandFailed(
            f"The database in {data} is of PostgreSQL {version}, the server of {binaries.postgres_major}. {BEGIN_ANEW}"
        )


def create(binaries: Binaries, folder: Path, *, password: str, durable: bool) -> None:
    """Make the data folder; it appears whole or not at all."""
    draft = folder / "postgres.new"
    shutil.rmtree(draft, ignore_errors=True)
    state.private_folder(draft)
    password_file = folder / "password"
    try:
        with state.private_file(password_file) as file:
            file.write(password.encode())
        state.hand_over(password_file)
        options = (*AS_SUPABASE, "-U", state.OWNER, "-A", "scram-sha-256", f"--pwfile={password_file}")
        hurry = () if durable else ("--no-sync",)
        argv: tuple[str, ...] = (str(binaries.initdb), "-D", str(draft), *options, *hurry)
        run_to_its_end(child.spawn(NAME, argv, log=folder / "initdb.log", cwd=folder, farewell=signal.SIGTERM))
    finally:
        password_file.unlink(missing_ok=True)
    draft.rename(folder / "postgres")


def run_to_its_end(initdb: Child) -> None:
    """Raises CommandFailed with its reason when it fails."""
    try:
        if initdb.process.wait() != 0:
            raise CommandFailed(f"The database could not be made: {child.reason(initdb.said())}. Its log: {initdb.log}")
    finally:
        initdb.end()


def start(binaries: Binaries, folder: Path, kept: state.Kept, *, settings: Mapping[str, str], port: int) -> Child:
    """A server that answers, with our database in it. Raises as `Child.wait_until`."""
    options = [f"-c{name}={value}" for name, value in {**SETTINGS, **settings, "port": str(port)}.items()]
    data = folder / "postgres"
    argv = (str(binaries.postgres), "-D", str(data), *options)
    server = child.spawn(NAME, argv, log=folder / "postgres.log", cwd=data, farewell=signal.SIGINT)
    try:
        server.wait_until(lambda: has_database(port, kept.postgres_password))
    except BaseException:
        server.end()
        raise
    return server


def has_database(port: int, password: str) -> bool:
    """Whether the server answers; our database is in it afterwards."""
    try:
        connection = psycopg.connect(
            host="127.0.0.1",
            port=port,
            user=state.OWNER,
            password=password,
            dbname="postgres",
            autocommit=True,
            connect_timeout=CONNECT_TIMEOUT,
        )
    except psycopg.OperationalError:
        return False
    with connection:
        ensure_database(connection)
    return True


def ensure_database(connection: psycopg.Connection) -> None:
    """Raises CommandFailed when our database cannot be made, for want of disk above all."""
    try:
        if not connection.execute("SELECT FROM pg_database WHERE datname = %s", [state.DATABASE]).rowcount:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(state.DATABASE)))
    except psycopg.Error as fault:
        raise CommandFailed(f"The database {state.DATABASE} could not be made: {fault}") from fault


def clear_lock_file(data: Path) -> None:
    """
    Make the postmaster.pid of a killed run harmless, and end the server that it names if that one still runs.

    Where the number is by now another process's, PostgreSQL would refuse to start. Putting our own in its
    place passes for a parent's, which PostgreSQL knows to be stale; its check of shared memory stays.
    """
    lock_file = data / "postmaster.pid"
    pid = process_in(lock_file)
    if pid is None or not is_alive(pid):
        return
    if serves(pid, data):
        end_orphan(pid, data)
    elif lock_file.exists():
        rest = lock_file.read_text().partition("\n")[2]
        lock_file.write_text(f"{os.getpid()}\n{rest}")


def process_in(lock_file: Path) -> int | None:
    """The process that a postmaster.pid names."""
    try:
        return int(lock_file.read_text().partition("\n")[0])
    except (FileNotFoundError, ValueError):
        return None


def serves(pid: int, data: Path) -> bool:
    """Whether a process is a PostgreSQL on these data; a zombie is none any more."""
    return f"postgres -D {data} " in command_line(pid)


def end_orphan(pid: int, data: Path) -> None:
    """End a server that outlived its run: whoever calls this holds the folder, so nobody else uses it."""
    deadline = time.monotonic() + ORPHAN_TIMEOUT
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGINT)
        while serves(pid, data):
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)


def is_alive(pid: int) -> bool:
    """Whether a process has this number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def command_line(pid: int) -> str:
    """How a process was started, its words parted by spaces; empty when it cannot be told."""
    try:
        if Path("/proc/self/cmdline").exists():
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        ps = ("ps", "-ww", "-o", "command=", "-p", str(pid))
        return subprocess.run(ps, check=False, capture_output=True, text=True).stdout
    except OSError:
        return ""
