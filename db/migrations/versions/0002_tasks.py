"""The application's table of tasks, as the application itself would make it."""

from db.migrations import created

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

STATUS = "CREATE TYPE public.task_status_enum AS ENUM ('pending', 'processing', 'completed', 'error')"
TASKS = """
CREATE TABLE public.tasks (
    id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT tasks_pkey PRIMARY KEY,
    user_id uuid NOT NULL CONSTRAINT tasks_user_id_fkey REFERENCES auth.users (id) ON DELETE CASCADE,
    status public.task_status_enum NOT NULL DEFAULT 'pending',
    progress integer NOT NULL DEFAULT 0 CONSTRAINT tasks_progress_check CHECK (progress >= 0 AND progress <= 100),
    prompt text NOT NULL CONSTRAINT tasks_prompt_check CHECK (char_length(prompt) >= 1),
    repo_url text,
    selected_agent text DEFAULT 'claude',
    selected_model text,
    sandbox_url text,
    branch_name text,
    logs jsonb DEFAULT '[]',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
)
"""
AFTER = (
    "CREATE INDEX idx_tasks_user_id ON public.tasks (user_id)",
    "CREATE INDEX idx_tasks_status ON public.tasks (status)",
    "CREATE INDEX idx_tasks_created_at ON public.tasks (created_at DESC)",
    "ALTER TABLE public.tasks ENABLE ROW LEVEL SECURITY",
    """CREATE POLICY "Users can manage their own tasks" ON public.tasks FOR ALL TO authenticated
       USING ((SELECT auth.uid()) = user_id) WITH CHECK ((SELECT auth.uid()) = user_id)""",
    "REVOKE ALL ON public.tasks FROM PUBLIC, anon",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON public.tasks TO authenticated, service_role",
)


def upgrade() -> None:
    if created.absent("table", "public.tasks"):  # a table that is there may do without the type
        created.make("type", "public.task_status_enum", STATUS)
        created.make("table", "public.tasks", TASKS, *AFTER)


def downgrade() -> None:
    created.remove("table", "public.tasks")
    created.remove("type", "public.task_status_enum")
