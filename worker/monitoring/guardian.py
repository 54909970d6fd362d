"""What a worker's main process does for a child that died in the middle of a run: its task runs again at once."""

from datetime import timedelta

import structlog

from db.engine import Database
from db.errors import DatabaseUnavailable
from db.queries import queue
from worker.errors import Cause
from worker.settings import Settings, required

log = structlog.get_logger(__name__)

ANSWER_WITHIN = 3.0
"""Seconds: meanwhile the worker's main process does nothing else."""


def give_back(settings: Settings, *, task_id: int, celery_id: str) -> None:
    """
    Give the dead child's lease back as a crash. Where the database is away, the lease lapses instead.

    Opens and closes a connection of its own: one that stayed open would be inherited by the next child.
    """
    try:
        with Database(required(settings.database_url, "DATABASE_URL"), patience=lambda: ANSWER_WITHIN) as database:
            fence = queue.fence_of(database, task_id, celery_id=celery_id)
            if fence is None:
                return
            became = queue.give_back(
                database,
                task_id,
                fence=fence,
                cause=Cause.CRASH.value,
                bound=settings.max_crashes,
                delay=timedelta(),
            )
            log.error("child.died", task_id=task_id, became=became)
    except DatabaseUnavailable as outage:
        log.warning("child.died", task_id=task_id, became="left to lapse", reason=str(outage))
