"""Carrying a retention policy out: batch after batch, each in a transaction of its own, sized to be short."""

import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any

import psycopg
import structlog
from sqlalchemy import Engine, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from db.engine import BUSY, reason
from db.queries import maintenance
from db.queries.maintenance import Expired, Removed
from worker.maintenance.retention import Batch, Passing, Refused, RetentionPolicy

log = structlog.get_logger(__name__)

REFUSED = "42501"
PATIENCE = 10
"""How many things in a row may each fail alone because others hold what it needs: then it is more than a row."""
OVERRUN = 4
"""A batch of several things may take so many times as long as it should; then it is undone, and a smaller one tried."""
LONGEST = timedelta(seconds=30)
"""What one thing alone, or a look at all, may take."""
LOCK_WITHIN = timedelta(milliseconds=250)
"""How long a batch waits for what others hold and cannot be skipped, as a row that its deletion cascades to."""
LIMITS = text("""
SELECT set_config('statement_timeout', :statement, true), set_config('lock_timeout', :lock, true),
    set_config('idle_in_transaction_session_timeout', '10s', true)
""")
"""For one transaction, which is all that a pooler's client has."""


class Ended(StrEnum):
    """Why a sweep ended."""

    DONE = "done"
    """Nothing is left but what was skipped."""
    LIMIT = "limit"
    """As many were removed as were asked for."""
    BUDGET = "budget"
    """Its time was over."""
    STOPPED = "stopped"
    """It was told to stop."""
    BUSY = "busy"
    """Others held what it needed for too long."""
    REFUSED = "refused"
    """The role may not do this, or the database forbids it, or Storage does: somebody has to mend something."""
    OFF = "off"
    """The settings switch it off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What one sweep did; `remaining` and `oldest` are None where that was not to be had."""

    policy: str
    ended: Ended
    removed: int = 0
    batches: int = 0
    seconds: float = 0.0
    longest: float = 0.0
    """Seconds of the longest transaction."""
    remaining: int | None = None
    oldest: str | None = None
    skipped: Mapping[str, int] = field(default_factory=dict)
    refused: str | None = None
    advice: tuple[str, ...] = ()
    """What to run in the database, and as whom, so that it is no longer refused."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """When a sweep ends before everything is done, and who hears how far it is."""

    limit: int | None = None
    stop: Callable[[], bool] = lambda: False
    """Asked between two batches, and during the pause."""
    progress: Callable[[int], None] = lambda _removed: None
    """Told how many were removed so far, after each batch."""


def carry_out(policy: RetentionPolicy, engine: Engine | None, bounds: Bounds | None = None) -> Report:
    """
    Remove what the policy does not keep, until nothing is left or a bound is reached.

    Rights that lack are reported, not raised. What overlaps, here or elsewhere, is harmless: each batch skips what
    somebody else holds.

    Raises:
        DBAPIError: the database does not answer, or there is a bug.
    """
    if policy.batch is None:
        return Report(policy=policy.name, ended=Ended.OFF)
    with Clocked(engine) as session:
        try:
            if advice := maintenance.lacking(session, policy.batch.rights):
                return refused(policy, "The role lacks rights.", advice)
            return Sweep(policy, session, bounds or Bounds()).run(policy.batch)
        finally:
            session.rollback()


def preview(policy: RetentionPolicy, engine: Engine | None) -> Expired:
    """What a sweep would remove now; an empty answer for a policy that is off. Changes nothing."""
    if policy.batch is None:
        return Expired(count=0, oldest=None)
    with Clocked(engine) as session:
        return policy.batch.expired(session)


def lacking(policy: RetentionPolicy, engine: Engine | None) -> list[str]:
    """What would give the role the rights that it lacks for this policy; empty when it lacks none."""
    if policy.batch is None:
        return []
    with Clocked(engine) as session:
        return maintenance.lacking(session, policy.batch.rights)


def refused(policy: RetentionPolicy, why: str, advice: list[str]) -> Report:
    """The report of a sweep that was not allowed to begin."""
    log.error("sweep.refused", policy=policy.name, reason=why, advice=advice)
    return Report(policy=policy.name, ended=Ended.REFUSED, refused=why, advice=tuple(advice))


class Clocked(Session):
    """A session whose transactions have limits of their own and are timed; it connects when it is first used."""

    def __init__(self, engine: Engine | None) -> None:
        super().__init__(engine)
        self.statement = LONGEST
        """How long one statement may take in transactions that begin from now on."""
        self.longest = 0.0
        """Seconds of the longest transaction since it was last set."""
        self._began: float | None = None
        event.listen(self, "after_begin", self._begin)
        event.listen(self, "after_transaction_end", self._end)

    def _begin(self, _session: Session, _transaction: Any, connection: Any) -> None:
        self._began = time.perf_counter()
        connection.execute(LIMITS, {"statement": milliseconds(self.statement), "lock": milliseconds(LOCK_WITHIN)})

    def _end(self, *_: object) -> None:
        if self._began is not None:
            self.longest = max(self.longest, time.perf_counter() - self._began)
            self._began = None


def milliseconds(duration: timedelta) -> str:
    """As PostgreSQL's settings are written."""
    return f"{max(1, round(duration.total_seconds() * 1000))}ms"


