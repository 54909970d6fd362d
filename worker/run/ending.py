"""How an attempt ends: finished, given back, or abandoned because it may not write any more."""

from dataclasses import dataclass
from datetime import timedelta
from time import monotonic
from typing import Any, Literal

import structlog

from worker.errors import LeaseLost, RunInterrupted
from worker.run.journal import Journal
from worker.run.lease import Lease
from worker.run.transcript import closing

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The end of the story: where the work is, if there is any, and why it is an error if it is one."""

    branch: str | None = None
    commit: str | None = None
    pull_request: str | None = None
    """Its address."""
    reason: str | None = None


class Ending:
    """Writes the last word about an attempt, whichever it is; each way answers in a few words what it was."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self._began = monotonic()

    def finish(self, ended: Ended, journal: Journal, *, usage: dict[str, Any]) -> str:
        """
        Completed, or an error for a reason.

        Raises:
            LeaseLost: the task is not ours any more, so it did not end so.
        """
        outcome: Literal["completed", "error"] = "error" if ended.reason else "completed"
        reason = journal.transcript.clean(ended.reason or "") or None  # an agent's words may be among it
        words = closing(
            outcome,
            self._took(),
            branch=ended.branch,
            commit=ended.commit,
            pull_request=ended.pull_request,
            reason=reason,
            recorded=journal.transcript.recorded,
        )
        batch = journal.last(*words)
        became = self._lease.finish(outcome, batch=batch, error=reason, usage=usage)
        return self._closed(became, journal, answer=words[1] if became == outcome else became)

    def give_back(self, interrupted: RunInterrupted, journal: Journal) -> str:
        """To be run again; the database adds the entry that says why."""
        became = self._lease.give_back(interrupted, batch=journal.rest())
        return self._closed(interrupted.cause, journal, answer=f"given back ({interrupted.cause}), now {became}")

    def abandon(self, lost: LeaseLost, journal: Journal) -> str:
        """Nothing may be written to the task; the history is closed all the same."""
        self._lease.abandon(lost)
        return self._closed(lost.reason, journal, answer=f"stopped, for the lease is {lost.reason}")

    def _closed(self, outcome: str, journal: Journal, *, answer: str) -> str:
        log.info(
            "run.finished", outcome=outcome, seconds=round(self._took().total_seconds(), 1), entries=journal.entries
        )
        return answer

    def _took(self) -> timedelta:
        return timedelta(seconds=monotonic() - self._began)
