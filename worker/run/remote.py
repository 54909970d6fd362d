"""The machine of a run at E2B: made for it, noted before it is used, and ended with it."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import structlog

from db.errors import DatabaseUnavailable
from worker.errors import CommandFailed
from worker.run.lease import Lease
from worker.sandbox import e2b
from worker.sandbox.base import Sandbox
from worker.sandbox.command import Command, Completed
from worker.sandbox.e2b import Account, Errand, Machine

log = structlog.get_logger(__name__)

Run = Callable[[Command, Sandbox], Completed]


@contextmanager
def machine(owner: Account, lease: Lease, run: Run) -> Iterator[Machine]:
    """
    A machine, noted for this attempt; gone afterwards. What could not be ended is left to maintenance.

    Raises:
        CommandFailed: E2B gives none.
        LeaseLost: the task is not ours any more.
    """
    made = json.loads(step(run, e2b.creating(owner, task=str(lease.claim.task_id), fence=str(lease.claim.fence))))
    try:
        lease.record_sandbox(made["id"], url=made["url"])
        log.info("sandbox.made", sandbox=made["id"])
        yield Machine(owner, made["id"])
    finally:
        end(owner, lease, made["id"])


def end(owner: Account, lease: Lease, sandbox: str) -> None:
    """End the machine, and strike it off."""
    try:
        e2b.kill(owner, sandbox)
    except CommandFailed as fault:
        log.warning("sandbox.kept", sandbox=sandbox, reason=str(fault))
        return
    with suppress(DatabaseUnavailable):
        lease.forget_sandbox(sandbox)


def step(run: Run, errand: Errand) -> bytes:
    """What a step at E2B prints."""
    done = run(Command(argv=("e2b",), cwd=Path("/")), errand)
    if done.returncode != 0:
        raise CommandFailed("The program that speaks to E2B was ended.")
    return done.stdout
