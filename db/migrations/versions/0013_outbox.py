"""The outbox of stored files as a list that is only added to, with whose row it was that named each."""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

# Nobody knows any more who named what is there already, so it stays, for somebody to look at.
UPGRADE = (
    "DROP INDEX worker.orphaned_files_not_before",
    "ALTER TABLE worker.orphaned_files DROP CONSTRAINT orphaned_files_pkey",
    """ALTER TABLE worker.orphaned_files
        ADD COLUMN id bigint GENERATED ALWAYS AS IDENTITY,
        ADD COLUMN named_by uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
        ADD CONSTRAINT orphaned_files_pkey PRIMARY KEY (id)""",
    "ALTER TABLE worker.orphaned_files ALTER COLUMN named_by DROP DEFAULT",
)
DOWNGRADE = (
    """DELETE FROM worker.orphaned_files a USING worker.orphaned_files b
        WHERE (a.bucket, a.name, a.owner) = (b.bucket, b.name, b.owner) AND a.id < b.id""",
    """ALTER TABLE worker.orphaned_files
        DROP CONSTRAINT orphaned_files_pkey,
        DROP COLUMN id,
        DROP COLUMN named_by,
        ADD CONSTRAINT orphaned_files_pkey PRIMARY KEY (bucket, name, owner)""",
    "CREATE INDEX orphaned_files_not_before ON worker.orphaned_files (not_before)",
)


def upgrade() -> None:
    for statement in UPGRADE:
        op.execute(statement)


def downgrade() -> None:
    for statement in DOWNGRADE:
        op.execute(statement)
