"""Schema `worker`: leases, history, turns, the role that may call the protocol, and the bell on `public.tasks`."""

from alembic import op

from db.migrations import created

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TABLES = (
    "CREATE SEQUENCE worker.fences",
    """CREATE TABLE worker.leases (
        task_id bigint NOT NULL CONSTRAINT leases_pkey PRIMARY KEY,
        user_id uuid NOT NULL,
        fence bigint NOT NULL,
        holder text,
        offered_at timestamptz,
        not_before timestamptz,
        expires_at timestamptz,
        attempt integer NOT NULL DEFAULT 0,
        crashes integer NOT NULL DEFAULT 0,
        interruptions integer NOT NULL DEFAULT 0,
        backoffs integer NOT NULL DEFAULT 0,
        flushes integer NOT NULL DEFAULT 0
    ) WITH (fillfactor = 50)""",
    "CREATE INDEX leases_busy ON worker.leases (user_id) WHERE holder IS NOT NULL OR offered_at IS NOT NULL",
    """CREATE TABLE worker.runs (
        fence bigint NOT NULL CONSTRAINT runs_pkey PRIMARY KEY,
        task_id bigint NOT NULL,
        user_id uuid NOT NULL,
        attempt integer NOT NULL,
        holder text NOT NULL,
        celery_id text,
        agent text,
        model text,
        started_at timestamptz NOT NULL DEFAULT now(),
        finished_at timestamptz,
        outcome text,
        error text,
        pushed_branch text,
        pushed_head text,
        pushed_base text,
        usage jsonb,
        entries integer NOT NULL DEFAULT 0
    )""",
    "CREATE INDEX runs_task_id ON worker.runs (task_id)",
    "CREATE INDEX runs_started_at ON worker.runs (started_at)",
    """CREATE TABLE worker.turn (
        one boolean NOT NULL DEFAULT true CONSTRAINT turn_pkey PRIMARY KEY CONSTRAINT turn_one_check CHECK (one),
        user_id uuid NOT NULL
    )""",
    "INSERT INTO worker.turn (user_id) VALUES ('00000000-0000-0000-0000-000000000000')",
)
LIMITS = (
    "ALTER ROLE task_worker SET default_transaction_isolation = 'read committed'",
    "ALTER ROLE task_worker SET statement_timeout = '30s'",
    "ALTER ROLE task_worker SET lock_timeout = '5s'",
    "ALTER ROLE task_worker SET idle_in_transaction_session_timeout = '10s'",
)
BELL = """
CREATE FUNCTION worker.ring_for_pending() RETURNS trigger LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
    PERFORM pg_catalog.pg_notify('codingit_worker', '');
    RETURN NULL;
END
$$
"""
TRIGGER = """
CREATE TRIGGER worker_ring_for_pending AFTER INSERT OR UPDATE OF status ON public.tasks
FOR EACH ROW WHEN (NEW.status = 'pending') EXECUTE FUNCTION worker.ring_for_pending()
"""

NO_FUNCTIONS = """
DO $$ DECLARE it regprocedure; BEGIN
    FOR it IN SELECT oid FROM pg_proc WHERE pronamespace = 'worker'::regnamespace LOOP
        EXECUTE 'DROP FUNCTION ' || it;
    END LOOP;
END $$
"""
"""The protocol is not made by this migration but at the end of every upgrade: all of it goes."""


def upgrade() -> None:
    for statement in TABLES:
        op.execute(statement)
    created.make("role", "task_worker", "CREATE ROLE task_worker LOGIN NOINHERIT")
    for statement in LIMITS:  # also for a role that was made before, to give it a password
        op.execute(statement)
    op.execute("REVOKE ALL ON SCHEMA worker FROM PUBLIC")
    op.execute("GRANT USAGE ON SCHEMA worker TO task_worker")
    op.execute(BELL)
    op.execute(TRIGGER)


def downgrade() -> None:
    op.execute("DROP TRIGGER worker_ring_for_pending ON public.tasks")
    op.execute(NO_FUNCTIONS)
    op.execute("COMMENT ON SCHEMA worker IS NULL")
    op.execute("DROP TABLE worker.leases, worker.runs, worker.turn")
    op.execute("DROP SEQUENCE worker.fences")
    op.execute("REVOKE ALL ON SCHEMA worker FROM task_worker")
    created.remove("role", "task_worker")
