"""The lease of a run: what it does when answers are lost, when it was away, and when the database is."""

import os
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from time import monotonic

import pytest

from db.engine import Database
from db.queries import queue
from db.url import DatabaseUrl
from tests.integration.queue.conftest import recover
from tests.support.proxy import Proxy, proxied
from tests.support.rows import Rows
from worker.errors import Cause, LeaseLost, RunInterrupted
from worker.run.journal import Journal
from worker.run.lease import Lease
from worker.run.redaction import Redactor
from worker.run.shutdown import Notice
from worker.run.transcript import Transcript
from worker.settings import Settings

PUSH = queue.Pushed(branch="b", head="a" * 40, base=None)


@pytest.fixture
def through(worker_url: DatabaseUrl) -> Iterator[tuple[Proxy, Database]]:
    """A worker's connection that can be cut."""
    with proxied(worker_url.libpq) as (proxy, url), Database(DatabaseUrl.parse(url)) as database:
        yield proxy, database


@pytest.fixture
def told() -> Iterator[tuple[Notice, int]]:
    """A notice of shutdown, and where to write to give it."""
    heard, telling = os.pipe()
    yield Notice(heard), telling
    os.close(heard)
    os.close(telling)


def leased(database: Database, task: int, notice: Notice, **settings: timedelta) -> Lease:
    claim = queue.claim(
        database, task, holder="w", celery_id=None, ttl=timedelta(seconds=30), per_user=5, prompt_limit=100
    )
    assert claim
    chosen = Settings(_env_file=None).model_copy(update={"tick": timedelta(milliseconds=1), **settings})
    return Lease(claim, database, settings=chosen, notice=notice)


def taken_over(rows: Rows, database: Database, task: int) -> None:
    """The lease lapses, and another attempt has the task."""
    rows.age_lease(task)
    recover(database)
    assert queue.claim(
        database, task, holder="x", celery_id=None, ttl=timedelta(seconds=30), per_user=5, prompt_limit=100
    )


def test_whoever_was_away_for_long_asks_before_it_acts(
    database: Database, rows: Rows, told: tuple[Notice, int]
) -> None:
    task = rows.task()
    lease = leased(database, task, told[0])
    taken_over(rows, database, task)
    lease.assure()  # a moment ago it was ours, and that is good enough

    lease._answered = monotonic() - 20

    with pytest.raises(LeaseLost) as lost:
        lease.assure()
    assert lost.value.reason == "lost"


def test_a_lease_that_was_late_and_is_still_ours_goes_on(
    database: Database, rows: Rows, told: tuple[Notice, int]
) -> None:
    task = rows.task()
    lease = leased(database, task, told[0])
    rows.age_lease(task)
    lease._answered = monotonic() - 20

    lease.assure()

    assert recover(database) == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("DELETE FROM public.tasks", "gone"),
        ("UPDATE public.tasks SET status = 'error'", "taken"),
        ("UPDATE worker.leases SET fence = fence + 1000", "lost"),
    ],
)
def test_every_way_to_lose_it_is_told_apart(
    database: Database, rows: Rows, told: tuple[Notice, int], change: str, reason: str
) -> None:
    lease = leased(database, rows.task(), told[0])
    rows.connection.execute(change)
    for write in (lease.keep, lambda: lease.name_branch("b"), lambda: lease.record_push(PUSH)):
        lease._next_tick = 0
        with pytest.raises(LeaseLost) as lost:
            write()
        assert lost.value.reason == reason


def test_a_batch_whose_answer_was_lost_is_written_once(
    through: tuple[Proxy, Database], rows: Rows, told: tuple[Notice, int], tmp_path: Path
) -> None:
    proxy, database = through
    task = rows.task()
    lease = leased(database, task, told[0])
    journal = Journal(Transcript(tmp_path / "1" / "1.gz", redactor=Redactor(())), lease)
    journal.say("info", "one")
    batch = journal.transcript.batch(monotonic())
    assert batch
    with proxy.losing_answers():
        assert lease.append(batch, progress=20) is None
    assert rows.messages(task) == ["one"], "it had been written all the same"
    journal.say("info", "two")

    ended = lease.finish("completed", batch=journal.last("success", "three"), error=None, usage={})

    assert ended == "completed"
    assert rows.messages(task) == ["one", "two", "three"]


def test_an_end_whose_answer_was_lost_is_asked_for_again(
    through: tuple[Proxy, Database], rows: Rows, told: tuple[Notice, int]
) -> None:
    proxy, database = through
    task = rows.task()
    lease = leased(database, task, told[0])
    with proxy.losing_answers(mend_after=1):
        assert lease.finish("completed", batch=None, error=None, usage={}) == "completed"

    assert rows.status(task) == "completed"
    assert [run["outcome"] for run in rows.runs(task)] == ["completed"]


def test_a_give_back_whose_answer_was_lost_is_done_once(
    through: tuple[Proxy, Database], rows: Rows, told: tuple[Notice, int]
) -> None:
    proxy, database = through
    task = rows.task()
    lease = leased(database, task, told[0])
    with proxy.losing_answers(mend_after=1):
        lease.give_back(RunInterrupted(Cause.SHUTDOWN), batch=None)

    found = rows.lease(task)
    assert found
    assert (rows.status(task), found["interruptions"]) == ("pending", 1)


def test_what_was_used_is_noted_however_long_the_database_is_away(
    through: tuple[Proxy, Database], rows: Rows, told: tuple[Notice, int]
) -> None:
    proxy, database = through
    task = rows.task()
    lease = leased(database, task, told[0])
    proxy.cut()
    mending = threading.Timer(1.5, proxy.mend)
    mending.start()
    lease.must_record_usage({"gateway_tokens": 7})
    mending.join()

    assert rows.runs(task)[-1]["usage"] == {"gateway_tokens": 7}


def test_a_run_outlives_an_outage_and_not_a_longer_one_than_its_limit(
    through: tuple[Proxy, Database], rows: Rows, told: tuple[Notice, int]
) -> None:
    proxy, database = through
    lease = leased(database, rows.task(), told[0], unrenewed_limit=timedelta(seconds=60))
    proxy.cut()
    lease.keep()

    lease._answered = monotonic() - 61
    lease._next_tick = 0
    with pytest.raises(LeaseLost) as lost:
        lease.keep()
    assert lost.value.reason == "unrenewed"


def test_a_worker_that_shuts_down_does_not_wait_for_a_database_that_is_away(
    through: tuple[Proxy, Database], rows: Rows, told: tuple[Notice, int]
) -> None:
    proxy, database = through
    lease = leased(database, rows.task(), told[0], grace=timedelta(milliseconds=1))
    proxy.cut()
    os.write(told[1], b".")
    told[0].given()
    told[0]._since = monotonic() - 5

    with pytest.raises(LeaseLost):
        lease.give_back(RunInterrupted(Cause.SHUTDOWN), batch=None)


def test_the_notice_of_a_shutdown_is_heard_at_once_and_counts_from_then(told: tuple[Notice, int]) -> None:
    notice, telling = told
    assert not notice.given()
    threading.Timer(0.1, os.write, (telling, b".")).start()

    notice.wait(timedelta(minutes=10))
    assert notice.given()
    assert not notice.over(timedelta(minutes=1))
    assert notice.over(timedelta())
