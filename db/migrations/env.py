"""Alembic's environment: runs on the connection that `db.migrate` opened, one transaction a migration."""

from alembic import context

from db.migrate import VERSIONS_IN

context.configure(
    connection=context.config.attributes["connection"],
    transaction_per_migration=True,
    version_table_schema=VERSIONS_IN,
)
context.run_migrations()
