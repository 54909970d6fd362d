"""The triggers that keep times right, guard running tasks, and welcome new users."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, text

from db.declared.finding import Finding
from db.declared.functions import one_line

FOUND = text("""
    SELECT t.tgname || ' ON ' || t.tgrelid::regclass::text AS name, pg_get_triggerdef(t.oid) AS statement,
        t.tgenabled = 'O' AS enabled
    FROM pg_trigger t WHERE NOT t.tgisinternal
""")
TOUCHED = (
    *("api_keys", "billing_info", "chat_sessions", "conversation_threads", "file_uploads", "fragments", "projects"),
    *("team_members", "team_usage_limits", "teams", "thread_messages", "thread_summaries", "user_chat_analytics"),
    *("user_integrations", "user_preferences", "user_profiles", "user_security_settings", "users_teams"),
    *("workflow_templates", "workflows", "workspace_files"),
)
"""Tables of `public` whose updated_at is the database's to write."""
USERS = "((CURRENT_USER = ANY (ARRAY['anon'::name, 'authenticated'::name])))"
UNTOUCHED = "((NOT (new.updated_at IS DISTINCT FROM old.updated_at)))"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """One trigger for each row, as `pg_get_triggerdef` writes it."""

    trigger: str
    table: str
    moment: str
    function: str
    when: str = ""

    @property
    def name(self) -> str:
        """As DROP TRIGGER names it."""
        return f"{self.trigger} ON {self.table}"

    @property
    def statement(self) -> str:
        """What makes it."""
        when = f"WHEN {self.when} " if self.when else ""
        return (
            f"CREATE TRIGGER {self.trigger} {self.moment} ON {self.table} FOR EACH ROW {when}"
            f"EXECUTE FUNCTION {self.function}()"
        )


def touching(table: str, *, when: str = "", function: str = "public.update_updated_at_column") -> Trigger:
    """Writes updated_at at every update."""
    name = f"update_{table.partition('.')[2]}_updated_at"
    return Trigger(trigger=name, table=table, moment="BEFORE UPDATE", function=function, when=when)


NEW_USER = Trigger(
    trigger="on_auth_user_created",
    table="auth.users",
    moment="AFTER INSERT",
    function="auth.on_auth_user_created",
)
NEW_SUPABASE_USER = Trigger(
    trigger="codingit_on_auth_user_created",
    table="auth.users",
    moment="AFTER INSERT",
    function="rls.on_auth_user_created",
)
"""For Supabase, where schema auth takes no function of ours, and where the first name is often taken."""

TRIGGERS = (
    *(touching(f"public.{table}") for table in TOUCHED),
    # The protocol writes updated_at itself, and pays for no trigger.
    touching("public.tasks", when=UNTOUCHED),
    Trigger(
        trigger="guard_processing_task",
        table="public.tasks",
        moment="BEFORE UPDATE",
        function="rls.guard_processing_task",
        # False for the protocol, whose functions run as their owner: it pays for this comparison alone.
        when=USERS,
    ),
    Trigger(
        trigger="update_buckets_updated_at",
        table="storage.buckets",
        moment="BEFORE UPDATE",
        function="storage.update_bucket_updated_at",
    ),
    Trigger(
        trigger="update_objects_updated_at",
        table="storage.objects",
        moment="BEFORE UPDATE",
        function="storage.update_object_updated_at",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A trigger as a database has it."""

    statement: str
    enabled: bool


def found(connection: Connection) -> Mapping[str, Found]:
    """Every trigger by its name and table; nothing is to be on the search path."""
    rows = connection.execute(FOUND)
    return {row.name: Found(statement=one_line(row.statement), enabled=row.enabled) for row in rows}


def difference(trigger: Trigger, existing: Found | None) -> Finding | None:
    """How the trigger of this name differs from the one that is declared; None when it does not."""
    if existing == Found(statement=trigger.statement, enabled=True):
        return None
    words = "There is no trigger" if existing is None else "Disabled, or another than expected: trigger"
    statements = tuple(mending(trigger, existing))
    return Finding(
        name=f"trigger:{trigger.table}.{trigger.trigger}", sentence=f"{words} {trigger.name}.", statements=statements
    )


def mending(trigger: Trigger, existing: Found | None) -> Iterator[str]:
    """Statements after which the trigger is there, works, and is the one that is declared."""
    if existing is not None:
        yield f"DROP TRIGGER {trigger.name}"
    yield trigger.statement
