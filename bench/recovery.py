"""How long a task waits for its next attempt after a fault, by kind of fault, at the default settings."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import psycopg
import redis

from bench.fleet import Fleet, Process, children, end, until
from bench.measure import Bench, Row, insert_task, new_user, one
from bench.network import Network, through

CHILDREN = 1
"""Runs at once in each worker, so that who takes a task is no matter of chance."""
LEASE_TTL = 30.0
"""Seconds; the default, as all that is measured here."""
OUTAGE = 10.0
"""Seconds that the database is out of reach."""
LOST_RINGS = 3
LONG = "rehearse: sleep 600\nrehearse: change nothing"


@dataclass(slots=True, kw_only=True)
class Scene:
    """Two workers and a dispatcher, which reach the database through a network of their own."""

    bench: Bench
    fleet: Fleet
    network: Network
    connection: psycopg.Connection
    workers: dict[str, Process]
    """By name, as in `NAME@bench`."""

    def insert(self) -> int:
        """A pending task that runs until it is cancelled."""
        return insert_task(self.connection, new_user(self.connection), prompt=LONG)

    def begun(self) -> int:
        """A task whose agent runs."""
        task = self.insert()
        until(lambda: self.attempts(task) == 1, within=120, what="the first attempt")
        time.sleep(2)
        return task

    def warmed(self) -> int:
        """A task that runs, after every worker has run one: each has its connection then."""
        kept, *others = [self.begun() for _ in range(CHILDREN * len(self.workers))]
        self.cancel(*others)
        return kept

    def attempts(self, task: int) -> int:
        """How often it was claimed."""
        return one(self.connection.execute("SELECT count(*) FROM worker.runs WHERE task_id = %s", [task]))

    def holder(self, task: int) -> str:
        """The name of the worker that runs it."""
        cursor = self.connection.execute("SELECT holder FROM worker.leases WHERE task_id = %s", [task])
        found = cursor.fetchone()
        assert found
        return str(found[0]).partition("@")[0]

    def again(self, task: int, *, since: float, attempt: int = 2) -> float:
        """Seconds until it is claimed for the second time; it is cancelled then."""
        until(lambda: self.attempts(task) >= attempt, within=300, every=0.005, what=f"attempt {attempt}")
        seconds = time.monotonic() - since
        self.cancel(task)
        return seconds

    def cancel(self, *tasks: int) -> None:
        """End tasks, and wait until their workers are free."""
        for task in tasks:
            self.connection.execute("SELECT worker.cancel(%s, 'measured')", [task])
        held = "SELECT count(*) FROM worker.leases WHERE task_id = ANY(%s)"
        until(lambda: one(self.connection.execute(held, [list(tasks)])) == 0, what="the worker is free")

    def revive(self, name: str) -> None:
        """A worker of that name again."""
        self.workers[name] = self.fleet.worker(name=name)


def measure(bench: Bench) -> Iterator[Row]:
    """Each fault several times on the same fleet, which must stand all of them."""
    with ExitStack() as stack:
        scene = staged(bench, stack)
        for case, fault in FAULTS.items():
            yield Row.of("recovery", case, [fault(scene) for _ in range(bench.repeats)], "s")
        yield Row.of("recovery", "FLUSHALL: a task whose message was lost", lost_rings(scene), "s")


def staged(bench: Bench, stack: ExitStack) -> Scene:
    """The fleet, after the time that a dispatcher watches before it recovers anything."""
    network = stack.enter_context(through(bench.worker_url))
    fleet = stack.enter_context(Fleet(bench, DATABASE_URL=network.url.libpq, CODINGIT_CONCURRENCY=str(CHILDREN)))
    connection = stack.enter_context(bench.connect())
    workers = {name: fleet.worker(name=name) for name in ("one", "two")}
    fleet.dispatcher()
    time.sleep(LEASE_TTL + 2)
    return Scene(bench=bench, fleet=fleet, network=network, connection=connection, workers=workers)


def child_killed(scene: Scene) -> float:
    """SIGKILL to the process that runs the task, as the kernel sends it when memory is short."""
    task = scene.begun()
    busy = [pid for pid in children(scene.workers[scene.holder(task)].pid) if children(pid)]
    assert len(busy) == 1
    began = time.monotonic()
    os.kill(busy[0], signal.SIGKILL)
    return scene.again(task, since=began)


def worker_terminated(scene: Scene) -> float:
    """SIGTERM to a worker's main process, as a deployment does; another worker is there."""
    task = scene.begun()
    name = scene.holder(task)
    began = time.monotonic()
    scene.workers[name].terminate()
    seconds = scene.again(task, since=began)
    scene.workers[name].wait(timeout=30)
    scene.revive(name)
    return seconds


def worker_killed(scene: Scene) -> float:
    """SIGKILL to a whole worker, as when its host dies; another worker is there."""
    task = scene.begun()
    name = scene.holder(task)
    began = time.monotonic()
    end(scene.workers[name])
    seconds = scene.again(task, since=began)
    scene.revive(name)
    return seconds


def broker_flushed(scene: Scene) -> float:
    """FLUSHALL, and then a new task."""
    began = time.monotonic()
    redis.Redis.from_url(scene.bench.redis_url).flushall()
    return scene.again(scene.insert(), since=began, attempt=1)


def database_crashed(scene: Scene) -> float:
    """A server process is killed, so PostgreSQL ends all others and recovers from its log; then a new task."""
    kept = scene.warmed()
    backend = scene.connection.info.backend_pid
    began = time.monotonic()
    os.kill(backend, signal.SIGKILL)
    scene.connection.close()
    until(lambda: reconnected(scene), what="the database takes connections")
    seconds = scene.again(scene.insert(), since=began, attempt=1)
    carried_on(scene, kept)
    return seconds


def database_cut(scene: Scene) -> float:
    """The database is out of reach; the time counts from the moment that it is back, for a task inserted meanwhile."""
    kept = scene.warmed()
    scene.network.cut()
    waiting = scene.insert()
    time.sleep(OUTAGE)
    scene.network.mend()
    seconds = scene.again(waiting, since=time.monotonic(), attempt=1)
    carried_on(scene, kept)
    return seconds


def reconnected(scene: Scene) -> bool:
    """Whether there is a new connection for us."""
    try:
        scene.connection = scene.bench.connect()
    except psycopg.OperationalError:
        return False
    return True


def carried_on(scene: Scene, task: int) -> None:
    """What ran through an outage is still in its first attempt."""
    assert scene.attempts(task) == 1
    scene.cancel(task)


def lost_rings(scene: Scene) -> list[float]:
    """Tasks wait behind busy workers, FLUSHALL loses their messages, and then the workers are free."""
    busy = [scene.begun() for _ in range(len(scene.workers) * CHILDREN)]
    broker = redis.Redis.from_url(scene.bench.redis_url)
    waiting = [scene.insert() for _ in range(LOST_RINGS)]
    until(lambda: broker.llen("runs") == LOST_RINGS, what="messages wait")
    began = time.monotonic()
    broker.flushall()
    scene.cancel(*busy)
    return [scene.again(task, since=began, attempt=1) for task in waiting]


FAULTS: dict[str, Callable[[Scene], float]] = {
    "kill -9 of a worker's child": child_killed,
    "SIGTERM to a worker (grace 8 s)": worker_terminated,
    "kill -9 of a whole worker (lease 30 s)": worker_killed,
    "FLUSHALL: a new task": broker_flushed,
    "database crash and restart: a new task": database_crashed,
    "database out of reach for 10 s: a task of that time": database_cut,
}
