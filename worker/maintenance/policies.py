"""What we keep for how long, and why: every policy, with the settings applied."""

from dataclasses import replace
from datetime import timedelta

from sqlalchemy import String, func, literal, select

from db.models import AuthSession, RefreshToken, Run, ScheduleSlot, Task
from db.queries.maintenance import RowsOf
from worker import workspace
from worker.errors import WrongUse
from worker.maintenance.disk import Mirrors, Transcripts, Workspaces
from worker.maintenance.files import UNSET, OrphanedFiles
from worker.maintenance.purge import DeletedProjects
from worker.maintenance.retention import RetentionPolicy
from worker.maintenance.sandboxes import StraySandboxes
from worker.maintenance.storage import CHUNK
from worker.maintenance.uploads import StaleUploads
from worker.sandbox import e2b
from worker.settings import PREFIX, Settings

ON_DISK = 50
"""How many folders or files are removed between two looks at the clock."""
TIMEBOX = "The timebox of sessions stands in GoTrue's configuration and in no row, so it has to be told to us."
INACTIVITY = "The limit of inactivity stands in GoTrue's configuration too."
STRAY = "A run ends its own; what is left is of workers that were killed, and is paid for."
TASKS = "They are their users' own: removed only where somebody decides so."


def policies(chosen: Settings) -> tuple[RetentionPolicy, ...]:
    """All of them, those that the settings switch off included."""
    each = (*of_users(chosen), *of_files(chosen), *of_ours(chosen), *on_disk(chosen))
    return tuple(replace(policy, budget=chosen.sweep_budget) for policy in each)


def of_users(chosen: Settings) -> tuple[RetentionPolicy, ...]:
    """What users had for a time: sessions, tokens, ended tasks."""
    return (
        RetentionPolicy(
            name="expired_sessions",
            batch=RowsOf(model=AuthSession, since=AuthSession.not_after, kept=chosen.session_grace),
            kept=f"{days(chosen.session_grace)} past not_after",
            why="As GoTrue's own janitor. Only a single sign-on sets not_after; NULL never expires.",
        ),
        overlong_sessions(chosen),
        inactive_sessions(chosen),
        RetentionPolicy(
            name="revoked_refresh_tokens",
            batch=RowsOf(
                model=RefreshToken,
                since=RefreshToken.updated_at,
                kept=chosen.revoked_token_retention,
                also=(RefreshToken.revoked.is_(True),),
            ),
            kept=f"{days(chosen.revoked_token_retention)} after being revoked",
            why="GoTrue looks at a revoked one only to notice that it is used again, within seconds or days.",
        ),
        finished_tasks(chosen),
    )


def of_files(chosen: Settings) -> tuple[RetentionPolicy, ...]:
    """Deleted projects, and files in Storage."""
    return (
        RetentionPolicy(
            name="stale_multipart_uploads",
            batch=StaleUploads(kept=chosen.upload_retention, settings=chosen),
            kept=f"{days(chosen.upload_retention)} after they were begun",
            first=10,
            largest=1_000,
            why="Nobody finishes one after so long, and until then its bytes are paid for and its bucket stays.",
        ),
        RetentionPolicy(
            name="soft_deleted_projects",
            batch=DeletedProjects(kept=chosen.project_retention, despite=chosen.purge_despite),
            kept=f"{days(chosen.project_retention)} after deleted_at",
            first=5,
            largest=1_000,
            why="So long their owner may have them back.",
        ),
        RetentionPolicy(
            name="orphaned_files",
            batch=OrphanedFiles(settings=chosen),
            kept="until Storage has deleted them" if chosen.supabase_key else f"for ever: {UNSET}",
            largest=CHUNK,
            why="Storage deletes a file together with its bytes, which no transaction of ours can.",
        ),
    )


def of_ours(chosen: Settings) -> tuple[RetentionPolicy, ...]:
    """The worker's own history, and what it left elsewhere."""
    return (
        RetentionPolicy(
            name="runs",
            batch=RowsOf(model=Run, since=Run.started_at, kept=chosen.run_retention),
            kept=days(chosen.run_retention),
            why="History of attempts, for operators; kept when their task is deleted.",
        ),
        RetentionPolicy(
            name="schedule_slots",
            batch=RowsOf(model=ScheduleSlot, since=ScheduleSlot.taken_at, kept=chosen.slot_retention),
            kept=days(chosen.slot_retention),
            why="History of the schedule; the current period's slot is younger than any retention.",
        ),
        stray_sandboxes(chosen),
    )


