"""The rest of what Supabase brings: sign-ins, storage, the API's role, a schema for extensions; where it is absent."""

from pathlib import Path

from alembic import op

from db.migrations import created

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

ROLES = "anon, authenticated, service_role"
AUTH, STORAGE = (Path(__file__).with_name(f"0005_{schema}.sql").read_text() for schema in ("auth", "storage"))
EMAIL = """
CREATE FUNCTION auth.email() RETURNS text LANGUAGE sql STABLE SET search_path = '' AS $$
    SELECT coalesce(
        nullif(current_setting('request.jwt.claim.email', true), ''),
        nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'email'
    )
$$
"""
BYPASS = """
DO $$ BEGIN
    IF NOT (SELECT rolbypassrls FROM pg_roles WHERE rolname = 'service_role') THEN
        ALTER ROLE service_role BYPASSRLS;
    END IF;
EXCEPTION WHEN insufficient_privilege THEN NULL;
END $$
"""
"""Where we may not give it, service_role needs policies of its own."""
BUCKETTYPE = "CREATE TYPE storage.buckettype AS ENUM ('STANDARD', 'ANALYTICS')"


def upgrade() -> None:
    created.make_if_allowed(
        "role", "authenticator", "CREATE ROLE authenticator LOGIN NOINHERIT", f"GRANT {ROLES} TO authenticator"
    )
    if created.ours("role", "service_role"):
        op.execute(BYPASS)
    created.make("schema", "extensions", "CREATE SCHEMA extensions", f"GRANT USAGE ON SCHEMA extensions TO {ROLES}")
    if created.ours("schema", "auth"):
        created.make("function", "auth.email()", EMAIL)
        created.make_tables(AUTH)
    if created.make("schema", "storage", "CREATE SCHEMA storage", f"GRANT USAGE ON SCHEMA storage TO {ROLES}"):
        created.make("type", "storage.buckettype", BUCKETTYPE)
        created.make_tables(STORAGE)


def downgrade() -> None:
    created.remove_tables(STORAGE)
    created.remove("type", "storage.buckettype")
    created.remove("schema", "storage")
    created.remove_tables(AUTH)
    created.remove("function", "auth.email()")
    created.remove("extension", "vector")
    created.remove("schema", "extensions")
    created.remove("role", "authenticator")
