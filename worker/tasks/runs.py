"""Running tasks: the message is a ring at the door, the claim decides."""

from functools import cache

import structlog

from db.engine import Database
from db.errors import DatabaseUnavailable
from db.queries import queue
from worker.app import app, shutdown
from worker.run import execution
from worker.settings import required, settings

log = structlog.get_logger(__name__)


@cache
def database() -> Database:
    """This child's one connection; first asked for by a task, and so after the fork."""
    return Database(required(settings().database_url, "DATABASE_URL"))


# Acknowledged early on purpose: Redis is the doorbell, the lease is the guarantee. A message
# lost with its worker costs one offer; one redelivered finds the row claimed and goes home.
@app.task(name="runs.execute", bind=True, acks_late=False)  # type: ignore[untyped-decorator]  # Celery has no types
def execute(self, task_id: int) -> str:  # type: ignore[no-untyped-def]  # noqa: ANN001 - Celery's own task
    """Claim the task, if it is still there to be had, and see it through; the answer is for Flower."""
    with shutdown.heeded() as notice:
        if notice.given():
            return "not claimed: shutting down"
        try:
            claim = queue.claim(
                database(),
                task_id,
                holder=f"{self.request.hostname} {self.request.id}",
                celery_id=self.request.id,
                ttl=settings().lease_ttl,
                per_user=settings().max_running_per_user,
                prompt_limit=settings().prompt_limit,
            )
        except DatabaseUnavailable as outage:
            log.warning("task.unclaimed", task_id=task_id, reason=str(outage))
            return "not claimed: the database does not answer"
        if claim is None:
            return "not claimed"
        with structlog.contextvars.bound_contextvars(task_id=claim.task_id, fence=claim.fence):
            log.info("task.claimed", attempt=claim.attempt)
            return execution.run(claim, database=database(), settings=settings(), notice=notice)