def on_disk(chosen: Settings) -> tuple[RetentionPolicy, ...]:
    """What lies on each host."""
    return (
        RetentionPolicy(
            name="workspaces",
            batch=Workspaces(root=chosen.workspaces_dir),
            kept="while its run goes on",
            largest=ON_DISK,
            each_host=True,
            why="A run removes its own; what is left is of workers that were killed.",
        ),
        RetentionPolicy(
            name="mirrors",
            batch=Mirrors(cache=workspace.mirrors(chosen)),
            kept=f"{days(chosen.mirrors_age)} without use, as far as there is room",
            each_host=True,
            why="A run of the same repository begins sooner with one.",
        ),
        RetentionPolicy(
            name="transcripts",
            batch=Transcripts(root=chosen.transcripts_dir, kept=chosen.transcript_retention),
            kept=days(chosen.transcript_retention),
            largest=ON_DISK,
            each_host=True,
            why="The whole output of each attempt, for whoever looks into it.",
        ),
    )


def overlong_sessions(chosen: Settings) -> RetentionPolicy:
    """Sessions that have lasted for as long as one may. GoTrue has no index of when they began."""
    if (limit := chosen.session_timebox) is None:
        return switched_off("overlong_sessions", "SESSION_TIMEBOX", why=TIMEBOX)
    kept = limit + chosen.session_grace
    return RetentionPolicy(
        name="overlong_sessions",
        batch=RowsOf(model=AuthSession, since=AuthSession.created_at, kept=kept, indexed=False),
        kept=f"{days(chosen.session_grace)} past {days(limit)}",
        why=TIMEBOX,
    )


def inactive_sessions(chosen: Settings) -> RetentionPolicy:
    """
    Sessions that nobody refreshed for as long as one may go without.

    refreshed_at is in UTC without saying so, and NULL until the first refresh; an older GoTrue leaves it NULL then too,
    and changes tokens alone.
    """
    if (limit := chosen.session_inactivity) is None:
        return switched_off("inactive_sessions", "SESSION_INACTIVITY", why=INACTIVITY)
    kept = limit + chosen.session_grace
    refreshed = func.coalesce(func.timezone("UTC", AuthSession.refreshed_at), AuthSession.created_at)
    of_session = RefreshToken.session_id == AuthSession.id
    used = select(RefreshToken.id).where(of_session, RefreshToken.updated_at >= func.now() - kept).exists()
    unused = (refreshed < func.now() - kept, AuthSession.updated_at < func.now() - kept, ~used)
    return RetentionPolicy(
        name="inactive_sessions",
        batch=RowsOf(
            model=AuthSession,
            since=AuthSession.created_at,
            kept=kept,
            also=unused,
            indexed=False,
            asks=(RefreshToken,),
        ),
        kept=f"{days(chosen.session_grace)} past {days(limit)} without a refresh",
        why=INACTIVITY,
    )


def finished_tasks(chosen: Settings) -> RetentionPolicy:
    """
    Tasks that ended long ago.

    By the index on created_at, and by updated_at as well: a task may be retried at any age. Its owner can write both,
    and so can keep it, or lose it early, as they could delete it.
    """
    if (kept := chosen.finished_task_retention) is None:
        return switched_off("finished_tasks", "FINISHED_TASK_RETENTION", why=TASKS)
    # The status is the enum or text with a CHECK: plain literals are compared with both.
    ends = [literal(status, String, literal_execute=True) for status in chosen.finished_task_statuses]
    also = (Task.updated_at < func.now() - kept, Task.status.in_(ends))
    return RetentionPolicy(
        name="finished_tasks",
        batch=RowsOf(model=Task, since=Task.created_at, kept=kept, also=also),
        kept=f"{days(kept)}: {', '.join(chosen.finished_task_statuses)}",
        why=TASKS,
    )


def stray_sandboxes(chosen: Settings) -> RetentionPolicy:
    """Machines at E2B whose attempt nobody has any more."""
    if (owner := e2b.account(chosen)) is None:
        return switched_off("stray_sandboxes", "E2B_API_KEY", why=STRAY)
    return RetentionPolicy(
        name="stray_sandboxes",
        batch=StraySandboxes(account=owner),
        kept="while its run goes on",
        first=5,
        largest=50,
        why=STRAY,
    )


def switched_off(name: str, setting: str, *, why: str) -> RetentionPolicy:
    """A policy that does nothing until `setting` says how long."""
    return RetentionPolicy(name=name, batch=None, kept=f"for ever, unless {PREFIX}{setting} is set", why=why)


def named(chosen: Settings, name: str) -> RetentionPolicy:
    """The policy of this name. Raises WrongUse where there is none."""
    for policy in policies(chosen):
        if policy.name == name:
            return policy
    raise WrongUse(f"There is no policy {name!r}. To see which there are: codingit-worker maintenance list")


def days(duration: timedelta) -> str:
    """`30 days`, `12 hours`, `90 seconds`: the largest unit that it is whole in."""
    seconds = int(duration.total_seconds())
    units = (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))
    unit, length = next((unit, length) for unit, length in units if seconds % length == 0)
    return f"{seconds // length} {unit}{'' if seconds == length else 's'}"
