"""Which machines of a provider's were made for which attempts, so that none is left running after its attempt."""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""CREATE TABLE worker.sandboxes (
        id text NOT NULL CONSTRAINT sandboxes_pkey PRIMARY KEY,
        task_id bigint NOT NULL,
        fence bigint NOT NULL,
        made_at timestamptz NOT NULL DEFAULT now()
    )""")


def downgrade() -> None:
    op.execute("DROP TABLE worker.sandboxes")
