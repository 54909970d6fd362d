"""Sockets of the host as ports of a sandbox that has no other network: nothing is held back, lost, or mixed up."""

import os
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.integration.sandbox.test_conformance import UP, ended, heard
from tests.support.processes import DEAF, Marked, eventually, nothing_left
from tests.support.sandboxes import isolating
from worker.sandbox.bubblewrap import Bubblewrap
from worker.sandbox.command import Command

PORT = 8080
CONNECT = f"import socket; s = socket.create_connection(('127.0.0.1', {PORT}))"
READ_ALL = "read = lambda: b''.join(iter(lambda: s.recv(65536), b''))"
Answer = Callable[[socket.socket], None]


@pytest.fixture
def sandbox(marked: Marked) -> Bubblewrap:
    return isolating([marked.folder])


@contextmanager
def answering(answer: Answer) -> Iterator[Path]:
    """A Unix socket of the host, in a folder that no sandbox sees, at which each connection gets this answer."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        path = Path(folder, "host.sock")
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=take, args=(listener, answer))
        thread.start()
        yield path
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def take(listener: socket.socket, answer: Answer) -> None:
    """Answer each in a thread of its own, until the listener is closed."""
    threads = []
    with suppress(OSError):
        while True:
            threads.append(threading.Thread(target=served, args=(listener.accept()[0], answer)))
            threads[-1].start()
    for thread in threads:
        thread.join()


def served(connection: socket.socket, answer: Answer) -> None:
    with connection, suppress(OSError):
        answer(connection)


def echo(connection: socket.socket) -> None:
    """All back, but not before the other side has finished."""
    connection.sendall(b"".join(iter(lambda: connection.recv(65536), b"")))


def relayed(command: Command, path: Path, port: int = PORT) -> Command:
    return replace(command, sockets={port: path})


def outcome(sandbox: Bubblewrap, command: Command) -> tuple[int, bytes, bytes]:
    with closing(sandbox.start(command)) as child:
        code = ended(child, within=20)
        return code, os.read(child.stdout, 65536), os.read(child.stderr, 65536)


def test_each_side_may_finish_before_the_other_and_nothing_is_lost(sandbox: Bubblewrap, marked: Marked) -> None:
    program = (CONNECT, READ_ALL, "s.sendall(bytes(range(256)) * 4000)", "s.shutdown(1)",
               "print(read() == bytes(range(256)) * 4000)")  # fmt: skip
    with answering(echo) as path, nothing_left(marked):
        assert outcome(sandbox, relayed(marked.python(*program), path)) == (0, b"True\n", b"")


def test_a_stream_passes_piece_by_piece(sandbox: Bubblewrap, marked: Marked) -> None:
    """Each piece is sent only when the one before has come out at the other end."""

    def answer(connection: socket.socket) -> None:
        for number in range(20):
            connection.sendall(b"event %d\n" % number)
            assert connection.recv(100) == b"seen"

    program = (CONNECT, "while (piece := s.recv(100)): print(piece.decode(), end=''); s.sendall(b'seen')")
    with answering(answer) as path:
        code, printed, _ = outcome(sandbox, relayed(marked.python(*program), path))
    assert (code, printed.decode().splitlines()) == (0, [f"event {number}" for number in range(20)])


def test_who_does_not_read_makes_the_other_wait_and_nobody_else(sandbox: Bubblewrap, marked: Marked) -> None:
    """100 MB for somebody who reads nothing: they stay where they are, and another connection is served."""
    sent: list[int] = []

    def answer(connection: socket.socket) -> None:
        if connection.recv(5) == b"small":
            connection.sendall(b"here")
        else:
            connection.settimeout(1)
            with suppress(TimeoutError):
                while True:
                    sent.append(connection.send(b"x" * 65536))

    program = (CONNECT, "s.sendall(b'large')", "time.sleep(1.5)", "large = s", CONNECT, "s.sendall(b'small')",
               "print(s.recv(100).decode())")  # fmt: skip
    with answering(answer) as path:
        assert outcome(sandbox, relayed(marked.python(*program), path))[:2] == (0, b"here\n")
    assert 0 < sum(sent) < 20 * 10**6


def test_many_connections_at_once_do_not_mix(sandbox: Bubblewrap, marked: Marked) -> None:
    program = (
        "import socket, threading",
        "def talk(n):",
        f"    with socket.create_connection(('127.0.0.1', {PORT})) as s:",
        "        s.sendall(b'%d ' % n * 10000); s.shutdown(1)",
        "        if b''.join(iter(lambda: s.recv(65536), b'')) == b'%d ' % n * 10000: right.append(n)",
        "right = []",
        "threads = [threading.Thread(target=talk, args=(n,)) for n in range(50)]",
        "[t.start() for t in threads]; [t.join() for t in threads]",
        "print(len(right))",
    )
    with answering(echo) as path:
        assert outcome(sandbox, relayed(marked.python(*program), path))[:2] == (0, b"50\n")


def test_a_host_that_hangs_up_or_is_not_there_ends_that_connection_alone(sandbox: Bubblewrap, marked: Marked) -> None:
    program = (CONNECT, "print(s.recv(1))", CONNECT, "print(s.recv(1))")
    with answering(lambda _: None) as path:
        assert outcome(sandbox, relayed(marked.python(*program), path))[:2] == (0, b"b''\nb''\n")
        away = relayed(marked.python("time.sleep(0.5)", *program), path)
        with closing(sandbox.start(away)) as child:
            assert eventually(lambda: len(marked.alive()) > 3)
            path.unlink()
            assert ended(child) == 0


def test_its_exit_code_input_environment_and_end_are_the_programs(sandbox: Bubblewrap, marked: Marked) -> None:
    with answering(echo) as path:
        shown = marked.shell("cat; env | sort; ls /proc/self/fd | wc -l; exit 7", stdin=b"in\n")
        code, printed, _ = outcome(sandbox, relayed(shown, path))
        names = {line.partition("=")[0] for line in printed.decode().splitlines()[1:-1]}
        assert (code, printed.decode().splitlines()[0], printed.decode().splitlines()[-1]) == (7, "in", "4")
        assert names - {"PWD", "_", "SHLVL", "OLDPWD"} == {"PATH", "MARK"}
        assert outcome(sandbox, relayed(marked.shell("kill -SEGV $$"), path))[0] == 128 + 11
        assert outcome(sandbox, relayed(marked.command("no-such-program"), path))[0] == 127


def test_it_gives_the_program_its_grace(sandbox: Bubblewrap, marked: Marked) -> None:
    """The relay is still there while the program tidies up, since it heeds no polite signal."""
    tidy = f"signal.signal(signal.SIGTERM, lambda *_: (exec({CONNECT!r} + '; print(s.recv(9))'), sys.exit(3)))"
    with answering(lambda connection: connection.sendall(b"bye")) as path, nothing_left(marked):
        command = relayed(marked.python(tidy, UP, "time.sleep(60)"), path)
        with closing(sandbox.start(command)) as child:
            assert heard(child) == b"up\n"
            child.stop(timedelta(seconds=5))
            assert ended(child, within=5) == 3
            assert b"bye" in os.read(child.stdout, 100)


def test_nobody_who_ignores_signals_stays_behind_it(sandbox: Bubblewrap, marked: Marked) -> None:
    with answering(echo) as path, nothing_left(marked):
        child = sandbox.start(relayed(marked.python(DEAF, UP, "time.sleep(60)"), path))
        assert heard(child) == b"up\n"
        child.stop(timedelta(seconds=0.2))
        assert ended(child) == 128 + 9
        child.close()
