"""Who tries something in a test of rights: a role, and who is signed in."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, text


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """As whom PostgREST would run a request."""

    role: str
    user: UUID | None = None


ANON = Actor(role="anon")
SERVICE = Actor(role="service_role")
WORKER = Actor(role="task_worker")


def signed_in(user: UUID) -> Actor:
    """One of the app's users."""
    return Actor(role="authenticated", user=user)


@contextmanager
def acting(connection: Connection, actor: Actor) -> Iterator[Connection]:
    """The same transaction as somebody else; what they did is undone when the block is left."""
    savepoint = connection.begin_nested()
    claims = json.dumps({"sub": str(actor.user), "role": actor.role}) if actor.user else ""
    turn_into = text("SELECT set_config('request.jwt.claims', :claims, true), set_config('role', :role, true)")
    try:
        connection.execute(turn_into, {"claims": claims, "role": actor.role})
        yield connection
    finally:
        savepoint.rollback()
