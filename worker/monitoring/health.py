"""What a load balancer or an operator asks a process over HTTP: is it alive, is it of use."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET6
from threading import Thread
from time import monotonic
from typing import Any

from worker.errors import CommandFailed

STUCK_AFTER = timedelta(seconds=60)
"""A loop that has not come round for so long is not alive."""
STALE_AFTER = timedelta(seconds=15)
"""A server that has not answered for so long is out of reach."""


@dataclass(slots=True)
class Pulse:
    """When each thing that matters last went well, on the clock of `time.monotonic`."""

    beats: dict[str, float] = field(default_factory=dict)

    def beat(self, name: str) -> None:
        """It went well just now."""
        self.beats[name] = monotonic()

    def ages(self) -> dict[str, float | None]:
        """Seconds since each last went well; None for never."""
        now = monotonic()
        return {name: round(now - self.beats[name], 2) if name in self.beats else None for name in NAMES}


NAMES = ("loop", "database", "broker")
CHECKED = {"/healthz": {"loop": STUCK_AFTER}, "/readyz": {"database": STALE_AFTER, "broker": STALE_AFTER}}


class Server(ThreadingHTTPServer):
    """Answers each request in a thread; a client that hangs up is no event."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: the standard library prints a traceback."""


class Server6(Server):
    """The same on an IPv6 address."""

    address_family = AF_INET6


class Answer(BaseHTTPRequestHandler):
    """`/healthz`: the loop goes round. `/readyz`: the database and the broker answered lately. Both tell the ages."""

    pulse: Pulse
    server_version = "codingit-worker"
    sys_version = ""
    timeout = 5

    def do_GET(self) -> None:
        """Answer with 200 or 503, and the ages in seconds as JSON."""
        checked = CHECKED.get(self.path.partition("?")[0])
        if checked is None:
            self._answer(HTTPStatus.NOT_FOUND, {"ok": False, "paths": list(CHECKED)})
            return
        ages = self.pulse.ages()
        well = all(_within(ages[name], limit) for name, limit in checked.items())
        status = HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE
        self._answer(status, {"ok": well, "seconds_since": ages})

    def do_HEAD(self) -> None:
        """The same without the body, as some load balancers ask."""
        self.do_GET()

    def _answer(self, status: HTTPStatus, facts: dict[str, Any]) -> None:
        body = json.dumps(facts).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing: this is asked every few seconds."""


@contextmanager
def served(pulse: Pulse, address: str) -> Iterator[str]:
    """
    Answer at `address` (host:port) in a thread of its own; yields the address, with the port that was taken for 0.

    Raises:
        CommandFailed: the port is taken, or the host is none of ours.
    """
    host, _, port = address.rpartition(":")
    bare = host.strip("[]")
    answer = type("PulseAnswer", (Answer,), {"pulse": pulse})
    try:
        server = (Server6 if ":" in bare else Server)((bare, int(port)), answer)
    except OSError as fault:
        raise CommandFailed(
            f"Cannot listen on {address}: {fault.strerror}. Set CODINGIT_HEALTH_ADDRESS to another."
        ) from fault
    with server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="health", daemon=True).start()
        try:
            yield f"{host}:{server.server_port}"
        finally:
            server.shutdown()


def _within(age: float | None, limit: timedelta) -> bool:
    return age is not None and age <= limit.total_seconds()
