"""Machines of a provider's: whichever way their attempt ends, none is forgotten, and none that is in use is taken."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from db.engine import Database
from db.queries import queue, sandboxes
from tests.integration.queue.conftest import finish, recover
from tests.support.rows import Rows

Claiming = Callable[..., queue.Claim]


def made(database: Database, claimed: queue.Claim, sandbox: str = "m1") -> str | None:
    return queue.record_sandbox(
        database, claimed.task_id, fence=claimed.fence, sandbox=sandbox, url=f"https://{sandbox}.test"
    )


def stray(rows: Rows) -> list[str]:
    """Those that maintenance would end now."""
    engine = create_engine(rows.url.replace("postgresql://", "postgresql+psycopg://"))
    try:
        with Session(engine) as session:
            return sandboxes.stray(session, 10, after=None)
    finally:
        engine.dispose()


def lapse(database: Database, rows: Rows, claimed: queue.Claim) -> None:
    rows.age_lease(claimed.task_id)
    recover(database)


def give_back(database: Database, _: Rows, claimed: queue.Claim) -> None:
    queue.give_back(
        database, claimed.task_id, fence=claimed.fence, cause="shutdown", bound=0, delay=timedelta(), entries=[]
    )


def delete(database: Database, rows: Rows, claimed: queue.Claim) -> None:
    rows.execute("DELETE FROM public.tasks")
    recover(database)
    queue.abandon(database, claimed.task_id, fence=claimed.fence)


ENDS: dict[str, Callable[[Database, Rows, queue.Claim], object]] = {
    "finished": lambda database, _, claimed: finish(database, claimed),
    "given back": give_back,
    "lapsed": lapse,
    "deleted": delete,
}


@pytest.mark.parametrize("end", ENDS)
def test_a_machine_is_stray_as_soon_as_its_attempt_is_over_and_not_before(
    database: Database, rows: Rows, claim: Claiming, end: str
) -> None:
    claimed = claim(rows.task())
    assert made(database, claimed) is None
    assert stray(rows) == []

    ENDS[end](database, rows, claimed)
    assert stray(rows) == ["m1"]
    queue.forget_sandbox(database, fence=claimed.fence, sandbox="m1")
    assert rows.execute("SELECT * FROM worker.sandboxes") == []


def test_the_next_attempts_machine_is_none_of_the_last_ones(database: Database, rows: Rows, claim: Claiming) -> None:
    task = rows.task()
    first = claim(task)
    made(database, first, "old")
    lapse(database, rows, first)
    second = claim(task)
    made(database, second, "new")

    assert stray(rows) == ["old"]
    queue.forget_sandbox(database, fence=first.fence, sandbox="new")
    assert len(rows.execute("SELECT * FROM worker.sandboxes")) == 2, "only who made it may strike it off"


def test_a_machine_that_came_too_late_is_noted_all_the_same_and_its_address_is_not_written(
    database: Database, rows: Rows, claim: Claiming
) -> None:
    task = rows.task()
    first = claim(task)
    lapse(database, rows, first)

    assert made(database, first) == "lost"
    assert stray(rows) == ["m1"]
    assert rows.execute("SELECT sandbox_url FROM public.tasks")[0]["sandbox_url"] is None
