"""Tasks a second from pending to completed, beside bare Celery at the same settings and beside other queues."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace

from bench.fleet import NOTHING, Fleet, until
from bench.measure import Bench, Row, one

TASKS, USERS = 3_000, 100
PEER_TASKS = {"procrastinate": 2_000, "pgqueuer-1": 2_000, "pgqueuer-100": 10_000}
REHEARSALS = 40
CHILDREN = "2"
"""Processes that run tasks, ours and bare Celery's."""
LEFT = "SELECT count(*) FROM public.tasks WHERE status IN ('pending', 'processing')"
DO_NOTHING = "rehearse: pause 0\nrehearse: change nothing"

OURS, BARE, BARE_BEFORE = "codingit-worker", "Celery, sent meanwhile", "Celery, sent before"
REHEARSAL = "codingit-worker, whole runs with agent rehearsal"
PEERS = {
    "procrastinate": "procrastinate",
    "pgqueuer-1": "pgqueuer, one at a time",
    "pgqueuer-100": "pgqueuer, batches of 100",
}


def measure(bench: Bench) -> Iterator[Row]:
    """All contenders take turns, so that a slow minute of the machine is everybody's."""
    rates: dict[str, list[float]] = {}
    with ExitStack() as stack:
        contenders = started(bench, stack)
        for _ in range(bench.repeats):
            for name, rate in contenders.items():
                rates.setdefault(name, []).append(rate())
    rehearsed = [rehearsals(bench) for _ in range(bench.repeats)]
    bare, before = row(BARE, rates[BARE]), row(BARE_BEFORE, rates[BARE_BEFORE])
    ours = row(OURS, rates[OURS], against=bare)
    yield from (bare, before, ours, row(OURS, rates[OURS], against=before))
    yield from (row(name, rates[name], against=ours) for name in PEERS.values())
    yield row(REHEARSAL, rehearsed, against=ours)


def row(case: str, rates: list[float], *, against: Row | None = None) -> Row:
    """Tasks a second."""
    return Row.of("throughput", case, rates, "tasks/s", against=against)


def started(bench: Bench, stack: ExitStack) -> dict[str, Callable[[], float]]:
    """Whoever is measured, ready to work: ours and bare Celery each on a broker's database of its own."""
    ours = stack.enter_context(Fleet(bench, CODINGIT_CONCURRENCY=CHILDREN))
    ours.worker(NOTHING)
    ours.dispatcher()
    other = replace(bench, redis_url=bench.redis_url.removesuffix("/0") + "/1")
    bare = stack.enter_context(Fleet(other, CODINGIT_CONCURRENCY=CHILDREN))
    bare.worker("bench.bare")
    peers = stack.enter_context(Fleet(bench, ADMIN_DATABASE_URL=stack.enter_context(bench.copied()).url.libpq))
    return {
        OURS: lambda: completed(bench, users=USERS, each=TASKS // USERS),
        BARE: lambda: TASKS / bare.ask("bench.bare", "sent-meanwhile", str(TASKS)),
        BARE_BEFORE: lambda: TASKS / bare.ask("bench.bare", "sent-before", str(TASKS)),
    } | {PEERS[name]: asked(peers, name) for name in PEERS}


def asked(peers: Fleet, name: str) -> Callable[[], float]:
    """How a peer is measured."""
    count = PEER_TASKS[name]
    return lambda: count / peers.ask("bench.peers", name, str(count))


def completed(bench: Bench, *, users: int, each: int, prompt: str = "bench") -> float:
    """Tasks a second, from the commit of the rows to the end of the last task, by the database's clock."""
    with bench.connect() as connection:
        bench.run_of_tasks(users=users, each=each, prompt=prompt)
        connection.execute("CREATE TEMP TABLE began AS SELECT clock_timestamp() AS at")
        until(lambda: one(connection.execute(LEFT)) == 0, within=180, every=0.05, what="tasks completed")
        seconds = connection.execute(
            "SELECT extract(epoch FROM max(r.finished_at) - min(began.at)) FROM worker.runs r, began"
        ).fetchone()
        failed = one(connection.execute("SELECT count(*) FROM public.tasks WHERE status <> 'completed'"))
        connection.execute("DROP TABLE began")
    assert seconds
    assert not failed
    return users * each / float(seconds[0])


def rehearsals(bench: Bench) -> float:
    """Whole runs a second: a workspace, a supervised agent process, its log, and no repository."""
    with Fleet(bench, CODINGIT_CONCURRENCY=CHILDREN) as fleet:
        fleet.worker()
        fleet.dispatcher()
        return completed(bench, users=REHEARSALS // 4, each=4, prompt=DO_NOTHING)
