"""The index by which a user's runs of today are summed up. Alone in its migration: it is built outside of a transaction."""

from alembic import op

from db.migrations import created

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    created.make_index_concurrently("worker.runs_user_id_started_at", "ON worker.runs (user_id, started_at)")


def downgrade() -> None:
    op.execute("DROP INDEX IF EXISTS worker.runs_user_id_started_at")
