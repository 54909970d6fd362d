"""The index that tells whether any row still names a stored file. Alone in its migration: it is built concurrently."""

from alembic import op

from db.migrations import created

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # By hash: users write the path, and one too long for a B-tree would make their own insert fail.
    created.make_index_concurrently("public.worker_file_uploads_path", "ON public.file_uploads USING hash (file_path)")


def downgrade() -> None:
    op.execute("DROP INDEX IF EXISTS public.worker_file_uploads_path")
