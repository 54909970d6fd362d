"""One attempt's right to write to its task: kept by ticks, asked before every write, given up at the end."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from time import monotonic
from typing import Any, Literal, TypeVar

import structlog

from db.engine import ANSWER_WITHIN, Database
from db.errors import DatabaseBusy, DatabaseUnavailable
from db.queries import queue
from worker.errors import Cause, LeaseLost, RunInterrupted
from worker.run.shutdown import Notice
from worker.run.transcript import Batch
from worker.settings import Settings

log = structlog.get_logger(__name__)

AGAIN = timedelta(seconds=1)
"""Between two tries to reach a database that does not answer."""
LAST_WORDS = timedelta(seconds=2)
"""How long a worker that is shutting down tries to give a task back; after that the lease lapses."""

UNRENEWED = "unrenewed"
"""Why a run stops that could not reach the database for too long; its lease may still be its own, and lapses."""

Answer = TypeVar("Answer")


class Lease:
    """
    The lease of one claim.

    An unreachable database is no reason to stop: what can wait is tried again at the next tick, what cannot is
    insisted upon, and after `unrenewed_limit` without an answer the attempt counts as lost.
    """

    def __init__(self, claim: queue.Claim, database: Database, *, settings: Settings, notice: Notice) -> None:
        self.claim = claim
        self._database = database
        self._settings = settings
        self._notice = notice
        self._answered = monotonic()
        self._enduring = False
        self._next_tick = monotonic() + settings.tick.total_seconds()

    def keep(self) -> None:
        """
        Renew the lease when it is time to. Call it several times a second.

        Raises:
            LeaseLost: the task is another attempt's, deleted, or changed by its owner.
        """
        if monotonic() < self._next_tick:
            return
        self._next_tick = monotonic() + self._settings.tick.total_seconds()
        try:
            status = self._tick()
        except DatabaseUnavailable as outage:
            self._endure(outage)
        else:
            self._judge(status)

    def assure(self) -> None:
        """
        Make sure that the lease is ours now, not a moment ago: whoever was stopped and continued cannot know.

        Raises:
            LeaseLost: it is not.
        """
        if monotonic() - self._answered > self._settings.lease_ttl.total_seconds() / 3:
            self._judge(self._insist(self._tick))

    def append(self, batch: Batch, *, progress: int) -> int | None:
        """Write a batch; the size of the log then, or None when no answer came and it is to be tried again."""
        try:
            return self._append(batch, progress)
        except DatabaseUnavailable as outage:
            self._endure(outage)
            return None

    def must_append(self, batch: Batch, *, progress: int) -> int:
        """Write a batch, however long the database is away; the size of the log then."""
        return self._insist(lambda: self._append(batch, progress))

    def name_branch(self, branch: str) -> None:
        """Write the branch's name to the row."""
        self._insist(lambda: self._unless_refused(self._fenced(queue.name_branch, branch=branch)))

    def record_sandbox(self, sandbox: str, *, url: str) -> None:
        """Note the machine that was made for this attempt."""
        self._insist(lambda: self._unless_refused(self._fenced(queue.record_sandbox, sandbox=sandbox, url=url)))

    def forget_sandbox(self, sandbox: str) -> None:
        """Strike off the machine, which is gone, also after the attempt has ended. Raises DatabaseUnavailable."""
        queue.forget_sandbox(self._database, fence=self.claim.fence, sandbox=sandbox)

    def record_push(self, push: queue.Pushed) -> None:
        """Note the head that is about to be pushed. Only then may it be."""
        self._insist(lambda: self._unless_refused(self._fenced(queue.record_push, push=push)))

    def spent(self) -> queue.Spent:
        """What the runs of the task's owner have used today."""
        return self._insist(lambda: queue.spent(self._database, self.claim.user_id))

    def record_usage(self, usage: Mapping[str, int | float]) -> None:
        """Note what this attempt has used until now, also after it has ended. Raises DatabaseUnavailable."""
        queue.record_usage(self._database, fence=self.claim.fence, usage=usage)

    def must_record_usage(self, usage: Mapping[str, int | float]) -> None:
        """Note it however long the database is away: a budget is worth as much as what it counts."""
        self._insist(lambda: self.record_usage(usage))

    def finish(
        self,
        outcome: Literal["completed", "error"],
        *,
        batch: Batch | None,
        error: str | None,
        usage: Mapping[str, Any],
    ) -> str:
        """End the task; answers how the attempt ended, which is `outcome` unless somebody was faster."""
        entries = batch.as_dicts() if batch else []
        return self._insist(
            lambda: self._fenced(queue.finish, outcome=outcome, entries=entries, error=error, usage=usage)
        )

    def give_back(self, interrupted: RunInterrupted, *, batch: Batch | None) -> str:
        """Put the task back; answers its new status. A shutdown does not wait for a database that is away."""
        bounds = {Cause.CRASH: self._settings.max_crashes, Cause.OVERLOADED: self._settings.max_backoffs}
        entries = batch.as_dicts() if batch else []
        return self._insist(
            lambda: self._fenced(
                queue.give_back,
                cause=interrupted.cause.value,
                bound=bounds.get(interrupted.cause, 0),
                delay=interrupted.delay,
                entries=entries,
            )
        )

    def abandon(self, lost: LeaseLost) -> None:
        """Close the attempt in the history, if the database answers; an unrenewed lease is left to lapse."""
        if lost.reason != UNRENEWED:
            with suppress(DatabaseUnavailable):
                self._fenced(queue.abandon)

    def _tick(self) -> str | None:
        status = self._fenced(queue.tick, ttl=self._settings.lease_ttl)
        self._heard()
        return status

    def _judge(self, status: str | None) -> None:
        if status != "processing":
            raise LeaseLost("gone" if status is None else "lost" if status == "lost" else "taken")

    def _append(self, batch: Batch, progress: int) -> int:
        appended = self._fenced(queue.append, flush=batch.number, entries=batch.as_dicts(), progress=progress)
        self._unless_refused(appended.refusal)
        return appended.stored

    def _fenced(self, call: Callable[..., Answer], **arguments: Any) -> Answer:
        return call(self._database, self.claim.task_id, fence=self.claim.fence, **arguments)

    def _unless_refused(self, refusal: str | None) -> None:
        if refusal:
            raise LeaseLost(refusal)

    def _insist(self, call: Callable[[], Answer]) -> Answer:
        while True:
            try:
                answer = call()
            except DatabaseUnavailable as outage:
                self._endure(outage)
                self._notice.wait(AGAIN)
                if isinstance(outage, DatabaseBusy):  # it did not take effect, so the lease is still there to keep
                    self.keep()
            else:
                self._heard()
                return answer

    def patience(self) -> float:
        """Seconds that a call to the database may take: a worker that shuts down has not many left."""
        if not self._notice.given():
            return ANSWER_WITHIN
        left = self._settings.grace + LAST_WORDS - self._notice.age()
        return max(1.0, min(ANSWER_WITHIN, left.total_seconds()))

    def _heard(self) -> None:
        if self._enduring:
            log.info("database.answered", seconds=round(monotonic() - self._answered, 1))
        self._enduring = False
        self._answered = monotonic()

    def _endure(self, outage: DatabaseUnavailable) -> None:
        away = timedelta(seconds=monotonic() - self._answered)
        if not self._enduring:
            log.warning("database.waited_for", reason=str(outage))
        self._enduring = True
        if away >= self._settings.unrenewed_limit or self._notice.over(self._settings.grace + LAST_WORDS):
            raise LeaseLost(UNRENEWED) from outage
