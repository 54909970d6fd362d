"""What a load balancer or an operator asks a process over HTTP: is it alive, is it of use."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from time import monotonic
from typing import Any

from worker.errors import CommandFailed, WrongUse

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


class Answer(BaseHTTPRequestHandler):
    """`/healthz`: the loop goes round. `/readyz`: the database and the broker answered lately. Both tell the ages."""

    pulse: Pulse
    server_version = "codingit-worker"
    sys_version = ""
    timeout = 5

    def do_GET(self) -> None:  # noqa: N802 - the name that http.server calls
        """Answer with 200 or 503, and the ages in seconds as JSON."""
        ages = self.pulse.ages()
        checked = {"/healthz": {"loop": STUCK_AFTER}, "/readyz": {"database": STALE_AFTER, "broker": STALE_AFTER}}
        if self.path not in checked:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        well = all(_within(ages[name], limit) for name, limit in checked[self.path].items())
        body = json.dumps({"ok": well, "seconds_since": ages}).encode() + b"\n"
        self.send_response(HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing: this is asked every few seconds."""


@contextmanager
def served(pulse: Pulse, address: str) -> Iterator[str]:
    """
    Answer at `address` (host:port) in a thread of its own; yields the address, with the port that was taken for 0.

    Raises:
        WrongUse: the address cannot be read.
        CommandFailed: the port is taken.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise WrongUse(f"CODINGIT_HEALTH_ADDRESS is {address}; it must look like 127.0.0.1:8787.")
    handler = type("PulseAnswer", (Answer,), {"pulse": pulse})
    try:
        server = ThreadingHTTPServer((host, int(port)), handler)
    except OSError as fault:
        raise CommandFailed(
            f"Cannot listen on {address}: {fault.strerror}. Set CODINGIT_HEALTH_ADDRESS to another."
        ) from fault
    with server:
        Thread(target=server.serve_forever, name="health", daemon=True).start()
        yield f"{host}:{server.server_port}"
        server.shutdown()


def _within(age: float | None, limit: timedelta) -> bool:
    return age is not None and age <= limit.total_seconds()
