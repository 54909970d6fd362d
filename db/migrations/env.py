"""Alembic's environment: runs on the connection that `db.migrate` opened, one transaction a migration."""

from alembic import context
from sqlalchemy import text

from db.migrate import VERSIONS_IN

connection = context.config.attributes["connection"]
connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {VERSIONS_IN}"))  # where Alembic notes the first one
connection.commit()
context.configure(
    connection=connection,
    transaction_per_migration=True,
    version_table_schema=VERSIONS_IN,
)
context.run_migrations()
