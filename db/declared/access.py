"""
Who may do what with which row, and who may call which function.

A condition is written as PostgreSQL gives it back (`pg_get_expr` with nothing on the search path, runs of white space
made one space), so that comparing a database with it is comparing text. Whatever is not written here is not allowed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Action = Literal["SELECT", "INSERT", "UPDATE", "DELETE", "ALL"]
Role = Literal["anon", "authenticated", "service_role"]
ACTIONS: Sequence[Action] = ("SELECT", "INSERT", "UPDATE", "DELETE")
ROLES: tuple[Role, ...] = ("anon", "authenticated", "service_role")
WATCHED = ("PUBLIC", *ROLES, "task_worker")
"""Whose rights are exactly those that are declared; what others were given is not ours to judge."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What one role may do to which rows of a table, with which columns; no columns are all columns."""

    action: Action
    role: Role
    rows: str | None
    """Which rows it reaches; None for INSERT."""
    written: str | None = None
    """What a row must be after it was written; None where nothing is written."""
    columns: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The policy's name. There is one a role and action, so that this tells them apart."""
        return f"{self.action.lower()}_{self.role}"


def either(*conditions: str) -> str:
    """Any of them, written as PostgreSQL does."""
    return f"({' OR '.join(conditions)})"


def both(*conditions: str) -> str:
    """All of them, written as PostgreSQL does."""
    return f"({' AND '.join(conditions)})"


def mine(column: str = "user_id") -> str:
    """The row is the caller's; asked once a statement, not once a row."""
    return f"(( SELECT auth.uid() AS uid) = {column})"


def exists(table: str, *conditions: str) -> str:
    """A row of `table` that the caller may see: its own policy applies inside of ours."""
    where = both(*conditions) if len(conditions) > 1 else conditions[0]
    return f"(EXISTS ( SELECT FROM {table} WHERE {where}))"


def see(*rows: str, role: Role = "authenticated", columns: tuple[str, ...] = ()) -> Rule:
    """May read rows of which any of these is so."""
    return Rule(action="SELECT", role=role, rows=either(*rows) if len(rows) > 1 else rows[0], columns=columns)


def add(*written: str, columns: tuple[str, ...] = ()) -> Rule:
    """May insert rows of which all of these are so."""
    check = both(*written) if len(written) > 1 else written[0]
    return Rule(action="INSERT", role="authenticated", rows=None, written=check, columns=columns)


def change(rows: str, *also: str, columns: tuple[str, ...] = ()) -> Rule:
    """May update such rows, into rows that are still such, and of which all of `also` is so."""
    check = both(rows, *also) if also else rows
    return Rule(action="UPDATE", role="authenticated", rows=rows, written=check, columns=columns)


def remove(rows: str) -> Rule:
    """May delete such rows."""
    return Rule(action="DELETE", role="authenticated", rows=rows)


def manage(rows: str, *also: str) -> tuple[Rule, ...]:
    """May do everything with such rows, as long as all of `also` is so of what is written."""
    return (see(rows), add(rows, *also), change(rows, *also), remove(rows))


SERVICE = Rule(action="ALL", role="service_role", rows="true", written="true")
"""The service role may do everything, also where nobody could give it BYPASSRLS."""
MEMBER = "(team_id = ANY (ARRAY( SELECT rls.my_teams() AS my_teams)))"
"""An array, since an index serves `= ANY`, and none serves `IN` of a subquery in a policy."""
ADMIN = "(team_id = ANY (ARRAY( SELECT rls.my_teams(ARRAY['owner'::text, 'admin'::text]) AS my_teams)))"
PUBLIC_PROJECT = both("is_public", "(deleted_at IS NULL)")


def none_or(column: str, condition: str) -> str:
    """Nothing is named, or something of which `condition` is so."""
    return either(f"({column} IS NULL)", condition)


def in_my_project(table: str) -> str:
    """The project that a row names is the caller's own."""
    return exists("public.projects", f"(projects.id = {table}.project_id)", mine("projects.user_id"))


def in_my_or_no_project(table: str) -> str:
    """A row names no project, or one that is the caller's own or of a team of theirs; a public one is not enough."""
    team = "(projects.team_id = ANY (ARRAY( SELECT rls.my_teams() AS my_teams)))"
    return none_or(
        "project_id",
        exists("public.projects", f"(projects.id = {table}.project_id)", either(mine("projects.user_id"), team)),
    )


