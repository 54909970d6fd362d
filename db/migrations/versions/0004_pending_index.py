"""The index by which users take turns. Alone in its migration: it is built outside of a transaction, and can fail."""

from alembic import op

from db.migrations import created

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    created.make_index_concurrently(
        "public.worker_tasks_pending", "ON public.tasks (user_id, id) WHERE status = 'pending'"
    )


def downgrade() -> None:
    op.execute("DROP INDEX IF EXISTS public.worker_tasks_pending")
