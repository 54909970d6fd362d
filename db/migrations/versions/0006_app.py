"""The application's other tables, as it would make them itself, less its faults."""

from pathlib import Path

from db.migrations import created

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TABLES = Path(__file__).with_suffix(".sql").read_text()
TYPES = {
    "public.projects": ("public.project_status_enum", "'active', 'archived', 'deleted'"),
    "public.messages": ("public.message_role_enum", "'user', 'assistant'"),
    "public.teams": (
        "public.subscription_status_enum",
        "'active', 'canceled', 'past_due', 'unpaid', 'incomplete'",
    ),
}


def upgrade() -> None:
    for table, (name, values) in TYPES.items():
        if created.absent("table", table):  # a table that is there may do without the type
            created.make("type", name, f"CREATE TYPE {name} AS ENUM ({values})")
    created.make_tables(TABLES)


def downgrade() -> None:
    created.remove("table", "public.code_embeddings")
    created.remove_tables(TABLES)
    created.remove_declared()
    created.remove("type", *(name for name, _ in TYPES.values()))
