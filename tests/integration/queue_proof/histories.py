"""Histories of the queue as a state machine: workers, dispatchers, operators and owners take steps in any order."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from datetime import timedelta
from typing import Any, Literal, TypeVar
from uuid import UUID

import psycopg
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, get_state_machine_test, invariant, precondition, rule
from psycopg import sql
from psycopg.types.json import Jsonb

from db.engine import Database
from db.errors import DatabaseUnavailable
from db.queries import queue
from tests.integration.queue.conftest import TIMEOUT, TTL, entry
from tests.integration.queue_proof.bench import USERS, Bench, Learn, Open, Run
from tests.integration.queue_proof.invariants import LEFT_BEHIND, LINE, WAITING, check, see
from tests.support.model import MINE, Facts, Known, Turns

FEW = settings(
    max_examples=8,
    stateful_step_count=40,
    database=None,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)
LATER = timedelta(minutes=5)
PER_USER, MAX_CRASHES, MAX_BACKOFFS = 2, 2, 1
BOUNDS = {"crash": MAX_CRASHES, "overloaded": MAX_BACKOFFS, "shutdown": 0}
OWNERS = (USERS[0], USERS[0], USERS[0], USERS[1], USERS[2])
"""Whose task is at each place: the first user has one more than the limit."""
STATUSES = ("pending", "processing", "completed", "error")
PATIENT = frozenset({"offer", "claim", "tick", "recover"})
"""Calls that an owner's open transaction must never keep waiting."""
LOGS: Mapping[str, Any] = {
    "array": [],
    "array as text": "[]",
    "null": None,
    "object": {"an": "object"},
    "number": 7,
    "no json": "garbage",
    "no entries": [1, "two"],
}
"""What an owner may find it right to write into `logs`."""
End = Literal["completed", "error"]
PLACES = st.integers(0, len(OWNERS) - 1)
SEVERAL = st.lists(PLACES, min_size=1, unique=True)
AGO = st.integers(0, 3)
ENDS: st.SearchStrategy[End] = st.sampled_from(("completed", "error"))
CAUSES = st.sampled_from(sorted(BOUNDS))
Call = Callable[[Database], Learn]
"""Asks the database one thing, and holds its answer against the facts."""
Answer = TypeVar("Answer")


def has_run(machine: "Histories") -> bool:
    """Whether anything was ever claimed."""
    return bool(machine.runs)


def nothing_is_open(machine: "Histories") -> bool:
    """Whether no transaction is in the middle."""
    return machine.open is None


