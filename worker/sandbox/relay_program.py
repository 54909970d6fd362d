"""
A program that lends another one, in a network of its own, the Unix sockets of the host as ports of its loopback.

    python -I -S relay_program.py PORT=SOCKET [PORT=SOCKET…] -- PROGRAM [ARGUMENT…]

Whatever connects to 127.0.0.1:PORT talks to SOCKET: bytes go both ways as they come, each side may finish before
the other, and who does not read makes the other wait. It listens before PROGRAM starts, and its exit code is
PROGRAM's, or 128 + N where signal N ended that. A sandbox that is to end signals every process in it, so this one
heeds no polite signal and ends when PROGRAM does.
"""

import os
import selectors
import signal
import socket
import sys
from contextlib import suppress

CHUNK = 2**16
"""Bytes under way at most, in each direction of a connection."""
WAITING = 128
"""Connections that may wait to be taken."""
POLITE = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Flow:
    """One direction of a connection: what was read on one side, until the other takes it."""

    def __init__(self, source: socket.socket, sink: socket.socket) -> None:
        self.source = source
        self.sink = sink
        self.held = b""
        self.open = True

    @property
    def reads(self) -> bool:
        """Whether it is to read: not before what it holds was taken."""
        return self.open and not self.held

    def fill(self) -> None:
        """Read, and pass on at once what goes; at the end, tell the other side that nothing more will come."""
        self.held = self.source.recv(CHUNK)
        if self.held:
            self.drain()
        else:
            self.open = False
            self.sink.shutdown(socket.SHUT_WR)

    def drain(self) -> None:
        """Pass on what the other side takes now."""
        with suppress(BlockingIOError):
            self.held = self.held[self.sink.send(self.held) :]


class Connection:
    """Two sockets and the two directions between them."""

    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        self.there, self.back = Flow(near, far), Flow(far, near)
        for end in (near, far):
            end.setblocking(False)

    def watch(self, selector: selectors.BaseSelector) -> None:
        """Wait for what can be done next; for nothing any more when both directions are at their end."""
        for flow, other in ((self.there, self.back), (self.back, self.there)):
            wanted = selectors.EVENT_READ * flow.reads | selectors.EVENT_WRITE * bool(other.held)
            if flow.source in selector.get_map():
                selector.unregister(flow.source)
            if wanted:
                selector.register(flow.source, wanted, self)
        if not (self.there.open or self.back.open or self.there.held or self.back.held):
            self.close(selector)

    def move(self, end: socket.socket, events: int) -> None:
        """Do what can be done at this end."""
        mine, other = (self.there, self.back) if end is self.there.source else (self.back, self.there)
        if events & selectors.EVENT_WRITE and other.held:
            other.drain()
        if events & selectors.EVENT_READ and mine.reads:
            mine.fill()

    def close(self, selector: selectors.BaseSelector) -> None:
        """End it from both sides."""
        for end in (self.there.source, self.back.source):
            with suppress(KeyError, ValueError):
                selector.unregister(end)
            end.close()


def main(ports: list[str], argv: list[str]) -> int:
    """Relay as long as `argv` runs; the exit code."""
    with selectors.DefaultSelector() as selector:
        for pair in ports:
            port, _, path = pair.partition("=")
            selector.register(listening(int(port)), selectors.EVENT_READ, path)
        for number in POLITE:
            signal.signal(number, signal.SIG_IGN)
        pid = start(argv)
        selector.register(os.pidfd_open(pid), selectors.EVENT_READ, pid)
        while True:
            for key, events in selector.select():
                if key.data == pid:
                    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                    return code if code >= 0 else 128 - code
                serve(key, events, selector)


def serve(key: selectors.SelectorKey, events: int, selector: selectors.BaseSelector) -> None:
    """Take a new connection, or go on with one; a fault of either side ends that one alone."""
    if isinstance(key.data, str):
        accept(key.fileobj, key.data, selector)  # type: ignore[arg-type]  # only sockets are registered with a path
        return
    connection: Connection = key.data
    try:
        connection.move(key.fileobj, events)  # type: ignore[arg-type]  # only sockets are registered so
        connection.watch(selector)
    except BlockingIOError:
        pass
    except OSError:
        connection.close(selector)


def reach(far: socket.socket, path: str) -> None:
    """Connect with the socket at this path, which may be longer than the 107 bytes that an address has room for."""
    folder, _, name = path.rpartition("/")
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        far.connect(f"/proc/self/fd/{descriptor}/{name}")
    finally:
        os.close(descriptor)


def accept(listener: socket.socket, path: str, selector: selectors.BaseSelector) -> None:
    """Connect who has come with the socket of the host; where nobody answers there, hang up."""
    with suppress(BlockingIOError, ConnectionError):
        near, _ = listener.accept()
        far = socket.socket(socket.AF_UNIX)
        try:
            reach(far, path)
        except OSError:
            near.close()
            far.close()
            return
        near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        Connection(near, far).watch(selector)


def listening(port: int) -> socket.socket:
    """A socket that listens on the loopback."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(WAITING)
    listener.setblocking(False)
    return listener


def start(argv: list[str]) -> int:
    """Start the program, with the signals as it would have found them; the answer is its pid."""
    pid = os.fork()
    if pid:
        return pid
    try:
        for number in (*POLITE, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        os.execvp(argv[0], argv)  # noqa: S606  # the program itself, without a shell
    except OSError as error:
        os.write(2, f"{argv[0]}: {error.strerror}\n".encode(errors="backslashreplace"))
        os._exit(127 if isinstance(error, FileNotFoundError) else 126)
    finally:
        os._exit(126)


if __name__ == "__main__":
    end = sys.argv.index("--")
    os._exit(main(sys.argv[1:end], sys.argv[end + 1 :]))  # nothing to flush, so no tidy exit
