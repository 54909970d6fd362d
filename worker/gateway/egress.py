"""Lets a run reach the few hosts that the operator named, over TLS and through this proxy alone."""

import asyncio
import os
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from worker.gateway.config import Egress
from worker.gateway.ledger import Ledger
from worker.repository.address import is_public

ASKED = re.compile(rb"CONNECT ([A-Za-z0-9._-]{1,253}):([0-9]{1,5}) HTTP/1\.[01]\r\n")
"""No address of IPv6 is taken: hosts are allowed by their names."""
HTTPS = 443
TLS_HANDSHAKE = b"\x16"
CHUNK = 2**16
LONGEST_HEAD = 16 * 2**10
AT_ONCE = 64
ASKING, CONNECTING, SILENCE = 30.0, 10.0, 300.0
"""Seconds for the request, for each address, and for which a connection may say nothing."""

Lookup = Callable[[str, int], Awaitable[Sequence[str]]]


class Refused(Exception):
    """A connection that there will not be, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where to."""

    host: str
    port: int

    @property
    def name(self) -> str:
        """As it would stand in the settings."""
        return self.host if self.port == HTTPS else f"{self.host}:{self.port}"


class Tunnels:
    """The connections of one run to hosts other than its model's."""

    def __init__(
        self,
        egress: Egress,
        ledger: Ledger,
        *,
        lookup: Lookup | None = None,
        admissible: Callable[[str], bool] = is_public,
    ) -> None:
        self._egress = egress
        self._ledger = ledger
        self._lookup = lookup or addresses
        self._admissible = admissible
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """See one connection through."""
        try:
            async with self._turns:
                await self._connected(reader, writer)
        except Refused as refused:
            writer.write(answered("403 Forbidden", f"{refused}\n"))
            await writer.drain()
        except (OSError, TimeoutError, EOFError, ValueError):
            return  # either end is gone, silent, or does not speak HTTP
        finally:
            self._ledger.write()
            writer.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(ASKING):
            target = self._target(await reader.readuntil(b"\r\n\r\n"))
        there = await self._open(target)
        if there is None:
            writer.write(answered("502 Bad Gateway", f"{target.name} cannot be reached.\n"))
            return
        self._ledger.counters.connections += 1
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        try:
            await self._joined((reader, writer), there)
        finally:
            there[1].close()

    def _target(self, head: bytes) -> Target:
        """The host that is asked for, if it is allowed."""
        match = ASKED.match(head)
        if not match:
            self._ledger.refuse()
            raise Refused("Only connections over TLS pass here: CONNECT host:443.")
        target = Target(host=match[1].decode().lower().removesuffix("."), port=int(match[2]))
        if not any(allows(entry, target) for entry in self._egress.hosts):
            self._ledger.refuse_host(target.name)
            raise Refused(f"{target.name} is not among the hosts that this worker lets a task reach.")
        if self._left() <= 0:
            self._ledger.refuse_host(target.name)
            raise Refused("This task has used up what it may send and receive.")
        return target

    async def _open(self, target: Target) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """A connection to an address that was checked, so that a name cannot change its mind; None if there is none."""
        try:
            found = await self._lookup(target.host, target.port)
        except OSError:
            return None
        if not all(map(self._admissible, found)):
            self._ledger.refuse_host(target.name)
            raise Refused(f"{target.name} is not on the public internet.")
        for address in found:
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(CONNECTING):
                    return await asyncio.open_connection(address, target.port)
        return None

    async def _joined(
        self,
        here: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        there: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        """Pass on whatever comes, either way, until both are done or one has failed."""
        async with asyncio.timeout(SILENCE):
            first = await here[0].readexactly(1)
        if first != TLS_HANDSHAKE:
            self._ledger.refuse()
            return
        there[1].write(first)
        async with asyncio.timeout(SILENCE) as silence:
            ways = [
                asyncio.ensure_future(self._pass(*way, silence)) for way in ((here[0], there[1]), (there[0], here[1]))
            ]
            try:
                await asyncio.gather(*ways)
            finally:
                for way in ways:
                    way.cancel()

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, silence: asyncio.Timeout) -> None:
        while chunk := await source.read(CHUNK):
            silence.reschedule(asyncio.get_running_loop().time() + SILENCE)
            self._ledger.counters.bytes += len(chunk)
            if self._left() < 0:
                raise EOFError
            sink.write(chunk)
            await sink.drain()
        if sink.can_write_eof():
            sink.write_eof()

    def _left(self) -> int:
        return self._egress.largest - self._ledger.counters.bytes


def allows(entry: str, target: Target) -> bool:
    """Whether an entry of the settings means this host and port."""
    pattern, _, port = entry.lower().partition(":")
    if int(port or HTTPS) != target.port:
        return False
    return target.host.endswith(pattern[1:]) if pattern.startswith("*.") else target.host == pattern


async def addresses(host: str, port: int) -> Sequence[str]:
    """Every address of the host; none raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


def answered(status: str, sentence: str) -> bytes:
    """A short answer in plain text."""
    body = sentence.encode()
    return f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@asynccontextmanager
async def listening(egress: Egress, ledger: Ledger) -> AsyncIterator[None]:
    """The proxy at its socket, which is gone afterwards."""
    tunnels = Tunnels(egress, ledger)
    server = await asyncio.start_unix_server(tunnels.serve, egress.socket, limit=LONGEST_HEAD)
    try:
        yield
    finally:
        server.close()
        with suppress(FileNotFoundError):
            os.unlink(egress.socket)  # noqa: PTH108 - nothing else waits for this loop by now
