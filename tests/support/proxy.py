"""A TCP proxy that can be cut or go silent, in front of a server that others use too."""

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit, urlunsplit


class Proxy:
    """Forwards to one address; `cut` closes every connection and refuses new ones, `freeze` passes nothing on."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._flowing = threading.Event()
        self._flowing.set()
        self._open: set[socket.socket] = set()
        self._closed = False
        self._to_lose = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Lose every connection, and let none come about."""
        with suppress(OSError):  # closing alone would not wake the thread that waits in accept
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in tuple(self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        """Take connections again, and let everything flow."""
        self._flowing.set()
        if self._listener.fileno() == -1:
            self._listener = socket.create_server(("127.0.0.1", self.port))
            threading.Thread(target=self._accept, daemon=True).start()

    def freeze(self) -> None:
        """Keep every connection, and pass nothing on: a host that vanished without a word."""
        self._flowing.clear()

    @contextmanager
    def losing_answers(self, *, mend_after: int | None = None) -> Iterator[None]:
        """Cut a connection whenever its server answers, instead of passing that on; at most `mend_after` times."""
        self._to_lose = mend_after if mend_after is not None else 10**9
        try:
            yield
        finally:
            self._to_lose = 0

    def close(self) -> None:
        self._closed = True
        self._flowing.set()
        self.cut()

    def _accept(self) -> None:
        listener = self._listener
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                threading.Thread(target=self._forward, args=(client,), daemon=True).start()

    def _forward(self, client: socket.socket) -> None:
        with client, suppress(OSError), socket.create_connection(self._target) as server:
            pair = {client: server, server: client}
            self._open |= pair.keys()
            while not self._closed:
                for ready in select.select(list(pair), (), (), 0.5)[0]:
                    chunk = ready.recv(65536)
                    self._flowing.wait()
                    if not chunk:
                        return
                    if ready is server and self._to_lose:
                        self._to_lose -= 1
                        return
                    pair[ready].sendall(chunk)


@contextmanager
def proxied(url: str) -> Iterator[tuple[Proxy, str]]:
    """A proxy to the server of `url`, and the address that goes through it."""
    parts = urlsplit(url)
    proxy = Proxy(parts.hostname or "127.0.0.1", parts.port or 0)
    netloc = f"{parts.netloc.rpartition('@')[0]}@127.0.0.1:{proxy.port}"
    try:
        yield proxy, urlunsplit(parts._replace(netloc=netloc))
    finally:
        proxy.close()
