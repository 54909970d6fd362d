"""The way to other hosts: only those that were named, only public ones, only over TLS, and not without end."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from worker.gateway.config import Caps, Egress
from worker.gateway.egress import Target, Tunnels, allows
from worker.gateway.ledger import Counters, Ledger
from worker.repository.address import is_public
from worker.run import gateway
from worker.settings import Settings

HELLO = b"\x16\x03\x01 the beginning of a handshake"


@pytest.mark.parametrize(
    ("entry", "host", "port", "allowed"),
    [
        ("pypi.org", "pypi.org", 443, True),
        ("pypi.org", "pypi.org", 80, False),
        ("pypi.org", "evil-pypi.org", 443, False),
        ("pypi.org", "x.pypi.org", 443, False),
        ("pypi.org", "pypi.org.evil.example", 443, False),
        ("*.npmjs.org", "registry.npmjs.org", 443, True),
        ("*.npmjs.org", "a.b.npmjs.org", 443, True),
        ("*.npmjs.org", "npmjs.org", 443, False),
        ("*.npmjs.org", "evilnpmjs.org", 443, False),
        ("PyPI.org:8443", "pypi.org", 8443, True),
        ("pypi.org:8443", "pypi.org", 443, False),
    ],
)
def test_a_host_is_allowed_by_its_whole_name_or_its_domain(entry: str, host: str, port: int, *, allowed: bool) -> None:
    assert allows(entry, Target(host=host, port=port)) is allowed


class Rig:
    """Tunnels in this process, to a server of ours that echoes; `found` says where each name leads."""

    def __init__(self, folder: Path, *, largest: int, admissible: Callable[[str], bool]) -> None:
        self.ledger = Ledger(folder / "counters", Caps())
        self.socket = str(folder / "s")
        self.found: Sequence[str] = ("127.0.0.1",)
        self.port = 0
        self.received = bytearray()
        self._largest = largest
        self._admissible = admissible

    async def ask(self, head: str, *then: bytes) -> bytes:
        """What comes back for a request and what is said after it, until the other side has no more."""
        reader, writer = await asyncio.open_unix_connection(self.socket)
        writer.write(f"{head}\r\n\r\n".encode())
        answer = bytearray(await reader.readuntil(b"\r\n\r\n"))
        for piece in then:
            writer.write(piece)
        writer.write_eof()
        with suppress(ConnectionResetError):
            answer += await reader.read()
        writer.close()
        return bytes(answer)

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Rig"]:
        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(ConnectionResetError):
                while chunk := await reader.read(65536):
                    self.received += chunk
                    writer.write(chunk)
            writer.close()

        async def lookup(_: str, __: int) -> Sequence[str]:
            return self.found

        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        egress = Egress(
            hosts=(f"echo.example:{self.port}", "*.plain.example"), socket=self.socket, largest=self._largest
        )
        tunnels = Tunnels(egress, self.ledger, lookup=lookup, admissible=self._admissible)
        proxy = await asyncio.start_unix_server(tunnels.serve, self.socket)
        async with server, proxy:
            yield self


Scene = Callable[[Rig], Awaitable[bytes]]


def played(folder: Path, scene: Scene, *, largest: int = 10**6, anywhere: bool = True) -> tuple[bytes, Rig]:
    rig = Rig(folder, largest=largest, admissible=(lambda _: True) if anywhere else is_public)

    async def play() -> bytes:
        async with asyncio.timeout(20), rig.open():
            return await scene(rig)

    return asyncio.run(play()), rig


def test_what_is_said_to_an_allowed_host_arrives_and_its_answer_too(tmp_path: Path) -> None:
    answer, rig = played(tmp_path, lambda rig: rig.ask(f"CONNECT echo.example:{rig.port} HTTP/1.1", HELLO, b"more"))

    assert answer == b"HTTP/1.1 200 Connection established\r\n\r\n" + HELLO + b"more"
    assert rig.ledger.counters.connections == 1
    assert rig.ledger.counters.bytes >= 2 * len(HELLO)


def test_other_hosts_ports_and_methods_are_refused_and_noted(tmp_path: Path) -> None:
    async def scene(rig: Rig) -> bytes:
        asked = ("CONNECT evil.example:443", "CONNECT echo.example:443", "CONNECT 127.0.0.1:80",
                 "CONNECT [::1]:443", f"GET http://echo.example:{rig.port}/", "POST /")  # fmt: skip
        return b"\n".join([await rig.ask(f"{line} HTTP/1.1") for line in asked])

    answers, rig = played(tmp_path, scene)

    assert answers.count(b"HTTP/1.1 403 Forbidden") == 6
    assert rig.ledger.counters.refused_hosts == ["evil.example", "echo.example", "127.0.0.1:80"]
    assert rig.ledger.counters.refused == 6
    assert not rig.received


@pytest.mark.parametrize(
    "found",
    [("127.0.0.1",), ("10.0.0.1",), ("169.254.169.254",), ("::1",), ("fd00::1",), ("1.1.1.1", "192.168.0.1"),
     ("::ffff:127.0.0.1",), ("168.63.129.16",)],
)  # fmt: skip
def test_an_allowed_name_that_leads_inside_is_refused(tmp_path: Path, found: Sequence[str]) -> None:
    async def scene(rig: Rig) -> bytes:
        rig.found = found
        return await rig.ask(f"CONNECT echo.example:{rig.port} HTTP/1.1")

    answer, rig = played(tmp_path, scene, anywhere=False)

    assert answer.startswith(b"HTTP/1.1 403 Forbidden")
    assert b"not on the public internet" in answer
    assert not rig.received


def test_what_is_not_tls_does_not_get_through(tmp_path: Path) -> None:
    answer, rig = played(
        tmp_path, lambda rig: rig.ask(f"CONNECT echo.example:{rig.port} HTTP/1.1", b"GET / HTTP/1.1\r\n\r\n")
    )

    assert answer == b"HTTP/1.1 200 Connection established\r\n\r\n"
    assert not rig.received


def test_after_so_many_bytes_there_is_no_more(tmp_path: Path) -> None:
    async def scene(rig: Rig) -> bytes:
        line = f"CONNECT echo.example:{rig.port} HTTP/1.1"
        await rig.ask(line, HELLO, b"x" * 300_000)
        return await rig.ask(line)

    again, rig = played(tmp_path, scene, largest=100_000)

    assert again.startswith(b"HTTP/1.1 403 Forbidden")
    assert b"used up" in again
    assert len(rig.received) <= 100_000


def test_a_host_that_does_not_answer_is_told(tmp_path: Path) -> None:
    async def scene(rig: Rig) -> bytes:
        rig.found = ("127.0.0.2",)
        return await rig.ask(f"CONNECT echo.example:{rig.port} HTTP/1.1")

    answer, _ = played(tmp_path, scene)

    assert answer.startswith(b"HTTP/1.1 502 Bad Gateway")


def test_the_program_opens_its_socket_where_hosts_are_allowed_and_only_there(tmp_path: Path) -> None:
    """The real name service knows localhost, and the real rules refuse it."""
    settings = Settings(_env_file=None, egress_hosts="localhost:5432, pypi.org")
    with gateway.opened(settings, tmp_path / "a", access=None, caps=Caps(), watch=lambda: None) as made:
        assert made
        assert made.egress
        assert made.model is None
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(20)
            client.connect(str(made.egress))
            client.sendall(b"CONNECT localhost:5432 HTTP/1.1\r\nHost: localhost:5432\r\n\r\n")
            answer = client.recv(1000)
    with gateway.opened(
        Settings(_env_file=None), tmp_path / "b", access=None, caps=Caps(), watch=lambda: None
    ) as nothing:
        assert nothing is None

    assert b"localhost:5432 is not on the public internet." in answer
    assert not made.egress.exists()
    assert Counters.read(tmp_path / "a" / "counters.json").refused_hosts == ["localhost:5432"]
