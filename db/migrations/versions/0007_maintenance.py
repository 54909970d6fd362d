"""Which period of the schedule was done by whom, and the stored files whose rows are gone."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TABLES = (
    """CREATE TABLE worker.schedule_slots (
        name text NOT NULL,
        scheduled_for timestamptz NOT NULL,
        taken_at timestamptz NOT NULL DEFAULT now(),
        finished_at timestamptz,
        holder text NOT NULL,
        report jsonb,
        CONSTRAINT schedule_slots_pkey PRIMARY KEY (name, scheduled_for)
    )""",
    "CREATE INDEX schedule_slots_taken_at ON worker.schedule_slots (taken_at)",
    """CREATE TABLE worker.orphaned_files (
        bucket text NOT NULL,
        name text NOT NULL,
        owner uuid NOT NULL,
        project uuid NOT NULL,
        added_at timestamptz NOT NULL DEFAULT now(),
        attempts integer NOT NULL DEFAULT 0,
        not_before timestamptz NOT NULL DEFAULT now(),
        last_error text,
        CONSTRAINT orphaned_files_pkey PRIMARY KEY (bucket, name, owner)
    )""",
    "CREATE INDEX orphaned_files_not_before ON worker.orphaned_files (not_before)",
)


def upgrade() -> None:
    for statement in TABLES:
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TABLE worker.schedule_slots, worker.orphaned_files")
