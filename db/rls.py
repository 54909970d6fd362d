"""Acting as a user of the app, or as its service, for one transaction, under what row level security then allows."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, get_args
from uuid import UUID

from sqlalchemy import Connection, Engine, text
from sqlalchemy.orm import Session

from db.errors import TransactionUnfit

Role = Literal["anon", "authenticated", "service_role"]
ROLES: frozenset[str] = frozenset(get_args(Role))
# The older names are emptied, for auth.uid() asks them first, and a session may have been left with one.
BECOME = text("""
SELECT set_config('request.jwt.claims', :claims, true), set_config('request.jwt.claim', '', true),
    set_config('request.jwt.claim.sub', '', true), set_config('request.jwt.claim.role', '', true),
    set_config('request.jwt.claim.email', '', true), set_config('role', :role, true)
""")
"""All of it until the transaction ends, however it ends: the connection's next user, a pooler's too, finds none."""


@contextmanager
def acting_as(
    database: Engine | Connection,
    user_id: UUID | None,
    *,
    role: Role = "authenticated",
    claims: Mapping[str, Any] | None = None,
) -> Iterator[Session]:
    """
    A session whose one transaction is this user's, committed when the block is left, rolled back when it raises.

    Costs one round trip. Once the block has committed or rolled back by itself, the session refuses to go on, for it
    would go on as whoever logged in. That role must be a member of `role`, as Supabase's `postgres` is. `claims` are
    further claims of the token, such as `aal`; `sub` and `role` are always these.

    Raises:
        TransactionUnfit: the connection is in a transaction already, or in none ever (autocommit).
    """
    if role not in ROLES:
        raise ValueError(f"{role!r} is none of {', '.join(sorted(ROLES))}")
    token = {**(claims or {}), "sub": None if user_id is None else str(user_id), "role": role}
    with Session(_between_transactions(database)) as session, session.begin():
        _require_a_transaction(session)
        session.execute(BECOME, {"claims": json.dumps(token), "role": role})
        yield session


@contextmanager
def as_service(database: Engine | Connection) -> Iterator[Session]:
    """The same as the app's service, who may do everything to the app's tables."""
    with acting_as(database, None, role="service_role") as session:
        yield session


def _between_transactions(database: Engine | Connection) -> Engine | Connection:
    if isinstance(database, Connection) and database.in_transaction():
        raise TransactionUnfit("The connection is in a transaction, which would go on in the user's name.")
    return database


def _require_a_transaction(session: Session) -> None:
    # In autocommit the role would be gone before the first query, which would run as whoever logged in.
    if getattr(session.connection().connection.driver_connection, "autocommit", False):
        raise TransactionUnfit("The connection is in autocommit: it has no transaction in which to act as somebody.")