class Histories(RuleBasedStateMachine):
    """
    Any steps in any order; after each, everything that must always hold.

    The world is small, so that steps meet: five places for a task, of three users, and the last four runs. One
    transaction may be open at a time. A call that meets its locks steps around them, or gives up, and then nothing
    has happened.
    """

    def __init__(self, at: Bench) -> None:
        super().__init__()
        self.bench = at
        self.facts = Facts(MAX_CRASHES, MAX_BACKOFFS)
        self.turns = Turns()
        self.open: Open | None = None
        self.runs: list[Run] = []
        self.lines = 0
        at.clean()
        self.tasks = [self.inserted(user, []) for user in OWNERS]

    def teardown(self) -> None:
        self.bench.clean()

    @invariant()
    def everything_holds(self) -> None:
        check(see(self.bench.rows), self.facts, per_user=PER_USER)

    # Dispatchers and operators

    @rule(room=st.integers(1, 5), rung=st.lists(PLACES, unique=True))
    def offer(self, room: int, rung: list[int]) -> None:
        """The messages of the places that were rung still wait in the broker."""
        self.ask("offer", self.offering(room, rung=[self.tasks[place] for place in rung]))

    @rule()
    def recover(self) -> None:
        self.ask("recover", self.recovering)
        assert self.open or self.bench.rows.execute(LEFT_BEHIND) == []

    @rule(place=PLACES)
    def cancel(self, place: int) -> None:
        task = self.tasks[place]

        def call(database: Database) -> Learn:
            answer = queue.cancel(database, task, why="Cancelled by an operator.")
            return self.expect(answer, lambda facts: facts.cancelled(task))

        self.ask("cancel", call)

    @rule(places=SEVERAL)
    def retry(self, places: list[int]) -> None:
        for task in map(self.tasks.__getitem__, places):
            self.ask("retry", self.retrying(task))

    # Workers

    @rule(places=SEVERAL)
    def claim(self, places: list[int]) -> None:
        for task in map(self.tasks.__getitem__, places):
            self.ask("claim", self.claiming(task))

    @precondition(has_run)
    @rule(ago=AGO)
    def tick(self, ago: int) -> None:
        run = self.run(ago)

        def call(database: Database) -> Learn:
            answer = queue.tick(database, run.task, fence=run.fence, ttl=TTL)
            return self.expect(answer, lambda facts: facts.ticked(run.task, run.fence))

        self.ask("tick", call)

    @precondition(has_run)
    @rule(ago=AGO, progress=st.integers(0, 99), how=st.sampled_from(("heard", "unheard", "again")))
    def append(self, ago: int, progress: int, how: str) -> None:
        """A flush whose answer is not heard is sent again the next time; any may be sent again at any time."""
        run = self.run(ago)
        if how != "again" or not run.flush:
            run.next_flush(self.new_line(), progress)
        self.ask("append", self.appending(run))
        run.answered = run.answered and how != "unheard"

    @precondition(has_run)
    @rule(ago=AGO, branch=st.sampled_from(("fix", "feature")))
    def name_branch(self, ago: int, branch: str) -> None:
        run = self.run(ago)

        def call(database: Database) -> Learn:
            answer = queue.name_branch(database, run.task, fence=run.fence, branch=branch)
            return self.expect(answer or MINE, lambda facts: facts.branch_named(run.task, run.fence, branch))

        self.ask("name_branch", call)

    @precondition(has_run)
    @rule(ago=AGO, head=st.sampled_from(("a" * 40, "b" * 40)))
    def record_push(self, ago: int, head: str) -> None:
        run = self.run(ago)

        def call(database: Database) -> Learn:
            push = queue.Pushed(branch="fix", head=head, base=None)
            answer = queue.record_push(database, run.task, fence=run.fence, push=push)
            return self.expect(answer or MINE, lambda facts: facts.push_recorded(run.task, run.fence, head))

        self.ask("record_push", call)

    @precondition(has_run)
    @rule(ago=AGO, how=ENDS)
    def finish(self, ago: int, how: End) -> None:
        self.ask("finish", self.finishing(self.run(ago), how))

    @precondition(has_run)
    @rule(ago=AGO, cause=CAUSES, delay=st.sampled_from((timedelta(), LATER)))
    def give_back(self, ago: int, cause: str, delay: timedelta) -> None:
        self.ask("give_back", self.giving_back(self.run(ago), cause, delay))

    @precondition(has_run)
    @rule(ago=AGO)
    def abandon(self, ago: int) -> None:
        run = self.run(ago)

        def call(database: Database) -> Learn:
            answer = queue.abandon(database, run.task, fence=run.fence)
            return self.expect(answer, lambda facts: facts.abandoned(run.task, run.fence))

        self.ask("abandon", call)

    # Owners, and time

    @rule(place=PLACES, status=st.sampled_from(("pending", *STATUSES)))
    def owner_sets_status(self, place: int, status: str) -> None:
        self.edit(place, "status", status, status=status)

    @rule(place=PLACES, progress=st.integers(0, 100), branch=st.sampled_from(("main", "wip")))
    def owner_edits(self, place: int, progress: int, branch: str) -> None:
        self.edit(place, "progress", progress, progress=progress)
        self.edit(place, "branch_name", branch, branch=branch)

    @rule(place=PLACES, logs=st.sampled_from(sorted(LOGS)))
    def owner_sets_logs(self, place: int, logs: str) -> None:
        self.edit(place, "logs", Jsonb(LOGS[logs]), lines=[])

    @rule(place=PLACES)
    def owner_deletes(self, place: int) -> None:
        """A row that is deleted already makes room for another."""
        known = self.facts.tasks[self.tasks[place]]
        if known.status is None:
            self.tasks[place] = self.inserted(known.user, [])
            return
        with suppress(psycopg.errors.LockNotAvailable):
            self.bench.rows.execute("DELETE FROM public.tasks WHERE id = %s", self.tasks[place])
            known.status = None

    @rule(place=PLACES)
    def an_hour_passes_for(self, place: int) -> None:
        with suppress(psycopg.errors.LockNotAvailable):
            self.bench.rows.age_lease(self.tasks[place])
            self.facts.aged(self.tasks[place])

    # One transaction in the middle

    @precondition(nothing_is_open)
    @rule(place=PLACES, status=st.sampled_from((*STATUSES, None)))
    def owner_begins(self, place: int, status: str | None) -> None:
        """The owner changes the status, or deletes the row, and does not commit yet."""
        task, connection = self.tasks[place], self.bench.owner
        known = self.facts.tasks[task]
        if known.status is None:
            return
        connection.execute("BEGIN")
        if status is None:
            connection.execute("DELETE FROM public.tasks WHERE id = %s", [task])
        else:
            connection.execute("UPDATE public.tasks SET status = %s WHERE id = %s", [status, task])
        self.open = Open(task=task, by="owner", connection=connection, learn=lambda: setattr(known, "status", status))

    @precondition(nothing_is_open)
    @rule(place=PLACES)
    def claim_begins(self, place: int) -> None:
        if self.is_to_be_had(self.tasks[place]):  # else it would lock nothing
            self.begin(self.tasks[place], self.claiming(self.tasks[place]))

    @precondition(lambda self: has_run(self) and nothing_is_open(self))
    @rule(ago=AGO, kind=st.sampled_from(("append", "finish", "give_back")), how=ENDS, cause=CAUSES)
    def write_begins(self, ago: int, kind: str, how: End, cause: str) -> None:
        run = self.run(ago)
        run.next_flush(self.new_line(), 50)
        calls = {
            "append": self.appending(run),
            "finish": self.finishing(run, how),
            "give_back": self.giving_back(run, cause, timedelta()),
        }
        self.begin(run.task, calls[kind])

    @precondition(lambda self: self.open is not None)
    @rule()
    def it_is_committed(self) -> None:
        self.end("COMMIT").learn()

    @precondition(lambda self: self.open is not None)
    @rule()
    def it_is_cut(self) -> None:
        self.end("ROLLBACK")

    # What is asked, and what must be answered

    def offering(self, room: int, *, rung: list[int]) -> Call:
        parameters = {"per_user": PER_USER, "timeout": TIMEOUT, "rung": rung}

        def call(database: Database) -> Learn:
            found = self.bench.rows.connection.execute(WAITING, parameters).fetchall()
            waiting = {row["user_id"]: row["offers"] for row in found}
            offered = queue.offer(database, room, per_user=PER_USER, timeout=TIMEOUT, waiting=rung)
            users = [self.facts.tasks[task].user for task in offered]
            assert len(offered) == min(room, sum(waiting.values())), "a slot stays free, or one too many is taken"
            assert all(users.count(user) <= waiting.get(user, 0) for user in users)
            return lambda: self.turns.take(users, waiting)

        return call

    def recovering(self, database: Database) -> Learn:
        now = self.bench.rows.execute("SELECT now() AS now")[0]["now"]
        found = queue.recover(database, max_crashes=MAX_CRASHES, seen=now, quiet=LATER).recovered
        became = [each.became for each in found]
        return self.expect(became, lambda facts: [facts.recovered(each.task_id) for each in found])

    def retrying(self, task: int) -> Call:
        def call(database: Database) -> Learn:
            return self.expect(queue.retry(database, task), lambda facts: facts.retried(task))

        return call

    def claiming(self, task: int) -> Call:
        def call(database: Database) -> Learn:
            claim = queue.claim(
                database, task, holder="worker@test", celery_id=None, ttl=TTL, per_user=PER_USER, prompt_limit=100
            )
            assert (claim is not None) == self.is_to_be_had(task)
            if claim is None:
                return tuple  # nothing to learn
            answer = (claim.attempt, [push.head for push in claim.pushes])
            learn = self.expect(answer, lambda facts: facts.claimed(task, claim.fence))
            return both(learn, lambda: self.runs.append(Run(task, claim.fence)))

        return call

    def appending(self, run: Run) -> Call:
        def call(database: Database) -> Learn:
            flush, line, progress = run.flush, run.line, run.progress
            answer = queue.append(
                database, run.task, fence=run.fence, flush=flush, entries=[entry(line)], progress=progress
            )
            learn = self.expect(
                answer.refusal or MINE,
                lambda facts: facts.appended(run.task, run.fence, flush=flush, line=line, progress=progress),
            )
            return both(learn, lambda: setattr(run, "answered", True))

        return call

    def finishing(self, run: Run, how: End) -> Call:
        line = self.new_line()

        def call(database: Database) -> Learn:
            answer = queue.finish(
                database, run.task, fence=run.fence, outcome=how, entries=[entry(line)], error=None, usage={}
            )
            return self.expect(answer, lambda facts: facts.finished(run.task, run.fence, how=how, line=line))

        return call

    def giving_back(self, run: Run, cause: str, delay: timedelta) -> Call:
        def call(database: Database) -> Learn:
            answer = queue.give_back(database, run.task, fence=run.fence, cause=cause, bound=BOUNDS[cause], delay=delay)
            return self.expect(
                answer, lambda facts: facts.given_back(run.task, run.fence, cause=cause, delayed=bool(delay))
            )

        return call

    def is_to_be_had(self, task: int) -> bool:
        known = self.facts.tasks[task]
        in_somebodys_hands = self.open is not None and self.open.task == task
        free = known.holder is None and not known.delayed and self.facts.running(known.user) < PER_USER
        return known.status == "pending" and free and not in_somebodys_hands

    # How a step is taken

    def ask(self, name: str, call: Call) -> None:
        """Ask and learn. No answer comes only from behind an open transaction, and then nothing has happened."""
        try:
            call(self.bench.worker)()
        except DatabaseUnavailable:
            assert self.may_wait(name), f"{name} waited for nobody, or for an owner"

    def may_wait(self, name: str) -> bool:
        return self.open is not None and (self.open.by == "worker" or name not in PATIENT)

    def expect(self, answer: Answer, step: Callable[[Facts], Answer]) -> Learn:
        """The answer must be the one that follows from the facts; it becomes one of them when it is learnt."""
        assert answer == step(deepcopy(self.facts))
        return lambda: step(self.facts)

    def begin(self, task: int, call: Call) -> None:
        """Have the server carry the call out, and stop before it is committed."""
        connection = self.bench.other.connection()
        connection.execute("BEGIN")
        self.open = Open(task=task, by="worker", connection=connection, learn=call(self.bench.other))

    def end(self, verb: Literal["COMMIT", "ROLLBACK"]) -> Open:
        assert self.open is not None
        ended, self.open = self.open, None
        ended.connection.execute(verb)
        return ended

    def edit(self, place: int, column: str, value: Any, **known: Any) -> None:
        """The owner writes one column, unless the row is in somebody's hands."""
        task = self.tasks[place]
        statement = sql.SQL("UPDATE public.tasks SET {} = %s WHERE id = %s").format(sql.Identifier(column))
        with suppress(psycopg.errors.LockNotAvailable):
            if self.bench.rows.connection.execute(statement, [value, task]).rowcount:
                for name, fact in known.items():
                    setattr(self.facts.tasks[task], name, fact)

    def inserted(self, user: UUID, logs: Any) -> int:
        task = self.bench.rows.task(user=user, logs=Jsonb(logs))
        self.facts.tasks[task] = Known(user=user)
        return task

    def run(self, ago: int) -> Run:
        """One of the last runs, however it may have ended."""
        return self.runs[-1 - ago % len(self.runs)]

    def new_line(self) -> str:
        self.lines += 1
        return f"{LINE}{self.lines}"


def both(first: Learn, second: Learn) -> Learn:
    """Learn one thing, then another."""

    def learn() -> None:
        first()
        second()

    return learn


def make_histories(at: Bench, *, seeds: Iterable[int], phases: Sequence[Phase] = tuple(Phase)) -> None:
    """
    Make eight histories from each seed. Raises what the first failure raised, with its steps in a note.

    No more of one seed, because most of many would be variations of a few.
    """

    class There(Histories):
        def __init__(self) -> None:
            super().__init__(at)

    for number in seeds:
        seed(number)(get_state_machine_test(There, settings=settings(FEW, phases=phases)))()
