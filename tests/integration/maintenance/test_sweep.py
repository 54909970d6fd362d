"""The sweep itself: batches in transactions of their own, their size, its bounds, rehearsals, what it may not do."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import timedelta
from threading import Barrier

import psycopg
import pytest
from sqlalchemy import Engine
from sqlalchemy import text as statement
from sqlalchemy.orm import Session

from db.engine import engine as engine_of
from db.queries.maintenance import LOCKED, Expired, Removed, Right
from db.url import DatabaseUrl
from tests.support.auth import Auth, policy
from tests.support.rows import Rows
from worker.maintenance.retention import RetentionPolicy
from worker.maintenance.sweep import Bounds, Ended, Report, carry_out, preview, resized

Swept = Callable[..., Report]
SESSIONS = replace(policy("expired_sessions"), first=100, pause=timedelta())
HUNDREDS = replace(SESSIONS, largest=100, transaction=timedelta(minutes=1))
"""In batches of a hundred, however slow the machine is."""


@dataclass(slots=True)
class Slow:
    """A batch whose things take so many milliseconds each, in the database."""

    each: float
    left: int
    sizes: list[int] = field(default_factory=list)
    rights: tuple[Right, ...] = ()

    def remove(self, session: Session, size: int, after: int | None) -> Removed:
        self.sizes.append(size)
        session.execute(statement("SELECT pg_sleep(:seconds)"), {"seconds": self.each * size / 1000})
        self.left -= size
        return Removed(count=size, last=(after or 0) + size if self.left > 0 else None)

    def expired(self, session: Session) -> Expired:  # noqa: ARG002 - the protocol's
        return Expired(count=max(0, self.left), oldest=None)


def slow(batch: Slow, **values: object) -> RetentionPolicy:
    made = RetentionPolicy(name="slow", why="A test's.", batch=batch, kept="never", pause=timedelta())
    return replace(made, **values)  # type: ignore[arg-type]


def test_everything_expired_goes_batch_by_batch(auth: Auth, engine: Engine) -> None:
    auth.many(1000)
    auth.many(10, expired=False)
    told: list[int] = []

    report = carry_out(HUNDREDS, engine, Bounds(progress=told.append))

    assert (report.removed, report.ended, report.remaining, report.skipped) == (1000, Ended.DONE, 0, {})
    assert told[:10] == list(range(100, 1001, 100))
    assert len(auth.sessions()) == 10
    assert report.seconds >= report.longest > 0


def test_each_batch_is_a_transaction_of_its_own(auth: Auth, engine: Engine, rows: Rows) -> None:
    auth.many(300)
    seen: list[int] = []

    carry_out(HUNDREDS, engine, Bounds(progress=lambda _: seen.append(len(auth.sessions()))))

    assert seen[:3] == [200, 100, 0]


def test_sessions_that_expired_in_the_same_moment_all_go(auth: Auth, engine: Engine, rows: Rows) -> None:
    auth.many(350)
    rows.execute("UPDATE auth.sessions SET not_after = '2020-01-01'")

    assert carry_out(HUNDREDS, engine).removed == 350


def test_a_session_that_somebody_holds_is_left_to_them_and_told(auth: Auth, engine: Engine, rows: Rows) -> None:
    held, _ = auth.session(expired=100), auth.session(expired=101)
    with psycopg.connect(rows.connection.info.dsn, password=rows.connection.info.password) as holder:
        holder.execute("SELECT FROM auth.sessions WHERE id = %s FOR UPDATE", [held])
        report = carry_out(SESSIONS, engine)

    assert (report.removed, report.skipped, report.remaining) == (1, {LOCKED: 1}, 1)
    assert auth.sessions() == {held}
    assert carry_out(SESSIONS, engine).removed == 1


def test_a_session_whose_token_somebody_keeps_is_passed_over_and_the_rest_goes(
    auth: Auth, engine: Engine, rows: Rows
) -> None:
    """The cascade waits for the token shortly, then lets go of everything: smaller batches find whose it is."""
    auth.many(50)
    held = auth.session(expired=24 * 30)  # among the others, and not the first
    token = auth.token(held, updated=1, revoked=False)
    with psycopg.connect(rows.connection.info.dsn, password=rows.connection.info.password) as gotrue:
        gotrue.execute("SELECT FROM auth.refresh_tokens WHERE id = %s FOR UPDATE", [token])
        report = carry_out(HUNDREDS, engine)

    assert (report.ended, report.removed, report.remaining) == (Ended.DONE, 50, 1)
    assert report.skipped == {LOCKED: 1}
    assert auth.sessions() == {held}
    assert carry_out(SESSIONS, engine).removed == 1


def test_a_table_that_somebody_keeps_ends_the_sweep(auth: Auth, engine: Engine, rows: Rows) -> None:
    auth.many(50)
    with psycopg.connect(rows.connection.info.dsn, password=rows.connection.info.password) as holder:
        holder.execute("LOCK TABLE auth.refresh_tokens IN EXCLUSIVE MODE")
        report = carry_out(SESSIONS, engine)
    with psycopg.connect(rows.connection.info.dsn, password=rows.connection.info.password) as holder:
        holder.execute("LOCK TABLE auth.sessions IN ACCESS EXCLUSIVE MODE")
        closed = carry_out(SESSIONS, engine)

    assert (report.ended, report.removed) == (Ended.BUSY, 0)
    assert (closed.ended, closed.removed, closed.remaining) == (Ended.BUSY, 0, None)
    assert carry_out(SESSIONS, engine).removed == 50


@pytest.mark.parametrize(
    ("size", "took", "expected"),
    [
        (100, 0.1, 100),
        (100, 0.05, 200),
        (100, 0.001, 200),
        (100, 0.2, 50),
        (100, 9, 25),
        (1, 9, 1),
        (8_000, 0.05, 9000),
    ],
)
def test_the_next_batch_is_as_large_as_fits_but_grows_and_shrinks_gently(size: int, took: float, expected: int) -> None:
    assert resized(size, took=took, policy=replace(SESSIONS, largest=9000)) == expected


def test_batches_become_as_large_as_the_transactions_time_allows(engine: Engine) -> None:
    batch = Slow(each=1, left=1000)
    carry_out(slow(batch, first=10), engine)
    assert batch.sizes[:2] == [10, 20]
    assert max(batch.sizes) <= 110, batch.sizes  # a busy machine makes them smaller, and nothing larger

    batch = Slow(each=1, left=600)
    carry_out(slow(batch, first=300), engine)
    assert max(batch.sizes[1:]) <= 110, batch.sizes


def test_no_batch_is_larger_than_the_policy_allows_not_even_the_first(engine: Engine) -> None:
    batch = Slow(each=1, left=200)
    carry_out(replace(slow(batch, first=100), largest=30), engine)

    assert max(batch.sizes) == 30


def test_a_batch_that_takes_far_too_long_is_undone_and_tried_smaller(engine: Engine) -> None:
    batch = Slow(each=1, left=500)
    report = carry_out(slow(batch, first=5000), engine)

    assert batch.sizes[:3] == [5000, 1250, 312]
    assert report.ended is Ended.DONE
    assert report.longest < 3  # the first would have taken five


def test_one_thing_alone_may_take_longer(engine: Engine) -> None:
    report = carry_out(slow(Slow(each=700, left=1), first=1), engine)

    assert (report.removed, report.ended) == (1, Ended.DONE)


def test_a_sweep_ends_at_its_limit_its_budget_and_when_it_is_told_to(auth: Auth, engine: Engine) -> None:
    auth.many(1000)
    stopped_at: list[int] = []
    bounds = Bounds(stop=lambda: bool(stopped_at), progress=stopped_at.append)

    limited = carry_out(SESSIONS, engine, Bounds(limit=150))
    assert (limited.removed, limited.ended, limited.remaining) == (150, Ended.LIMIT, 850)
    stopped = carry_out(SESSIONS, engine, bounds)
    assert (stopped.removed, stopped.ended, stopped.remaining) == (100, Ended.STOPPED, 750)
    short = carry_out(replace(SESSIONS, budget=timedelta(microseconds=1)), engine)
    assert (short.ended, short.remaining) == (Ended.BUDGET, 750 - short.removed)
    assert carry_out(SESSIONS, engine).ended is Ended.DONE
    assert auth.sessions() == set()


def test_a_preview_counts_and_names_and_deletes_nothing(auth: Auth, engine: Engine) -> None:
    auth.many(20)
    oldest = auth.session(expired=24 * 400)

    found = preview(SESSIONS, engine)

    assert found.count == 21
    assert found.oldest
    assert found.sample[0].startswith(str(oldest))
    assert len(found.sample) == 5
    assert len(auth.sessions()) == 21


def test_sweeps_side_by_side_remove_each_thing_once(auth: Auth, owner_url: DatabaseUrl) -> None:
    auth.many(2000)
    engines = [engine_of(owner_url) for _ in range(3)]
    begin = Barrier(3)

    def one(engine: Engine) -> Report:
        begin.wait()
        return carry_out(replace(SESSIONS, largest=50), engine)

    with ThreadPoolExecutor(3) as pool:
        reports = list(pool.map(one, engines))
    last = carry_out(SESSIONS, engines[0])

    assert sum(report.removed for report in [*reports, last]) == 2000
    assert {report.ended for report in reports} == {Ended.DONE}
    assert auth.sessions() == set()
    for engine in engines:
        engine.dispose()


# A role that lacks rights.


@pytest.fixture
def janitor(owner_url: DatabaseUrl, rows: Rows) -> Iterator[Engine]:
    """A role of its own that may log in and nothing else."""
    rows.execute("DROP ROLE IF EXISTS janitor")
    rows.execute("CREATE ROLE janitor LOGIN PASSWORD 'of-a-test'")
    made = engine_of(owner_url.as_role("janitor", "of-a-test"))
    yield made
    made.dispose()
    rows.execute("DROP OWNED BY janitor")
    rows.execute("DROP ROLE janitor")


def test_what_a_role_lacks_is_told_as_the_statements_that_give_it(auth: Auth, janitor: Engine, rows: Rows) -> None:
    """Each is carried out as it stands, and then nothing lacks: row security would have hidden every row."""
    session = auth.session(expired=100)
    report = carry_out(SESSIONS, janitor)

    assert (report.ended, report.removed, report.remaining) == (Ended.REFUSED, 0, None)
    assert [line.split(" -- as ")[0] for line in report.advice] == [
        "GRANT USAGE ON SCHEMA auth TO janitor;",
        "GRANT SELECT, UPDATE, DELETE ON auth.sessions TO janitor;",
        "CREATE POLICY maintenance ON auth.sessions TO janitor USING (true);",
    ]
    assert auth.sessions() == {session}
    for line in report.advice:
        rows.connection.execute(line.encode())
    assert carry_out(SESSIONS, janitor).removed == 1


def test_a_policy_that_is_refused_does_not_stop_another(auth: Auth, janitor: Engine, rows: Rows) -> None:
    rows.execute("GRANT USAGE ON SCHEMA auth TO janitor")
    rows.execute("GRANT SELECT, UPDATE, DELETE ON auth.refresh_tokens TO janitor")
    rows.execute("CREATE POLICY janitor ON auth.refresh_tokens TO janitor USING (true)")
    auth.token(auth.session(expired=100), updated=24 * 31, revoked=True)

    assert carry_out(SESSIONS, janitor).ended is Ended.REFUSED
    assert carry_out(policy("revoked_refresh_tokens"), janitor).removed == 1


def test_a_database_that_refuses_halfway_is_told_in_its_own_words(auth: Auth, engine: Engine, rows: Rows) -> None:
    auth.session(expired=100)
    rows.execute(
        """CREATE FUNCTION public.protect() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION 'Direct deletion is not allowed' USING ERRCODE = '42501'; END $$"""
    )
    rows.execute("CREATE TRIGGER protect BEFORE DELETE ON auth.sessions EXECUTE FUNCTION public.protect()")

    report = carry_out(SESSIONS, engine)

    assert (report.ended, report.refused) == (Ended.REFUSED, "Direct deletion is not allowed")


def test_the_workers_own_role_may_not_clean_up(auth: Auth, worker_url: DatabaseUrl) -> None:
    engine = engine_of(worker_url)
    report = carry_out(SESSIONS, engine)
    engine.dispose()

    assert report.ended is Ended.REFUSED
    assert "GRANT USAGE ON SCHEMA auth TO task_worker;" in report.advice[0]


def test_nothing_of_the_limits_stays_with_a_pooled_connection(auth: Auth, engine: Engine) -> None:
    with engine.connect() as connection:
        before = [connection.execute(statement(f"SHOW {name}")).scalar() for name in LIMITS]
    carry_out(SESSIONS, engine)
    with engine.connect() as connection:
        assert [connection.execute(statement(f"SHOW {name}")).scalar() for name in LIMITS] == before


LIMITS = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
