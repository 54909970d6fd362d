"""Databases as we find them: Supabase's, with or without the application's own tables, and the application's alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import LiteralString
from uuid import uuid4

import psycopg
from psycopg import sql

from db.engine import engine
from db.url import DatabaseUrl
from tests.support.population import CHOSEN, populate

HERE = Path(__file__).parent
OWNER = "project_owner"
PASSWORD = "project-owner-password"


def supabase(superuser: DatabaseUrl) -> DatabaseUrl:
    """Make this empty database a Supabase project; answers its address for the project's owner, who is no superuser."""
    owner = owned(superuser)
    run(superuser, "supabase")
    return owner


def owned(superuser: DatabaseUrl, *, attributes: LiteralString = "BYPASSRLS") -> DatabaseUrl:
    """Give this database to a role that may make roles and is no superuser; answers its address for that role."""
    with psycopg.connect(superuser.libpq, autocommit=True) as connection:
        if not connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [OWNER]).fetchall():
            connection.execute(sql.SQL("CREATE ROLE {} PASSWORD {}").format(sql.Identifier(OWNER), PASSWORD))
        connection.execute(sql.SQL(f"ALTER ROLE {{}} LOGIN CREATEROLE {attributes}").format(sql.Identifier(OWNER)))
        give = sql.SQL("ALTER DATABASE {} OWNER TO {}")
        connection.execute(give.format(sql.Identifier(connection.info.dbname), sql.Identifier(OWNER)))
    return superuser.as_role(OWNER, PASSWORD)


def original(superuser: DatabaseUrl, owner: DatabaseUrl, *, schemas: Sequence[str], also: Sequence[str] = ()) -> None:
    """Make the application's own tables as `owner`, with embeddings where the server can, and rows in `schemas`."""
    if has_pgvector(superuser):
        install_pgvector(superuser)
        also = ["original_embeddings", *also]
    run(owner, "original", *also)
    database = engine(superuser)
    with database.begin() as connection:
        for _ in range(2):
            populate(connection, uuid4(), schemas=schemas, words=CHOSEN | {"user_usage.usage_type": "api_call"})
    database.dispose()


def install_pgvector(superuser: DatabaseUrl) -> None:
    """What only a superuser may do, or Supabase's `postgres`."""
    with psycopg.connect(superuser.libpq) as connection:
        connection.execute("CREATE EXTENSION vector SCHEMA extensions")


def run(url: DatabaseUrl, *scripts: str) -> None:
    """Run scripts of this folder, by name."""
    with psycopg.connect(url.libpq, autocommit=True) as connection:
        for script in scripts:
            connection.execute((HERE / f"{script}.sql").read_bytes())


def has_pgvector(url: DatabaseUrl) -> bool:
    """Whether this server could have the extension."""
    with psycopg.connect(url.libpq) as connection:
        return bool(connection.execute("SELECT FROM pg_available_extensions WHERE name = 'vector'").fetchall())
