"""The servers of a checkout: they start on what is there, keep it, and leave no process behind."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import redis

from worker.errors import CommandFailed
from worker.local import binaries, child, postgres, state
from worker.local.servers import Addresses, servers

FAST = {"fsync": "off"}
HOLD = """
import sys, time
from pathlib import Path
from worker.local import state
from worker.local.servers import servers

with state.held(Path(sys.argv[1])), servers(Path(sys.argv[1]), postgres_settings={"fsync": "off"}):
    print("ready", flush=True)
    time.sleep(60)
"""


def asked(addresses: Addresses, statement: str) -> object:
    """The first value that the database answers."""
    with psycopg.connect(addresses.database_url.libpq, autocommit=True) as connection:
        answer = connection.execute(statement.encode())
        row = answer.fetchone() if answer.description else None
    return row[0] if row else None


def until(condition: Callable[[], bool], *, seconds: float = 5) -> bool:
    """Whether it comes true in time."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def killed_run(folder: Path) -> None:
    """A run that was ended by SIGKILL while its servers ran."""
    argv = (sys.executable, "-c", HOLD, folder)
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "ready\n"
        holder.kill()


@contextmanager
def another_process(*argv: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process of the servers' user that nobody here looks after."""
    with subprocess.Popen(argv or ("sleep", "60"), stderr=subprocess.DEVNULL, **child.unprivileged()) as process:
        yield process
        process.kill()


@contextmanager
def orphan(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """PostgreSQL on the folder's data, as a run leaves it where the kernel does not end it."""
    data = folder / "postgres"
    argv = (binaries.found().postgres, "-D", data, "-cunix_socket_directories=", f"-cport={child.free_port()}")
    with another_process(*argv) as process:
        assert until(lambda: postgres.process_in(data / "postmaster.pid") == process.pid)
        yield process


def test_both_servers_answer_and_keep_their_ports_and_data(folder: Path, processes: Callable[[], list[int]]) -> None:
    with servers(folder, postgres_settings=FAST) as first:
        assert asked(first, "create table kept as select 42 as n") is None
        with redis.Redis.from_url(first.redis_url) as broker:
            assert broker.ping()
        assert len(processes()) > 2
    assert processes() == []

    with servers(folder, postgres_settings=FAST) as second:
        assert second == first
        assert asked(second, "table kept") == 42


def test_the_database_is_as_supabase_has_it(used: Path) -> None:
    with servers(used, postgres_settings=FAST) as addresses:
        assert asked(addresses, "show server_encoding") == "UTF8"
        assert asked(addresses, "select datlocale from pg_database where datname = 'codingit'") == "C.UTF-8"
        assert asked(addresses, "show timezone") == "UTC"
        assert asked(addresses, "select count(*) from pg_available_extensions where name = 'vector'") == 1


def test_a_stranger_without_the_password_is_refused(used: Path) -> None:
    with servers(used, postgres_settings=FAST) as addresses:
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(addresses.database_url.as_role("postgres", "guessed").libpq)
        with (
            redis.Redis.from_url(addresses.redis_url.replace("redis://:", "redis://:x")) as broker,
            pytest.raises(redis.AuthenticationError),
        ):
            broker.ping()


def test_no_password_is_on_a_command_line_or_readable_by_others(
    folder: Path, processes: Callable[[], list[int]]
) -> None:
    with servers(folder, postgres_settings=FAST) as addresses:
        lines = [Path(f"/proc/{pid}/cmdline").read_text() for pid in processes()]
        password = addresses.database_url.password
        assert password
        assert not any(password in line for line in lines)
        assert addresses.redis_url not in "".join(lines)
    assert (folder / "servers.json").stat().st_mode & 0o077 == 0
    assert (folder / "postgres").stat().st_mode & 0o077 == 0
    assert not (folder / "password").exists()
    assert password not in repr(state.kept(folder))


def test_sigkill_of_the_holder_leaves_no_server(used: Path, processes: Callable[[], list[int]]) -> None:
    killed_run(used)

    assert until(lambda: processes() == [])
    assert state.running(used) is None


def test_the_next_run_need_not_wait_for_what_a_killed_one_left(used: Path) -> None:
    """The old server may still be shutting down when the new one starts."""
    killed_run(used)

    with servers(used, postgres_settings=FAST) as addresses:
        assert asked(addresses, "select 1") == 1


def test_a_server_that_outlived_its_run_is_ended_first(used: Path) -> None:
    """As on macOS, where a killed parent takes nothing with it, or when the postmaster itself is killed."""
    with orphan(used) as process:
        with servers(used, postgres_settings=FAST) as addresses:
            assert asked(addresses, "select 1") == 1
        assert process.wait(5) == 0


def test_a_stale_postmaster_pid_of_another_process_is_harmless(used: Path) -> None:
    """After a reboot its number may be that of any process of ours."""
    with another_process() as process:
        stale = used / "postgres" / "postmaster.pid"
        stale.write_text(f"{process.pid}\n{used}/postgres\n1\n5432\n\n127.0.0.1\n  1  1\nready   \n")
        state.hand_over(stale)
        with servers(used, postgres_settings=FAST) as addresses:
            assert asked(addresses, "select 1") == 1
        assert process.poll() is None


def test_a_port_that_was_taken_meanwhile_is_given_up(used: Path) -> None:
    kept = state.kept(used)
    assert kept.postgres_port
    assert kept.redis_port
    with (
        socket.create_server(("127.0.0.1", kept.postgres_port)),
        socket.create_server(("127.0.0.1", kept.redis_port)),
        servers(used, postgres_settings=FAST) as addresses,
    ):
        assert asked(addresses, "select 1") == 1
        assert state.kept(used).redis_port != kept.redis_port


def test_data_of_another_major_version_are_refused(used: Path) -> None:
    (used / "postgres" / "PG_VERSION").write_text("15\n")

    with pytest.raises(CommandFailed, match=r"is of PostgreSQL 15, the server of \d+\..*local stop --delete"):
        run(used)


def test_broken_data_are_told_with_the_servers_own_reason_and_its_log(used: Path) -> None:
    (used / "postgres" / "global" / "pg_control").unlink()

    with pytest.raises(CommandFailed, match=r"pg_control.*postgres\.log"):
        run(used)


def test_a_lost_password_is_told_at_once(used: Path) -> None:
    (used / "servers.json").unlink()

    with pytest.raises(CommandFailed, match=r"password .* is lost.*local stop --delete"):
        run(used)


def test_a_folder_that_cannot_be_made_is_told_in_a_sentence(folder: Path) -> None:
    (folder / "file").touch()

    with pytest.raises(CommandFailed, match="Not a directory"):
        run(folder / "file" / "below")


def test_two_runs_never_share_the_data(used: Path) -> None:
    with servers(used, postgres_settings=FAST), pytest.raises(CommandFailed, match="already run on the data"):
        run(used)


def test_an_interrupted_creation_is_begun_again(folder: Path) -> None:
    (folder / "postgres.new" / "base").mkdir(parents=True)

    with servers(folder, postgres_settings=FAST) as addresses:
        assert asked(addresses, "select 1") == 1


def test_a_fault_of_the_block_itself_comes_out_as_it_is(used: Path) -> None:
    with pytest.raises(FileNotFoundError), servers(used, postgres_settings=FAST):
        raise FileNotFoundError


def run(folder: Path) -> None:
    """Start and stop."""
    with servers(folder, postgres_settings=FAST):
        pass
