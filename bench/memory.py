"""What the system takes while it waits: memory of each process, and statements and commands a second."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import psycopg
import redis

from bench.fleet import Fleet, Process, children, descendants, until
from bench.measure import Bench, Row, one
from worker.local.child import free_port

CHILDREN = 4
"""The default of CODINGIT_CONCURRENCY."""
WINDOW = 10.0
"""Seconds over which statements are counted."""
SETTLE = 12.0
"""Seconds until what happened before is in the database's counters."""
QUICK = "rehearse: pause 0\nrehearse: change nothing"
LONG = "rehearse: sleep 120\nrehearse: change nothing"
FLOWER = ("celery", "-A", "worker.app", "flower", "--conf=worker/monitoring/flowerconfig.py")
MB = 1_000_000


def measure(bench: Bench) -> Iterator[Row]:
    """The processes of the Procfile at their default settings, after each child has run something."""
    with fleet(bench) as started, bench.connect() as connection:
        processes = all_of(started)
        run(bench, connection)
        worker = children(processes["worker"].pid)
        assert len(worker) == CHILDREN
        idle = Row.of("memory", "worker child, idle, USS", [memory(pid, "Private") for pid in worker], "MB")
        yield idle
        for name, process in processes.items():
            main = [memory(process.pid, "Private")]
            yield Row.of("memory", f"{name}{' main' if children(process.pid) else ''}, idle, USS", main, "MB")
        yield Row.of("memory", "whole idle system, PSS", [total(processes)], "MB")
        yield from rates(bench, connection)
        yield from busy(bench, connection, worker, idle)


def fleet(bench: Bench) -> Fleet:
    """Processes at the default settings; Flower asks for a password and a port."""
    return Fleet(bench, CODINGIT_FLOWER_AUTH="bench:bench-password", CODINGIT_FLOWER_ADDRESS=f"127.0.0.1:{free_port()}")


def all_of(started: Fleet) -> Mapping[str, Process]:
    """Every long-lived process of the Procfile."""
    return {
        "worker": started.worker(),
        "dispatcher": started.dispatcher(),
        "maintenance": maintenance(started),
        "beat": started.start("celery", "-A", "worker.app", "beat", ready="Starting"),
        "flower": started.start(*FLOWER, ready="Connected to"),
    }


def maintenance(started: Fleet) -> Process:
    """The worker of the other queue, with its one child."""
    argv = ("celery", "-A", "worker.app", "worker", "-Q", "maintenance", "-n", "maintenance@bench", "-c", "1")
    return started.start(*argv, ready="ready.")


def run(bench: Bench, connection: psycopg.Connection) -> None:
    """Let every child run something, so that each has its connection."""
    bench.run_of_tasks(users=4 * CHILDREN, each=1, prompt=QUICK)
    left = "SELECT count(*) FROM public.tasks WHERE status <> 'completed'"
    until(lambda: one(connection.execute(left)) == 0, every=0.1, what="tasks completed")
    time.sleep(SETTLE)


def rates(bench: Bench, connection: psycopg.Connection) -> Iterator[Row]:
    """What an idle system asks of the database and of the broker."""
    statements, commands = [], []
    broker = redis.Redis.from_url(bench.redis_url)
    for _ in range(bench.repeats):
        before = asked(connection), processed(broker)
        began = time.monotonic()
        time.sleep(WINDOW)
        seconds = time.monotonic() - began
        statements.append((asked(connection) - before[0]) / seconds)
        commands.append((processed(broker) - before[1]) / seconds)
    yield Row.of("memory", "whole idle system, PostgreSQL", statements, "statements/s")
    yield Row.of("memory", "whole idle system, Redis", commands, "commands/s")


def asked(connection: psycopg.Connection) -> int:
    """Transactions of this database so far, each of which is one statement; ours are a few in a window."""
    connection.execute("SELECT pg_stat_force_next_flush()")
    counted = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"
    return one(connection.execute(counted))


def processed(broker: redis.Redis) -> int:
    """Commands that the broker has carried out."""
    info = broker.info("stats")
    assert isinstance(info, dict)
    return int(info["total_commands_processed"])


def busy(bench: Bench, connection: psycopg.Connection, worker: list[int], idle: Row) -> Iterator[Row]:
    """Each child with a run in its hands, and what that run's own processes take besides."""
    bench.run_of_tasks(users=CHILDREN, each=1, prompt=LONG)
    running = "SELECT count(*) FROM public.tasks WHERE status = 'processing'"
    until(lambda: one(connection.execute(running)) == CHILDREN, what="every child is busy")
    time.sleep(5)
    yield Row.of("memory", "worker child, busy, USS", [memory(pid, "Private") for pid in worker], "MB", against=idle)
    agents = [sum(memory(each, "Private") for each in descendants(pid)) for pid in worker]
    yield Row.of("memory", "supervisor and rehearsal agent of one run, USS", agents, "MB")


def total(processes: Mapping[str, Process]) -> float:
    """Megabytes of all processes and their children; what several share counts once."""
    everyone = [pid for process in processes.values() for pid in (process.pid, *descendants(process.pid))]
    return sum(memory(pid, "Pss") for pid in everyone)


def memory(pid: int, kind: str) -> float:
    """Megabytes of a process: `Private` is its own alone (USS), `Pss` that and its share of what it shares."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    counted = (f"{kind}_Clean:", f"{kind}_Dirty:") if kind == "Private" else (f"{kind}:",)
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(counted)) / MB
