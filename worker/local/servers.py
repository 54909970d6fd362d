"""PostgreSQL and Valkey for one checkout, running for as long as a block of code does."""

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from worker.errors import CommandFailed
from worker.local import binaries, child, postgres, state, valkey
from worker.local.state import Addresses

__all__ = ["Addresses", "servers"]


@contextmanager
def servers(folder: Path, *, postgres_settings: Mapping[str, str] = {}) -> Iterator[Addresses]:
    """
    Run both servers on what `folder` keeps, on loopback; both are gone when the block is left.

    Enter it in the main thread, or in one that outlives the block: Linux ends the servers when the thread
    that started them ends, so that even SIGKILL leaves no orphan.

    Raises:
        CommandFailed: says why the servers cannot run here, and where the log is.
    """
    with ExitStack() as stack:
        with state.plainly():
            addresses = started(stack, folder, postgres_settings)
        yield addresses


def started(stack: ExitStack, folder: Path, postgres_settings: Mapping[str, str]) -> Addresses:
    """The addresses of both servers, which `stack` ends."""
    programs = binaries.found()
    folder = folder.resolve()
    state.check_user()
    state.prepare(folder)
    state.check_room(folder)
    if os.geteuid() == 0:
        state.check_passage(folder)
    reserve(stack, folder)
    kept = state.kept(folder)
    durable = postgres_settings.get("fsync") != "off"
    postgres.prepare(programs, folder, kept, durable=durable)
    state.keep(folder, kept)
    broker, redis_port = child.on_a_port(kept.redis_port, lambda port: valkey.start(programs, folder, kept, port=port))
    stack.callback(broker.end)
    database, postgres_port = child.on_a_port(
        kept.postgres_port,
        lambda port: postgres.start(programs, folder, kept, settings=postgres_settings, port=port),
    )
    stack.callback(database.end)
    kept = replace(kept, postgres_port=postgres_port, redis_port=redis_port)
    state.keep(folder, kept)
    state.announce(folder, kept)
    return kept.addresses()


def reserve(stack: ExitStack, folder: Path) -> None:
    """No second server on the same data. Raises CommandFailed."""
    lock = state.locked(folder / "servers.lock")
    if lock is None:
        raise CommandFailed(f"Other servers already run on the data in {folder}.")
    stack.enter_context(lock)
