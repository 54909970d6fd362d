"""What a test knows of the queue: facts that the database acknowledged, and what must follow from them."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
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
    lines: list[str] = field(default_factory=list)
    """What runs wrote to the log since its owner last did, in order."""
    unsure: set[str] = field(default_factory=set)
    """Those of `lines` whose answer was lost: each is in the log once or not at all."""
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

    def write(self, lines: Iterable[str], *, unsure: bool = False) -> None:
        """These lines are in the log, or may be."""
        for line in lines:
            if line not in self.lines:
                self.lines.append(line)
            (self.unsure.add if unsure else self.unsure.discard)(line)

    def let_go(self) -> None:
        """The lease is gone, and with it the counters."""
        self.holder, self.lapsed, self.delayed = None, False, False
        self.counts.clear()

    def explains(self, found: Sequence[str]) -> bool:
        """Whether the log holds each acknowledged line once, each unsure one at most once, and no other."""
        return list(found) == [line for line in self.lines if line in found or line not in self.unsure]


@dataclass(slots=True)
class Facts:
    """Every task that a history has seen, and how each run ended."""

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

    def claimed(self, task: int, fence: int) -> None:
        known = self.tasks[task]
        known.status, known.progress, known.holder = "processing", 10, fence
        known.lapsed = known.delayed = False
        known.counts["attempt"] += 1

    def finished(self, task: int, fence: int, *, how: str, line: str) -> str:
        """Answers how the run must be said to have ended."""
        known = self.tasks[task]
        if known.verdict(fence) != MINE:
            return self.stopped(task, fence)
        known.status, known.progress = how, 100 if how == "completed" else known.progress
        known.write([line])
        known.let_go()
        return self.outcomes.setdefault(fence, how)

    def given_back(self, task: int, fence: int, *, cause: str, delayed: bool = False) -> str:
        """Answers what the call must answer."""
        known = self.tasks[task]
        if known.verdict(fence) != MINE:
            return self.stopped(task, fence)
        self.outcomes[fence] = cause
        return self._requeued(known, cause, delayed=delayed)

    def stopped(self, task: int, fence: int) -> str:
        """A run that may not write has ended; the first to close it was right."""
        known = self.tasks[task]
        outcome = self.outcomes.setdefault(fence, known.verdict(fence))
        if known.holder == fence:
            known.let_go()
        return outcome

    def recovered(self, task: int) -> str:
        """Recovery ended this task's lease; answers what the task must have become."""
        known = self.tasks[task]
        if known.holder is not None and known.status == "processing":
            self.outcomes[known.holder] = "lapsed"
            return self._requeued(known, "crash")
        if known.holder is not None:
            self.outcomes[known.holder] = known.verdict(known.holder)
        known.let_go()
        return known.status or "gone"

    def cancelled(self, task: int) -> None:
        known = self.tasks[task]
        if known.status in {"pending", "processing"}:
            known.status = "error"
            if known.holder is None:
                known.let_go()

    def retried(self, task: int) -> str | None:
        """Answers what the call must answer."""
        known = self.tasks[task]
        found = known.status
        if found == "processing" and known.holder is not None:
            return "running"
        if found in {"completed", "error", "processing"}:
            known.status, known.progress = "pending", 0
            if known.holder is None:
                known.let_go()
        return found

    def _requeued(self, known: Known, cause: str, *, delayed: bool = False) -> str:
        known.counts[COUNTED[cause]] += 1
        known.holder, known.lapsed, known.delayed = None, False, delayed
        known.status = "pending"
        if known.counts["crashes"] >= self.max_crashes or known.counts["backoffs"] > self.max_backoffs:
            known.status = "error"
            known.let_go()
        return known.status


@dataclass(slots=True)
class Turns:
    """Between two offers to one user, every other user with a due row and a free slot has had one."""

    owed: dict[UUID, set[UUID]] = field(default_factory=dict)
    """Who has waited without an offer ever since this user's last one."""

    def take(self, users: Sequence[UUID], waiting: Mapping[UUID, int]) -> None:
        """Offers went to `users` in this order, while each of `waiting` could have had so many."""
        left = Counter(waiting)
        for each in self.owed.values():
            each &= {user for user in left if left[user] > 0}
        for user in users:
            assert not self.owed.get(user, set()), f"{user} had a second offer before {self.owed[user]} had one"
            left[user] -= 1
            for others in self.owed.values():
                others.discard(user)
            self.owed[user] = {other for other in left if left[other] > 0 and other != user}
