"""What a test knows of the queue: facts that the database acknowledged, and what must follow from them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

MINE = "mine"
COUNTED = {"crash": "crashes", "shutdown": "interruptions", "overloaded": "backoffs"}
"""The counter of each cause for which a run is given back."""


@dataclass(slots=True, kw_only=True)
class Known:
    """One task as it must be now. `status` is None once its row is gone."""

    user: UUID
    status: str | None = "pending"
    progress: int = 0
    branch: str | None = None
    holder: int | None = None
    """The one fence that may write."""
    lapsed: bool = False
    delayed: bool = False
    flushed: int = 0
    """The number of the last flush that this attempt did."""
    lines: list[str] = field(default_factory=list)
    """What runs wrote to the log since its owner last did, in order."""
    counts: Counter[str] = field(default_factory=Counter)
    heads: dict[int, str] = field(default_factory=dict)
    """The head that each fence recorded."""

    def verdict(self, fence: int) -> str:
        """What a write under `fence` must be answered."""
        if self.status is None:
            return "gone"
        if self.holder != fence:
            return "lost"
        return MINE if self.status == "processing" else "taken"

    def let_go(self) -> None:
        """The lease is gone, and with it the counters."""
        self.holder, self.lapsed, self.delayed = None, False, False
        self.counts.clear()


@dataclass(slots=True)
class Facts:
    """Every task that a history has seen, and how each run ended. Each step answers what the database must answer."""

    max_crashes: int
    max_backoffs: int
    tasks: dict[int, Known] = field(default_factory=dict)
    outcomes: dict[int, str] = field(default_factory=dict)
    """How each ended run ended, by its fence."""

    def running(self, user: UUID) -> int:
        """How many leases of this user have a holder."""
        return sum(known.holder is not None for known in self.tasks.values() if known.user == user)

    def fences(self) -> set[int]:
        """Every fence that holds a lease."""
        return {known.holder for known in self.tasks.values() if known.holder is not None}

    def claimed(self, task: int, fence: int) -> tuple[int, list[str]]:
        """The number of the attempt, and the heads that earlier ones recorded, newest first."""
        known = self.tasks[task]
        known.status, known.progress, known.holder = "processing", 10, fence
        known.lapsed, known.delayed, known.flushed = False, False, 0
        known.counts["attempt"] += 1
        return known.counts["attempt"], [known.heads[fence] for fence in sorted(known.heads, reverse=True)]

    def ticked(self, task: int, fence: int) -> str | None:
        known = self.tasks[task]
        if known.holder != fence and known.status is not None:
            return "lost"
        known.lapsed = known.lapsed and known.holder != fence
        return known.status

    def appended(self, task: int, fence: int, *, flush: int, line: str, progress: int) -> str:
        known = self.tasks[task]
        verdict = known.verdict(fence)
        if verdict == MINE and flush > known.flushed:
            known.flushed, known.progress = flush, max(known.progress, progress)
            known.lines.append(line)
        return verdict

    def branch_named(self, task: int, fence: int, branch: str) -> str:
        known = self.tasks[task]
        if (verdict := known.verdict(fence)) == MINE:
            known.branch = branch
        return verdict

    def push_recorded(self, task: int, fence: int, head: str) -> str:
        known = self.tasks[task]
        if (verdict := known.verdict(fence)) == MINE:
            known.heads[fence] = head
        return verdict

    def finished(self, task: int, fence: int, *, how: str, line: str) -> str:
        known = self.tasks[task]
        if known.verdict(fence) != MINE:
            return self._stopped(known, fence)
        known.status, known.progress = how, 100 if how == "completed" else known.progress
        known.lines.append(line)
        known.let_go()
        self.outcomes[fence] = how
        return how

    def given_back(self, task: int, fence: int, *, cause: str, delayed: bool) -> str:
        known = self.tasks[task]
        if known.verdict(fence) != MINE:
            return self._stopped(known, fence)
        self.outcomes[fence] = cause
        return self._requeued(known, cause, delayed=delayed)

    def abandoned(self, task: int, fence: int) -> str:
        known = self.tasks[task]
        return MINE if known.verdict(fence) == MINE else self._stopped(known, fence)

    def recovered(self, task: int) -> str:
        """Recovery ended this task's lease, whoever had it."""
        known = self.tasks[task]
        assert known.holder is None or known.lapsed, "a lease that was renewed is nobody's to end"
        if known.holder is not None and known.status == "processing":
            self.outcomes[known.holder] = "lapsed"
            return self._requeued(known, "crash", delayed=False)
        if known.holder is not None:
            self.outcomes[known.holder] = known.verdict(known.holder)
        known.let_go()
        return known.status or "gone"

    def cancelled(self, task: int) -> str | None:
        known = self.tasks[task]
        found = known.status
        if found in {"pending", "processing"}:
            known.status = "error"
            self._forget_if_unheld(known)
        return found

    def retried(self, task: int) -> str | None:
        known = self.tasks[task]
        found = known.status
        if found == "processing" and known.holder is not None:
            return "running"
        if found in {"completed", "error", "processing"}:
            known.status, known.progress = "pending", 0
            self._forget_if_unheld(known)
        return found

    def aged(self, task: int) -> None:
        """An hour has passed for this task: what could lapse has lapsed, and no delay is left."""
        known = self.tasks[task]
        known.lapsed, known.delayed = known.holder is not None, False

    def _stopped(self, known: Known, fence: int) -> str:
        # A run that may not write has ended all the same; whoever closed it first was right.
        outcome = self.outcomes.setdefault(fence, known.verdict(fence))
        if known.holder == fence:
            known.let_go()
        return outcome

    def _requeued(self, known: Known, cause: str, *, delayed: bool) -> str:
        known.counts[COUNTED[cause]] += 1
        known.holder, known.lapsed, known.delayed, known.status = None, False, delayed, "pending"
        if known.counts["crashes"] >= self.max_crashes or known.counts["backoffs"] > self.max_backoffs:
            known.status = "error"
            known.let_go()
        return known.status

    def _forget_if_unheld(self, known: Known) -> None:
        if known.holder is None:
            known.let_go()


@dataclass(slots=True)
class Turns:
    """Between two offers to one user, every other user with a due row and a free slot has had one."""

    owed: dict[UUID, set[UUID]] = field(default_factory=dict)
    """Who has waited without an offer ever since this user's last one."""

    def take(self, users: Sequence[UUID], waiting: Mapping[UUID, int]) -> None:
        """Offers went to `users` in this order, while each of `waiting` could have had so many."""
        left = Counter(waiting)
        for others in self.owed.values():
            others.intersection_update(+left)
        for user in users:
            assert not self.owed.get(user), f"{user} had a second offer before {self.owed[user]} had one"
            left[user] -= 1
            for others in self.owed.values():
                others.discard(user)
            self.owed[user] = set(+left) - {user}
