"""Alembic's environment: runs on the connection that `db.migrate` opened, one transaction a migration."""

from alembic import context

from db.migrate import scope

context.configure(
    connection=context.config.attributes["connection"],
    transaction_per_migration=True,
    **scope(),
)
context.run_migrations()
