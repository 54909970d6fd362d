"""Makes what is absent and records it, so that a downgrade removes what we made and nothing else."""

from collections.abc import Mapping

from alembic import op
from sqlalchemy import text

TIMEOUTS = ("SET lock_timeout = '4s'", "SET statement_timeout = '30s'")
"""What every other statement of a migration keeps to: live traffic waits behind its locks."""
EXISTS: Mapping[str, str] = {
    "role": "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = :name)",
    "schema": "SELECT to_regnamespace(:name) IS NOT NULL",
    "table": "SELECT to_regclass(:name) IS NOT NULL",
    "index": "SELECT to_regclass(:name) IS NOT NULL",
    "type": "SELECT to_regtype(:name) IS NOT NULL",
    "function": "SELECT to_regprocedure(:name) IS NOT NULL",
}
REMOVE: Mapping[str, str] = {
    "role": "DO $$ BEGIN DROP OWNED BY {0}; DROP ROLE {0}; EXCEPTION WHEN dependent_objects_still_exist THEN NULL; END $$",
    "schema": "DROP SCHEMA IF EXISTS {0}",
    "table": "DROP TABLE IF EXISTS {0}",
    "index": "DROP INDEX IF EXISTS {0}",
    "type": "DROP TYPE IF EXISTS {0}",
    "function": "DROP FUNCTION IF EXISTS {0}",
}
"""How each kind goes. A role that another database of the server still needs stays."""


def absent(kind: str, name: str) -> bool:
    """Whether there is no such thing yet; `name` is qualified and written as SQL writes it."""
    return not op.get_bind().scalar(text(EXISTS[kind]), {"name": name})


def make(kind: str, name: str, *statements: str) -> bool:
    """Run `statements` and record the thing, unless it is there already; answers whether it was made."""
    if not absent(kind, name):
        return False
    for statement in statements:
        op.execute(statement)
    record = text("INSERT INTO worker.created_objects (kind, name) VALUES (:kind, :name)")
    op.get_bind().execute(record, {"kind": kind, "name": name})
    return True


def remove(kind: str, *names: str) -> None:
    """Remove those of `names` that we made."""
    forget = text("DELETE FROM worker.created_objects WHERE kind = :kind AND name = :name")
    for name in names:
        if op.get_bind().execute(forget, {"kind": kind, "name": name}).rowcount:
            op.execute(REMOVE[kind].format(name))


def make_index_concurrently(name: str, definition: str) -> None:
    """
    Build an index without blocking writers; `definition` begins at ON.

    Runs outside a transaction, so an interrupted build leaves an invalid index: it is dropped and built anew. It waits
    for transactions that began before it, however long they take, and holds nobody up meanwhile.
    """
    with op.get_context().autocommit_block():
        op.execute("SET statement_timeout = 0")
        op.execute("SET lock_timeout = 0")
        invalid = text("SELECT EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass(:name) AND NOT indisvalid)")
        if op.get_bind().scalar(invalid, {"name": name}):
            op.execute(f"DROP INDEX CONCURRENTLY {name}")
        op.execute(f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name.rpartition('.')[2]} {definition}")
        for limit in TIMEOUTS:
            op.execute(limit)
