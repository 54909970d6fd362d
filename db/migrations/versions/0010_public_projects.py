"""The index by which users find public projects beside their own. Alone in its migration: it is built concurrently."""

from alembic import op

from db.migrations import created

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if created.ours("table", "public.projects"):
        created.make_index_concurrently(
            "public.idx_projects_public", "ON public.projects (updated_at DESC) WHERE is_public AND deleted_at IS NULL"
        )


def downgrade() -> None:
    if created.ours("table", "public.projects"):
        op.execute("DROP INDEX IF EXISTS public.idx_projects_public")
