"""Removing stale uploads and deleted projects: in batches, as a sweep does, and by one DELETE that cascades."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import timedelta
from time import perf_counter
from typing import LiteralString

import psycopg

from bench.measure import Bench, Row, one, wal_position
from db.engine import engine
from worker.maintenance import policies, sweep
from worker.maintenance.sweep import Ended
from worker.settings import Settings

SIZES: Mapping[str, int] = {"a tenth": 10, "all": 1}
"""By what the number of rows is divided: ten times the rows should take about ten times as long."""
UPLOADS: LiteralString = """
INSERT INTO storage.s3_multipart_uploads (id, upload_signature, bucket_id, key, version, created_at)
SELECT 'upload ' || n, 'signature', 'project-files', 'key ' || n, 'version',
    now() - make_interval(days => 1 + n % 2 * 10, secs => n)
FROM generate_series(1, {count} * 2) n;
INSERT INTO storage.s3_multipart_uploads_parts (upload_id, part_number, bucket_id, key, etag, version, size)
SELECT 'upload ' || n, part, 'project-files', 'key ' || n, md5(n::text), 'version', 5242880
FROM generate_series(1, 20) part, generate_series(1, {count} * 2) n
"""
"""Half of them stale; parts lie scattered, as they arrive."""
PROJECTS: LiteralString = """
INSERT INTO auth.users (id) SELECT lpad(to_hex(n), 32, '0')::uuid FROM generate_series(1, 1000) n;
INSERT INTO public.projects (id, user_id, title, status, deleted_at)
SELECT lpad(to_hex(n), 32, '0')::uuid, lpad(to_hex(1 + n % 1000), 32, '0')::uuid, 'Project', 'deleted',
    now() - make_interval(days => 1 + n % 2 * 40, secs => n)
FROM generate_series(1, {count} * 2) n;
INSERT INTO public.messages (project_id, role, content, sequence_number)
SELECT lpad(to_hex(n), 32, '0')::uuid, 'user', '{{"type": "text", "text": "Add a page that says hello"}}', m
FROM generate_series(1, 100) m, generate_series(1, {count} * 2) n;
INSERT INTO public.fragments (id, user_id, project_id, title, template, code, file_path)
SELECT lpad(to_hex(n * 100 + m), 32, '0')::uuid, lpad(to_hex(1 + n % 1000), 32, '0')::uuid,
    lpad(to_hex(n), 32, '0')::uuid, 'Fragment', 'nextjs', repeat('export {{}};', 50), 'page.tsx'
FROM generate_series(1, 20) m, generate_series(1, {count} * 2) n;
INSERT INTO public.fragment_executions (fragment_id, user_id, template, status, stdout)
SELECT lpad(to_hex(n * 100 + 1 + m % 20), 32, '0')::uuid, lpad(to_hex(1 + n % 1000), 32, '0')::uuid, 'nextjs',
    'completed', 'ready'
FROM generate_series(1, 50) m, generate_series(1, {count} * 2) n;
INSERT INTO public.file_uploads (user_id, project_id, file_name, file_path, bucket_name)
SELECT lpad(to_hex(1 + n % 1000), 32, '0')::uuid, lpad(to_hex(n), 32, '0')::uuid, 'file', n || '/' || m, 'project-files'
FROM generate_series(1, 50) m, generate_series(1, {count} * 2) n
"""
"""Half of them deleted long enough ago."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is removed: things with the rows that hang on each."""

    policy: str
    fill: LiteralString
    count: int
    rows: int
    """Rows of each, itself included."""
    single: LiteralString
    """The statement that does the same at once."""


JOBS = (
    Job(
        policy="stale_multipart_uploads",
        fill=UPLOADS,
        count=50_000,
        rows=21,
        single="DELETE FROM storage.s3_multipart_uploads WHERE created_at < now() - interval '7 days'",
    ),
    Job(
        policy="soft_deleted_projects",
        fill=PROJECTS,
        count=5_000,
        rows=221,
        single="DELETE FROM public.projects WHERE deleted_at < now() - interval '30 days'",
    ),
)


