"""Keeps what asks who calls, where it is ours, from types that a caller made in pg_temp: it is asked in our name too."""

from alembic import op

from db.migrations import created

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

FUNCTIONS = ("auth.uid()", "auth.role()", "auth.jwt()", "auth.email()")


def upgrade() -> None:
    for name in filter(made, FUNCTIONS):
        op.execute(f"ALTER FUNCTION {name} SET search_path = pg_catalog, pg_temp")


def downgrade() -> None:
    for name in filter(made, FUNCTIONS):
        op.execute(f"ALTER FUNCTION {name} SET search_path = ''")


def made(name: str) -> bool:
    """Whether it is ours."""
    return created.ours("function", name)
