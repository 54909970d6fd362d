"""Everybody at once: workers, dispatchers, an operator, owners and time, each on a thread and a connection."""

import random
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta
from typing import ClassVar
from uuid import UUID

from db.engine import Database
from db.queries import queue
from db.url import DatabaseUrl
from tests.integration.queue.conftest import TTL, append, finish, offer, recover, try_claim
from tests.support.rows import Rows

PER_USER = 3
USERS = tuple(UUID(int=n << 96) for n in range(1, 7))
TASKS_A_USER = 8
TOO_MANY = """
SELECT user_id FROM worker.leases WHERE holder IS NOT NULL GROUP BY user_id HAVING count(*) > %s
"""


@dataclass(slots=True)
class World:
    """What the actors share: where to call, until when, and which tasks there are."""

    owner_url: DatabaseUrl
    worker_url: DatabaseUrl
    until: float
    tasks: dict[UUID, list[int]]
    done: Counter[str] = field(default_factory=Counter)
    """How often each thing was done; several threads count, so it may be a little low."""

    def any_task(self, chance: random.Random) -> int:
        return chance.choice(self.tasks[chance.choice(USERS)])


@dataclass(slots=True)
class Actor:
    """One who acts again and again until the time is over."""

    world: World
    seed: int
    chance: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)

    def run(self) -> None:
        raise NotImplementedError

    def repeat(self, step: Callable[[], str]) -> None:
        while time.monotonic() < self.world.until:
            self.world.done[step()] += 1


class Worker(Actor):
    """Claims, ticks, appends, and ends what it claimed in any way; of late it may be told that it lost."""

    def run(self) -> None:
        with Database(self.world.worker_url) as database:
            self.repeat(lambda: self.work(database))

    def work(self, database: Database) -> str:
        claim = try_claim(database, self.world.any_task(self.chance), per_user=PER_USER)
        if claim is None:
            return "refusal"
        for flush in range(1, self.chance.randint(2, 4)):
            queue.tick(database, claim.task_id, fence=claim.fence, ttl=TTL)
            append(database, claim, "line", flush=flush)
            self.world.done["append"] += 1
        if self.chance.random() < 0.1:
            return "abandoned run"
        if self.chance.random() < 0.3:
            cause = self.chance.choice(("crash", "shutdown", "overloaded"))
            queue.give_back(database, claim.task_id, fence=claim.fence, cause=cause, bound=3, delay=timedelta())
            return "give_back"
        finish(database, claim, outcome=self.chance.choice(("completed", "error")))
        return "finish"


class Dispatcher(Actor):
    """Offers and recovers."""

    def run(self) -> None:
        with Database(self.world.worker_url) as database:
            self.repeat(lambda: self.dispatch(database))

    def dispatch(self, database: Database) -> str:
        if self.chance.random() < 0.5:
            offer(database, 20, per_user=PER_USER)
            return "offer"
        recover(database)
        return "recover"


class Operator(Actor):
    """Cancels and retries."""

    def run(self) -> None:
        with Database(self.world.worker_url) as database:
            self.repeat(lambda: self.operate(database))

    def operate(self, database: Database) -> str:
        task = self.world.any_task(self.chance)
        if self.chance.random() < 0.3:
            queue.cancel(database, task, why="Cancelled.")
            return "cancel"
        queue.retry(database, task)
        return "retry"


@dataclass(slots=True)
class Owner(Actor):
    """Edits and deletes several rows of one user in a transaction, in any order, and inserts others."""

    user: UUID

    STATUSES: ClassVar = ("pending", "pending", "processing", "completed", "error")

    def run(self) -> None:
        with closing(Rows(self.world.owner_url)) as rows:
            self.repeat(lambda: self.own(rows))

    def own(self, rows: Rows) -> str:
        mine = self.world.tasks[self.user]
        with rows.connection.transaction():
            for task in self.chance.sample(mine, 3):
                status = self.chance.choice(self.STATUSES)
                rows.execute("UPDATE public.tasks SET status = %s WHERE id = %s", status, task)
            if self.chance.random() < 0.5:
                return "edit"
            place = self.chance.randrange(len(mine))
            rows.execute("DELETE FROM public.tasks WHERE id = %s", mine[place])
        mine[place] = rows.task(user=self.user)
        return "delete"


class Time(Actor):
    """Makes leases lapse, and watches that no user exceeds the limit."""

    def run(self) -> None:
        with closing(Rows(self.world.owner_url)) as rows:
            self.repeat(lambda: self.pass_by(rows))

    def pass_by(self, rows: Rows) -> str:
        rows.age_lease(self.world.any_task(self.chance))
        assert rows.execute(TOO_MANY, PER_USER) == []
        time.sleep(0.01)
        return "hour"


def everybody_at_once(owner_url: DatabaseUrl, worker_url: DatabaseUrl, *, seconds: float, seed: int) -> Counter[str]:
    """Let all act for so long; answers what was done how often. Raises what any of them met."""
    with closing(Rows(owner_url)) as rows:
        tasks = {user: [rows.task(user=user) for _ in range(TASKS_A_USER)] for user in USERS}
    world = World(owner_url, worker_url, time.monotonic() + seconds, tasks)
    kinds: list[type[Actor]] = [Worker, Worker, Worker, Worker, Dispatcher, Dispatcher, Operator, Time]
    actors = [kind(world, seed + n) for n, kind in enumerate(kinds)]
    actors += [Owner(world, seed + 100 + n, user) for n, user in enumerate(USERS[:3])]
    with ThreadPoolExecutor(len(actors)) as pool:
        for acted in [pool.submit(actor.run) for actor in actors]:
            acted.result()
    return world.done
