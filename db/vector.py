"""`public.code_embeddings`, which needs pgvector: made by whichever upgrade first finds it."""

from pathlib import Path

from alembic import op
from sqlalchemy import Connection, text

from db.migrations import created

TABLE = "public.code_embeddings"
SCRIPT = (Path(__file__).parent / "sql" / "code_embeddings.sql").read_text()
AVAILABLE = "SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'vector')"
FIT = "SELECT to_regtype('extensions.vector') IS NOT NULL AND EXISTS (SELECT FROM pg_am WHERE amname = 'hnsw')"
"""Versions before 0.5 have no index of this kind."""
SCHEMA = "SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'vector'"
PRESENT = "SELECT to_regclass('public.code_embeddings') IS NOT NULL"


def install() -> None:
    """Make the extension where we may, then the table; within Alembic's operations."""
    if op.get_bind().scalar(text(AVAILABLE)):
        created.make_if_allowed("extension", "vector", "CREATE EXTENSION vector SCHEMA extensions")
    if op.get_bind().scalar(text(FIT)):
        created.make_tables(SCRIPT)


def left_out(connection: Connection) -> str | None:
    """Why the table is not there, and what to do to have it; None when it is."""
    if connection.scalar(text(PRESENT)):
        return None
    return (
        f"{TABLE} is left out, for it needs pgvector 0.5 or newer in schema extensions. To have it, "
        f"{next_step(connection)}; then: codingit-worker db upgrade"
    )


def next_step(connection: Connection) -> str:
    """What a superuser does to bring pgvector where the table needs it."""
    schema = connection.scalar(text(SCHEMA))
    if schema == "extensions":
        return "run as a superuser: ALTER EXTENSION vector UPDATE"
    if schema:
        return "run as a superuser: ALTER EXTENSION vector SET SCHEMA extensions"
    there = connection.scalar(text(AVAILABLE))
    return ("" if there else "install pgvector on the server and ") + (
        "run as a superuser: CREATE EXTENSION vector SCHEMA extensions"
    )
