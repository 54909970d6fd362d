"""What Alembic does not compare of the queue's own, as the catalog has it: functions, a trigger, rights, a role."""

import hashlib
from collections.abc import Mapping

from sqlalchemy import Connection, text

TABLES = "SELECT oid FROM pg_class WHERE relnamespace = 'worker'::regnamespace"

PARTS: Mapping[str, str] = {
    "functions": """
        SELECT oid::regprocedure, md5(prosrc), prosecdef, proconfig, proacl FROM pg_proc
        WHERE pronamespace = 'worker'::regnamespace ORDER BY 1""",
    "trigger": """
        SELECT tgname, tgenabled, pg_get_triggerdef(oid) FROM pg_trigger
        WHERE tgrelid = 'public.tasks'::regclass AND tgname = 'worker_ring_for_pending'""",
    "constraints": f"""
        SELECT conrelid::regclass, conname, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE conrelid IN ({TABLES}) AND contype <> 'n' ORDER BY 1, 2""",  # noqa: S608 - of constants
    "rights": f"""
        SELECT oid::regclass, relacl FROM pg_class WHERE oid IN ({TABLES}) AND relkind IN ('r', 'S')
        UNION ALL SELECT 0::regclass, nspacl FROM pg_namespace WHERE nspname = 'worker' ORDER BY 1""",  # noqa: S608 - of constants
    "role task_worker": """
        SELECT rolcanlogin, rolsuper, rolinherit, rolconfig FROM pg_roles WHERE rolname = 'task_worker'""",
}


def fingerprints(connection: Connection) -> dict[str, str]:
    """A digest of each part, equal as long as nothing of it was changed."""
    connection.execute(text("SET LOCAL search_path = pg_catalog"))  # names are written with their schema
    return {part: _digest(connection, query) for part, query in PARTS.items()}


def _digest(connection: Connection, query: str) -> str:
    rows = connection.execute(text(query)).all()
    return hashlib.sha256("\n".join(str(tuple(map(str, row))) for row in rows).encode()).hexdigest()[:16]
