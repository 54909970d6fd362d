"""A network to the database that is slow, or gone for a while: a TCP proxy, run as a program of its own."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit, urlunsplit

from db.url import DatabaseUrl
from worker.local.child import free_port

CHUNK = 1 << 16


class Network:
    """The way to one server, by a port of its own."""

    def __init__(self, url: DatabaseUrl, *, round_trip: float) -> None:
        parts = urlsplit(url.libpq)
        self._port = free_port()
        netloc = f"{parts.netloc.rpartition('@')[0]}@127.0.0.1:{self._port}"
        self.url = DatabaseUrl(libpq=urlunsplit(parts._replace(netloc=netloc)))
        """The server's address through it."""
        target = (str(parts.hostname), str(parts.port))
        self._argv = (sys.executable, "-m", __name__, str(self._port), *target, str(round_trip / 2))
        self.mend()

    def mend(self) -> None:
        """Be there, from now on."""
        self._proxy = subprocess.Popen(self._argv, stdout=subprocess.PIPE)
        assert self._proxy.stdout
        assert self._proxy.stdout.readline() == b"ready\n"

    def cut(self) -> None:
        """Lose every connection, and take none."""
        self._proxy.send_signal(signal.SIGKILL)
        self._proxy.communicate()


@contextmanager
def through(url: DatabaseUrl, *, round_trip: float = 0) -> Iterator[Network]:
    """A network in front of `url` that adds so many seconds to each round trip."""
    network = Network(url, round_trip=round_trip)
    try:
        yield network
    finally:
        network.cut()


@contextmanager
def slowed(url: DatabaseUrl, *, round_trip: float) -> Iterator[DatabaseUrl]:
    """The address itself where nothing is to be added, else one that is slower."""
    if not round_trip:
        yield url
        return
    with through(url, round_trip=round_trip) as network:
        yield network.url


async def serve(port: int, target: tuple[str, int], delay: float) -> None:
    """Forward each connection to `target`, `delay` seconds late in either direction."""

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(*target)
        await asyncio.gather(late(reader, far_writer, delay), late(far_reader, writer, delay))

    server = await asyncio.start_server(forward, "127.0.0.1", port)
    print("ready", flush=True)
    await server.serve_forever()


async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
    """Pass on what comes, each piece `delay` seconds after it came, however many are under way."""
    clock = asyncio.get_running_loop().time
    under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def take() -> None:
        with suppress(ConnectionError):
            while chunk := await reader.read(CHUNK):
                under_way.put_nowait((clock() + delay, chunk))
        under_way.put_nowait((clock() + delay, b""))

    taking = asyncio.create_task(take())
    with suppress(ConnectionError):
        while (piece := await under_way.get())[1]:
            await asyncio.sleep(max(0.0, piece[0] - clock()))
            writer.write(piece[1])
    writer.close()
    taking.cancel()


if __name__ == "__main__":
    port, host, target_port, delay = sys.argv[1:]
    asyncio.run(serve(int(port), (host, int(target_port)), float(delay)))
