"""Stand-ins for what Supabase brings: its roles, schema `auth`, and the functions that policies ask."""

from alembic import op

from db.migrations import created

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ROLES = ("anon", "authenticated", "service_role")

CLAIM = """
CREATE FUNCTION auth.{name}() RETURNS {type} LANGUAGE sql STABLE SET search_path = '' AS $$
    SELECT coalesce(
        nullif(current_setting('request.jwt.claim.{claim}', true), ''),
        nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> '{claim}'
    )::{type}
$$
"""
JWT = """
CREATE FUNCTION auth.jwt() RETURNS jsonb LANGUAGE sql STABLE SET search_path = '' AS $$
    SELECT coalesce(
        nullif(current_setting('request.jwt.claim', true), ''),
        nullif(current_setting('request.jwt.claims', true), '')
    )::jsonb
$$
"""
USERS = r"""
CREATE TABLE auth.users (
    instance_id uuid,
    id uuid NOT NULL CONSTRAINT users_pkey PRIMARY KEY,
    aud varchar,
    role varchar,
    email varchar,
    encrypted_password varchar,
    email_confirmed_at timestamptz,
    invited_at timestamptz,
    confirmation_token varchar,
    confirmation_sent_at timestamptz,
    recovery_token varchar,
    recovery_sent_at timestamptz,
    email_change_token_new varchar,
    email_change varchar,
    email_change_sent_at timestamptz,
    last_sign_in_at timestamptz,
    raw_app_meta_data jsonb,
    raw_user_meta_data jsonb,
    is_super_admin boolean,
    created_at timestamptz,
    updated_at timestamptz,
    phone text DEFAULT NULL::varchar CONSTRAINT users_phone_key UNIQUE,
    phone_confirmed_at timestamptz,
    phone_change text DEFAULT ''::varchar,
    phone_change_token varchar DEFAULT '',
    phone_change_sent_at timestamptz,
    confirmed_at timestamptz GENERATED ALWAYS AS (LEAST(email_confirmed_at, phone_confirmed_at)) STORED,
    email_change_token_current varchar DEFAULT '',
    email_change_confirm_status smallint DEFAULT 0,
    banned_until timestamptz,
    reauthentication_token varchar DEFAULT '',
    reauthentication_sent_at timestamptz,
    is_sso_user boolean NOT NULL DEFAULT false,
    deleted_at timestamptz,
    is_anonymous boolean NOT NULL DEFAULT false,
    CONSTRAINT users_email_change_confirm_status_check CHECK (email_change_confirm_status >= 0 AND email_change_confirm_status <= 2),
    CONSTRAINT users_email_check CHECK (email IS NULL OR email::text ~* '^[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}$'::text),
    CONSTRAINT users_phone_check CHECK (phone IS NULL OR phone ~ '^\+[1-9]\d{1,14}$'::text)
)
"""
USERS_INDEXES = (
    "CREATE INDEX idx_users_confirmed_at ON auth.users (confirmed_at DESC)",
    "CREATE INDEX idx_users_created_at ON auth.users (created_at DESC)",
    "CREATE INDEX idx_users_email ON auth.users (email)",
    "CREATE INDEX idx_users_instance_id ON auth.users (instance_id)",
    "CREATE INDEX idx_users_is_anonymous ON auth.users (is_anonymous)",
)
OWN_ROW = """
CREATE POLICY "Users can view own user data" ON auth.users FOR SELECT TO authenticated
USING ((SELECT auth.uid()) = id)
"""


def upgrade() -> None:
    op.execute("""
        CREATE TABLE worker.created_objects (
            kind text NOT NULL,
            name text NOT NULL,
            created_at timestamptz NOT NULL DEFAULT now(),
            CONSTRAINT created_objects_pkey PRIMARY KEY (kind, name)
        )""")
    for role in ROLES:
        created.make("role", role, f"CREATE ROLE {role} NOLOGIN")
    created.make("schema", "auth", "CREATE SCHEMA auth", f"GRANT USAGE ON SCHEMA auth TO {', '.join(ROLES)}")
    created.make("function", "auth.uid()", CLAIM.format(name="uid", type="uuid", claim="sub"))
    created.make("function", "auth.role()", CLAIM.format(name="role", type="text", claim="role"))
    created.make("function", "auth.jwt()", JWT)
    created.make(
        "table", "auth.users", USERS, *USERS_INDEXES, "ALTER TABLE auth.users ENABLE ROW LEVEL SECURITY", OWN_ROW
    )
    op.execute(f"GRANT USAGE ON SCHEMA public TO {', '.join(ROLES)}")


def downgrade() -> None:
    created.remove("table", "auth.users")
    created.remove("function", "auth.uid()", "auth.role()", "auth.jwt()")
    created.remove("schema", "auth")
    created.remove("role", *ROLES)
    op.execute("DROP TABLE worker.created_objects")
