"""The gateway of one run, as the run sees it: started before its agent, closed after it, and asked what was used."""

import os
import select
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from secrets import token_urlsafe
from time import monotonic

import structlog

from worker.errors import CommandFailed
from worker.gateway import config
from worker.gateway.config import Caps
from worker.gateway.keys import Access
from worker.gateway.ledger import Counters
from worker.sandbox.base import Child
from worker.sandbox.command import Command
from worker.sandbox.process import ProcessSandbox
from worker.settings import Settings, network_environment

log = structlog.get_logger(__name__)

MODEL, EGRESS, COUNTERS = "model.sock", "egress.sock", "counters.json"
MEMORY = 2**30
"""Bytes of data that a gateway may have: sixteen of the largest requests and answers at once."""
START = timedelta(seconds=30)
LOOK = timedelta(milliseconds=100)
GRACE = timedelta(seconds=2)


class GatewayGone(CommandFailed):
    """A gateway ended by itself: through a fault, or because everything of this worker was told to end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """A gateway that listens."""

    token: str = field(repr=False)
    """What the agent shows in place of a key: x-api-key, Authorization: Bearer, x-goog-api-key or ?key=."""
    model: Path | None
    """The socket at which the provider's API answers, over plain HTTP; None without a provider."""
    egress: Path | None
    """The socket of a proxy to other hosts, which takes CONNECT; None where none is allowed."""
    folder: Path
    _child: Child = field(repr=False)

    @property
    def lives(self) -> bool:
        """Whether it still runs; it ends by itself only through a fault."""
        return self._child.poll() is None

    def used(self) -> Counters:
        """What the run has used until now, also after the gateway was closed."""
        return Counters.read(self.folder / COUNTERS)


@contextmanager
def opened(
    settings: Settings, folder: Path, *, access: Access | None, caps: Caps, watch: Callable[[], None]
) -> Iterator[Gateway | None]:
    """
    The gateway of a run in a folder that only the worker can reach; None where there is nothing to be passed on.

    Calls `watch` while it starts. Afterwards it has ended, with every connection through it and its sockets.

    Raises:
        CommandFailed: it did not start.
    """
    if access is None and not settings.egress_hosts:
        yield None
        return
    token = token_urlsafe(32)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    child = ProcessSandbox().start(command(configured(settings, access, caps=caps, token=token), folder))
    try:
        ready(child, watch)
        yield Gateway(
            token=token,
            model=folder / MODEL if access else None,
            egress=folder / EGRESS if settings.egress_hosts else None,
            folder=folder,
            _child=child,
        )
    finally:
        ended_early = child.poll()
        child.stop(GRACE)
        complaint = closed(child)
        if ended_early is not None or complaint:
            log.error("gateway.failed", code=ended_early, reason=complaint)
        for name in (MODEL, EGRESS):
            (folder / name).unlink(missing_ok=True)


def configured(settings: Settings, access: Access | None, *, caps: Caps, token: str) -> config.Config:
    """What the gateway is told."""
    model = (
        None
        if access is None
        else config.Model(
            provider=access.provider,
            key=access.key,
            upstream=access.upstream,
            token=token,
            socket=MODEL,
            caps=caps,
            prices=settings.prices,
        )
    )
    egress = config.Egress(hosts=settings.egress_hosts, socket=EGRESS, largest=settings.egress_limit)
    return config.Config(counters=COUNTERS, model=model, egress=egress if settings.egress_hosts else None)


def command(told: config.Config, folder: Path) -> Command:
    """The program; no .netrc shall answer in place of the key, and none of ours is in its environment."""
    env = {**network_environment(), "PATH": os.defpath, "LC_ALL": "C.UTF-8", "NETRC": os.devnull, "HOME": str(folder)}
    argv = (sys.executable, "-I", "-m", "worker.gateway")
    return Command(argv=argv, cwd=folder, env=env, stdin=config.written(told), memory=MEMORY)


def ready(child: Child, watch: Callable[[], None]) -> None:
    """Wait until the gateway listens."""
    given_up = monotonic() + START.total_seconds()
    said = b""
    while not said.endswith(b"ready\n"):
        watch()
        if child.poll() is not None or monotonic() > given_up:
            raise CommandFailed("The gateway to the agent's model did not start; the worker's log says why.")
        if select.select((child.stdout,), (), (), LOOK.total_seconds())[0]:
            said += os.read(child.stdout, 100)


def closed(child: Child) -> str:
    """End the gateway; the last thing that it complained of, if there was anything."""
    patience = monotonic() + 2 * GRACE.total_seconds()
    while child.poll() is None and monotonic() < patience:
        select.select((child.exited,) if child.exited is not None else (), (), (), LOOK.total_seconds())
    complaint = b""
    while select.select((child.stderr,), (), (), 0)[0] and (chunk := os.read(child.stderr, 2**16)):
        complaint += chunk
    child.close()
    return complaint.decode(errors="replace").strip()[-500:]