class Sweep:
    """One sweep as it goes on: how large the next batch is, what was done, and why it ends."""

    def __init__(self, policy: RetentionPolicy, session: Clocked, bounds: Bounds) -> None:
        self.policy = policy
        self.session = session
        self.bounds = bounds
        self.size = min(policy.first, policy.largest)
        self.removed = self.batches = self.failures = 0
        self.longest = 0.0
        self.held: Passing | None = None
        """Set where the next thing could not be removed even alone: it is left to whoever holds it."""
        self.skipped: Counter[str] = Counter()
        self.cursor: Any = None
        self.began = time.perf_counter()

    def run(self, batch: Batch) -> Report:
        """Go on until there is a reason to end."""
        ended = self.over()
        why = None
        while ended is None:
            try:
                ended = self.go_past(self.held) if self.held else self.one_batch(batch)
                ended = ended or self.over()
            except Refused as fault:
                self.session.rollback()
                ended, why = self.refused(str(fault)), str(fault)
            except DBAPIError as fault:
                self.session.rollback()
                ended = self.coped_with(fault, batch)
                why = reason(fault.orig) if ended and isinstance(fault.orig, psycopg.Error) else None
            if ended is None:
                self.pause()
                ended = self.over()
        return self.report(ended, batch, why)

    def one_batch(self, batch: Batch) -> Ended | None:
        """Remove some, and learn from how long it took."""
        asked = self.asked()
        limit = self.policy.transaction * OVERRUN
        self.session.longest, self.session.statement = 0.0, limit if asked > 1 else LONGEST
        done = batch.remove(self.session, asked, self.cursor)
        self.session.commit()
        self.count(done)
        self.size = resized(asked, took=self.session.longest, policy=self.policy)
        self.cursor = done.last
        return Ended.DONE if done.last is None else None

    def go_past(self, batch: Passing) -> Ended | None:
        """Leave the next thing alone, and go on with what comes after it."""
        done = batch.pass_over(self.session, self.cursor)
        self.session.commit()
        self.held = None
        self.skipped.update(done.skipped)
        self.cursor = done.last
        return Ended.DONE if done.last is None else None

    def asked(self) -> int:
        """How large a batch may be now."""
        return self.size if self.bounds.limit is None else min(self.size, self.bounds.limit - self.removed)

    def count(self, done: Removed) -> None:
        """Add a batch to what was done."""
        self.failures = 0
        self.batches += 1
        self.removed += done.count
        self.skipped.update(done.skipped)
        self.longest = max(self.longest, self.session.longest)
        self.bounds.progress(self.removed)

    def over(self) -> Ended | None:
        """Why not to begin another batch."""
        if self.bounds.stop():
            return Ended.STOPPED
        if self.bounds.limit is not None and self.removed >= self.bounds.limit:
            return Ended.LIMIT
        return Ended.BUDGET if self.seconds() > self.policy.budget.total_seconds() else None

    def coped_with(self, fault: DBAPIError, batch: Batch) -> Ended | None:
        """Try a smaller batch, or go past the one thing that fails alone. Raises the fault where that is no answer."""
        state = getattr(fault.orig, "sqlstate", None)
        self.longest = max(self.longest, self.session.longest)
        if state == REFUSED:
            return self.refused(str(fault.orig).partition("\n")[0])
        if state not in BUSY:
            raise fault
        alone = self.asked() == 1
        self.failures += alone
        self.held = batch if alone and not self.held and isinstance(batch, Passing) else None
        self.size = max(1, self.asked() // 4)
        log.warning("sweep.delayed", policy=self.policy.name, sqlstate=state, size=self.size)
        return Ended.BUSY if self.failures >= PATIENCE else None

    def refused(self, why: str) -> Ended:
        """Say what somebody must mend."""
        log.error("sweep.refused", policy=self.policy.name, reason=why)
        return Ended.REFUSED

    def pause(self) -> None:
        """Let others have their turn; longer after a failure, and never the same for two sweeps."""
        wait(self.policy.pause * (1 + self.failures) * random.uniform(0.8, 1.2), self.bounds.stop)  # noqa: S311 - jitter

    def seconds(self) -> float:
        """How long it has been going on."""
        return time.perf_counter() - self.began

    def report(self, ended: Ended, batch: Batch, why: str | None) -> Report:
        """What was done, and what is left."""
        seconds = self.seconds()
        left = self.left(batch) if ended is not Ended.REFUSED else None
        return Report(
            policy=self.policy.name,
            ended=ended,
            removed=self.removed,
            batches=self.batches,
            seconds=round(seconds, 3),
            longest=round(self.longest, 3),
            remaining=left.count if left else None,
            oldest=left.oldest if left else None,
            skipped=dict(self.skipped),
            refused=why if ended is Ended.REFUSED else None,
        )

    def left(self, batch: Batch) -> Expired | None:
        """What is expired still; None where a look at all takes too long."""
        self.session.statement = LONGEST
        try:
            return batch.expired(self.session)
        except DBAPIError as fault:
            if getattr(fault.orig, "sqlstate", None) not in BUSY:
                raise
            return None


def resized(size: int, *, took: float, policy: RetentionPolicy) -> int:
    """The size whose transaction would have taken as long as it should: at most twice, at least a quarter of this."""
    fitting = size * policy.transaction.total_seconds() / took if took else 2 * size
    return round(min(max(fitting, size / 4, 1), 2 * size, policy.largest))


def wait(patience: timedelta, stop: Callable[[], bool]) -> None:
    """Sleep, unless told to stop."""
    until = time.monotonic() + patience.total_seconds()
    while (left := until - time.monotonic()) > 0 and not stop():
        time.sleep(min(left, 0.1))
