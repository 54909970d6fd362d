"""Makes what is absent and records it, so that a downgrade removes what we made and nothing else."""

import re
from collections.abc import Mapping, Sequence

from alembic import op
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

TIMEOUTS = ("SET lock_timeout = '4s'", "SET statement_timeout = '30s'")
"""What every other statement of a migration keeps to: live traffic waits behind its locks."""
EXISTS: Mapping[str, str] = {
    "role": "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = :name)",
    "schema": "SELECT to_regnamespace(:name) IS NOT NULL",
    "table": "SELECT to_regclass(:name) IS NOT NULL",
    "index": "SELECT to_regclass(:name) IS NOT NULL",
    "type": "SELECT to_regtype(:name) IS NOT NULL",
    "function": "SELECT to_regprocedure(:name) IS NOT NULL",
    "extension": "SELECT EXISTS (SELECT FROM pg_extension WHERE extname = :name)",
}
UNLESS_NEEDED = "DO $$ BEGIN {}; EXCEPTION WHEN dependent_objects_still_exist THEN NULL; END $$"
REMOVE: Mapping[str, str] = {
    "role": UNLESS_NEEDED.format("GRANT {0} TO CURRENT_USER; DROP OWNED BY {0}; DROP ROLE {0}"),
    "schema": UNLESS_NEEDED.format("DROP SCHEMA IF EXISTS {0}"),
    "extension": UNLESS_NEEDED.format("DROP EXTENSION IF EXISTS {0}"),
    "table": "DROP TABLE IF EXISTS {0}",
    "index": "DROP INDEX IF EXISTS {0}",
    "type": "DROP TYPE IF EXISTS {0}",
    "function": "DROP FUNCTION IF EXISTS {0}",
    "routine": UNLESS_NEEDED.format("DROP FUNCTION IF EXISTS {0}"),
    "trigger": """
        DO $$ BEGIN DROP TRIGGER IF EXISTS {0}; EXCEPTION WHEN insufficient_privilege THEN
            EXECUTE 'DROP FUNCTION ' || (
                SELECT tgfoid::regprocedure FROM pg_trigger WHERE tgname || ' ON ' || tgrelid::regclass = '{0}'
            ) || ' CASCADE';
        END $$""",
}
"""
How each kind goes. What somebody else needs by now stays, of roles, schemas, extensions and declared functions. What a
role may do can be taken back only by a member of it, or by a superuser. A trigger can be dropped only by the owner of
its table, which on Supabase we are not, but with the function that it calls it goes as well.
"""
MENTIONED = r"SELECT EXISTS (SELECT FROM pg_proc WHERE prosrc ~ '\mrls\.' AND pronamespace <> to_regnamespace('rls'))"
"""Whether a function asks ours; PostgreSQL keeps no account of what bodies call."""
REFUSED = frozenset({"42501", "0A000"})
"""We lack the right to it, or who hosts the server does not offer it."""
CLOSED = """
ALTER TABLE {0} ENABLE ROW LEVEL SECURITY;
REVOKE ALL ON {0} FROM PUBLIC, anon, authenticated;
INSERT INTO worker.created_objects (kind, name) VALUES ('table', '{0}');
"""


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


def make_tables(script: str) -> None:
    """
    Make those tables of `script` that are absent, closed to the app's users until rights are declared.

    Each begins with a line of its name, as `-- public.teams`. All go to the server at once: a foreign key keeps its
    target locked until the end, and auth.users is not to stay so for the time of a hundred round trips.
    """
    wanted = [block + CLOSED.format(name) for name, block in tables_of(script).items() if absent("table", name)]
    op.get_bind().exec_driver_sql("".join(wanted), execution_options={"no_parameters": True})


def remove_tables(script: str) -> None:
    """Remove those tables of `script` that we made."""
    remove("table", *reversed(tables_of(script)))


def tables_of(script: str) -> dict[str, str]:
    """The SQL that makes each table, in the order of the script."""
    pieces = re.split(r"^-- (\S+)$", script, flags=re.MULTILINE)[1:]
    return dict(zip(pieces[::2], pieces[1::2], strict=True))


def ours(kind: str, name: str) -> bool:
    """Whether we made it."""
    recorded = text("SELECT EXISTS (SELECT FROM worker.created_objects WHERE kind = :kind AND name = :name)")
    return bool(op.get_bind().scalar(recorded, {"kind": kind, "name": name}))


def make_if_allowed(kind: str, name: str, *statements: str) -> bool:
    """As `make`, for what can be done without: answers False where we lack the right to it."""
    try:
        with op.get_bind().begin_nested():
            return make(kind, name, *statements)
    except DBAPIError as fault:
        if getattr(fault.orig, "sqlstate", None) not in REFUSED:
            raise
        return False


def remove(kind: str, *names: str) -> None:
    """Remove those of `names` that we made."""
    forget = text("DELETE FROM worker.created_objects WHERE kind = :kind AND name = :name")
    for name in names:
        if op.get_bind().execute(forget, {"kind": kind, "name": name}).rowcount:
            op.execute(REMOVE[kind].format(name))


def remove_declared() -> None:
    """
    Remove the functions and triggers that `db.declared` made; it makes them anew at the next upgrade.

    Those of schema `rls` stay, all of them, where a table or a function that is not ours was hardened to ask them.
    """
    for name in recorded("trigger"):
        op.execute(REMOVE["trigger"].format(name))
    asked = [name for name in recorded("routine") if name.startswith("rls.")]
    for name in recorded("routine"):
        if name not in asked:
            op.execute(REMOVE["routine"].format(name))
    if asked and not op.get_bind().scalar(text(MENTIONED)):
        op.execute(UNLESS_NEEDED.format(f"DROP FUNCTION IF EXISTS {', '.join(asked)}"))
    op.execute("DELETE FROM worker.created_objects WHERE kind = 'trigger'")
    remove("routine", *(name for name in recorded("routine") if absent("function", name)))
    remove("schema", "rls")


def recorded(kind: str) -> Sequence[str]:
    """The names of what we made of this kind."""
    names = text("SELECT name FROM worker.created_objects WHERE kind = :kind ORDER BY name")
    return op.get_bind().scalars(names, {"kind": kind}).all()


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