@dataclass(slots=True, kw_only=True)
class Found:
    """What one way of doing it took, an entry a repeat."""

    seconds: list[float] = field(default_factory=list)
    longest: list[float] = field(default_factory=list)
    """Milliseconds of the longest transaction."""
    wal: list[float] = field(default_factory=list)
    """Bytes."""


def measure(bench: Bench) -> Iterator[Row]:
    """Each job at each size, both ways on copies of one database."""
    for job in JOBS:
        for name, divisor in SIZES.items():
            smaller = replace(job, count=job.count // divisor)
            yield from compared(bench, smaller, f"{job.policy}, {name}")


def compared(bench: Bench, job: Job, name: str) -> Iterator[Row]:
    """Both ways take turns."""
    ours, single = Found(), Found()
    with bench.copied() as filled:
        fill(filled, job)
        source = replace(filled, template=filled.url)
        for _ in range(bench.repeats):
            with source.copied() as copy:
                in_batches(copy, job, ours)
            with source.copied() as copy:
                at_once(copy, job, single)
    rows = job.count * job.rows
    yield from both(f"{name}: rows", [[rows / each for each in way.seconds] for way in (single, ours)], "rows/s")
    yield from both(f"{name}: longest transaction", [way.longest for way in (single, ours)], "ms")
    yield from both(f"{name}: WAL", [[each / rows for each in way.wal] for way in (single, ours)], "bytes/row")


def both(name: str, values: list[list[float]], unit: str) -> tuple[Row, Row]:
    """What the single DELETE took, and beside it what a sweep did."""
    single = Row.of("purge", f"{name}, single DELETE", values[0], unit)
    return single, Row.of("purge", f"{name}, in batches", values[1], unit, against=single)


def fill(bench: Bench, job: Job) -> None:
    """Twice as many as there are to remove, quickly, and with their statistics known."""
    with bench.connect() as connection:
        connection.execute("SET session_replication_role = replica")  # rows come in without foreign keys being checked
        for statement in job.fill.format(count=job.count).split(";\n"):
            connection.execute(statement.encode())
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")


def in_batches(bench: Bench, job: Job, found: Found) -> None:
    """A sweep, without its pauses, which are for others' sake."""
    policy = policies.named(Settings(_env_file=None), job.policy)
    with ExitStack() as stack:
        watching = stack.enter_context(bench.connect())
        database = engine(bench.url)
        stack.callback(database.dispose)
        before = wal_position(watching)
        unhurried = replace(policy, pause=timedelta(), budget=timedelta(hours=1))
        report = sweep.carry_out(unhurried, database)
        assert (report.ended, report.removed) == (Ended.DONE, job.count), report
        found.seconds.append(report.seconds)
        found.longest.append(1000 * report.longest)
        found.wal.append(wal_position(watching) - before)
        left_over(watching, job)


def at_once(bench: Bench, job: Job, found: Found) -> None:
    """One statement, whose cascades do the rest."""
    with bench.connect() as connection:
        before, began = wal_position(connection), perf_counter()
        connection.execute(job.single)
        seconds = perf_counter() - began
        found.seconds.append(seconds)
        found.longest.append(1000 * seconds)
        found.wal.append(wal_position(connection) - before)
        left_over(connection, job)


def left_over(connection: psycopg.Connection, job: Job) -> None:
    """As many are left as were to stay, with all their rows."""
    uploads = (
        "SELECT (SELECT count(*) FROM storage.s3_multipart_uploads) + count(*) FROM storage.s3_multipart_uploads_parts"
    )
    projects = """SELECT (SELECT count(*) FROM public.projects) + (SELECT count(*) FROM public.messages)
        + (SELECT count(*) FROM public.fragments) + (SELECT count(*) FROM public.fragment_executions)
        + (SELECT count(*) FROM public.file_uploads)"""
    counted: LiteralString = uploads if job.fill is UPLOADS else projects
    assert one(connection.execute(counted)) == job.count * job.rows