def in_visible(table: str, column: str, referred: str) -> str:
    """The row that `column` names is one that the caller may see."""
    return exists(referred, f"({referred.partition('.')[2]}.id = {table}.{column})")


MY_OR_NO_TEAM = none_or("team_id", MEMBER)
IN_THREAD = in_visible("thread_messages", "thread_id", "public.conversation_threads")
IN_CHAT = in_visible("chat_message_cache", "session_id", "public.chat_sessions")
TAG_IN_CHAT = in_visible("chat_session_tags", "session_id", "public.chat_sessions")
OF_WORKFLOW = in_visible("workflow_executions", "workflow_id", "public.workflows")
OF_FRAGMENT = in_visible("fragment_executions", "fragment_id", "public.fragments")
IN_BUCKET = in_visible("objects", "bucket_id", "storage.buckets")
IN_PUBLIC_BUCKET = exists("storage.buckets", "(buckets.id = objects.bucket_id)", "buckets.public")
IN_MY_BUCKET = exists("storage.buckets", "(buckets.id = objects.bucket_id)", mine("buckets.owner"))

RULES: Mapping[str, tuple[Rule, ...]] = {
    # Supabase's, where it is we who stand in for it. What signs people in is GoTrue's alone; secrets are nobody's.
    "auth.users": (
        see(
            mine("id"),
            columns=(
                *("id", "aud", "role", "email", "email_confirmed_at", "phone", "phone_confirmed_at", "confirmed_at"),
                *("last_sign_in_at", "raw_app_meta_data", "raw_user_meta_data", "created_at", "updated_at"),
                "is_anonymous",
            ),
        ),
        change(mine("id"), columns=("raw_user_meta_data",)),
    ),
    "auth.identities": (see(mine()),),
    "auth.sessions": (see(mine()),),
    "auth.mfa_factors": (
        see(
            mine(),
            columns=(
                *("id", "user_id", "friendly_name", "factor_type", "status", "created_at", "updated_at", "phone"),
                "last_challenged_at",
            ),
        ),
    ),
    "auth.mfa_challenges": (
        see(
            in_visible("mfa_challenges", "factor_id", "auth.mfa_factors"),
            columns=("id", "factor_id", "created_at", "verified_at", "ip_address"),
        ),
    ),
    "auth.mfa_amr_claims": (),
    "auth.one_time_tokens": (),
    "auth.refresh_tokens": (),
    "storage.buckets": (
        SERVICE,
        see("public", role="anon"),
        see(mine("owner"), "public"),
        add(mine("owner")),
        change(mine("owner")),
        remove(mine("owner")),
    ),
    "storage.objects": (
        SERVICE,
        see(IN_PUBLIC_BUCKET, role="anon"),
        see(mine("owner"), IN_BUCKET),
        add(either(mine("owner"), IN_MY_BUCKET)),
        change(mine("owner"), IN_BUCKET),
        remove(mine("owner")),
    ),
    "storage.s3_multipart_uploads": (SERVICE,),
    "storage.s3_multipart_uploads_parts": (SERVICE,),
    # What belongs to one user.
    "public.api_keys": (SERVICE, *manage(mine())),
    "public.chat_sessions": (SERVICE, *manage(mine(), MY_OR_NO_TEAM)),
    "public.code_embeddings": (SERVICE, *manage(mine())),
    "public.file_uploads": (SERVICE, *manage(mine(), in_my_or_no_project("file_uploads"))),
    "public.tasks": (SERVICE, *manage(mine())),
    "public.user_integrations": (SERVICE, *manage(mine())),
    "public.user_preferences": (SERVICE, *manage(mine())),
    "public.workspace_files": (SERVICE, *manage(mine(), in_my_or_no_project("workspace_files"))),
    "public.profiles": (SERVICE, see(mine()), add(mine()), change(mine())),
    "public.user_profiles": (SERVICE, see(mine()), add(mine()), change(mine())),
    "public.user_security_settings": (SERVICE, see(mine()), add(mine()), change(mine())),
    "public.user_chat_analytics": (SERVICE, see(mine())),
    "public.user_usage": (SERVICE, see(mine())),
    "public.chat_export_requests": (
        SERVICE,
        see(mine()),
        add(
            mine(),
            "((status)::text = 'pending'::text)",
            columns=("user_id", "export_type", "status", "date_from", "date_to", "session_ids"),
        ),
    ),
    # Teams. Who is in one, what it pays and what it may use is the service's to write.
    "public.users_teams": (SERVICE, see(mine()), change(mine(), columns=("is_default",))),
    "public.teams": (SERVICE, see(MEMBER.replace("team_id", "id", 1))),
    "public.team_members": (SERVICE, see(MEMBER)),
    "public.team_usage_limits": (SERVICE, see(MEMBER)),
    "public.billing_info": (SERVICE, see(ADMIN), add(ADMIN), change(ADMIN)),
    "public.subscription_events": (SERVICE,),
    "public.workflows": (SERVICE, see(MEMBER), add(MEMBER), change(MEMBER), remove(ADMIN)),
    "public.workflow_executions": (
        SERVICE,
        see(mine("created_by"), OF_WORKFLOW),
        add(mine("created_by"), OF_WORKFLOW),
        change(mine("created_by"), OF_WORKFLOW),
    ),
    "public.workflow_templates": (
        SERVICE,
        see(mine("created_by"), "is_public"),
        add(mine("created_by")),
        change(mine("created_by")),
        remove(mine("created_by")),
    ),
    # Projects and what is in them. Messages are changed by save_message_and_update_project alone.
    "public.projects": (
        SERVICE,
        see(PUBLIC_PROJECT, role="anon"),
        see(mine(), PUBLIC_PROJECT, MEMBER),
        add(mine(), MY_OR_NO_TEAM),
        change(mine(), MY_OR_NO_TEAM),
        remove(mine()),
    ),
    "public.messages": (
        SERVICE,
        see(in_visible("messages", "project_id", "public.projects"), role="anon"),
        see(in_visible("messages", "project_id", "public.projects")),
        add(in_my_project("messages")),
        remove(in_my_project("messages")),
    ),
    "public.fragments": (
        SERVICE,
        see("is_public", role="anon"),
        see(mine(), "is_public"),
        add(mine(), in_my_or_no_project("fragments")),
        change(mine(), in_my_or_no_project("fragments")),
        remove(mine()),
    ),
    "public.fragment_executions": (SERVICE, see(mine()), add(mine(), OF_FRAGMENT), change(mine(), OF_FRAGMENT)),
    # Chats and threads.
    "public.chat_message_cache": (SERVICE, *manage(IN_CHAT)),
    "public.chat_session_tags": (SERVICE, see(TAG_IN_CHAT), add(TAG_IN_CHAT), remove(TAG_IN_CHAT)),
    "public.conversation_threads": (SERVICE, *manage(mine("created_by"))),
    "public.thread_messages": (
        SERVICE,
        see(mine("sender_id"), IN_THREAD),
        add(mine("sender_id"), IN_THREAD),
        change(mine("sender_id"), columns=("content", "is_deleted")),
        remove(mine("sender_id")),
    ),
    "public.thread_summaries": (
        SERVICE,
        see(in_visible("thread_summaries", "thread_id", "public.conversation_threads")),
    ),
}

CALLERS: Mapping[str, tuple[Role, ...]] = {
    "auth.cleanup_expired_sessions": ("service_role",),
    "auth.revoke_user_sessions": ("authenticated", "service_role"),
    "public.can_use_feature": ("authenticated", "service_role"),
    "public.get_user_chat_summary": ("authenticated", "service_role"),
    "public.increment_usage": ("authenticated", "service_role"),
    "public.initialize_team_usage_limits": ("service_role",),
    "public.save_message_and_update_project": ("authenticated", "service_role"),
    "public.search_project_messages": ("authenticated", "service_role"),
    "public.search_user_messages": ("authenticated", "service_role"),
    "public.soft_delete_project": ("authenticated", "service_role"),
    "public.task_log": ("authenticated", "service_role"),
    "rls.my_teams": ("authenticated",),
    "storage.cleanup_old_multipart_uploads": ("service_role",),
    "storage.create_user_buckets": ("authenticated", "service_role"),
    "storage.get_bucket_size": ("authenticated", "service_role"),
    "storage.get_level": ROLES,
}
"""Who may call which function; one that is not named here is called by other functions and by triggers alone."""
