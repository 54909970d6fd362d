"""Beat and the maintenance worker: what killed workers left behind is removed, and a second beat does no harm."""

import subprocess
from collections.abc import Callable

import pytest

import beat_schedule
from db.url import DatabaseUrl
from tests.support.auth import Auth
from tests.support.fleet import Fleet, until
from tests.support.rows import Rows

Started = Callable[[str], subprocess.Popen[bytes]]


@pytest.fixture
def maintenance(fleet: Fleet, owner_url: DatabaseUrl) -> Started:
    """Starts a maintenance worker with an address of its own, as the owner; ready when it returns."""

    def started(name: str) -> subprocess.Popen[bytes]:
        words = ("celery", "-A", "worker.app", "worker", "-Q", "maintenance", "-n", f"{name}@test", "-c", "1")
        worker = fleet.start(*words, MAINTENANCE_DATABASE_URL=owner_url.libpq)
        until(lambda: b"ready" in fleet.log_of(worker), within=30, what=fleet.text())
        return worker

    return started


def test_a_maintenance_worker_removes_the_workspaces_that_nobody_holds(fleet: Fleet) -> None:
    abandoned = fleet.state / "workspaces" / "1-2" / "work"
    abandoned.mkdir(parents=True)
    worker = fleet.start(
        *("celery", "-A", "worker.app", "worker", "-Q", "maintenance", "-n", "maintenance@test", "-c", "1")
    )
    until(lambda: b"ready" in fleet.log_of(worker), within=30, what=fleet.text())
    fleet.start("celery", "-A", "worker.app", "call", "maintenance.sweep", "-a", '["workspaces"]')

    until(lambda: not abandoned.exists(), within=20, what=fleet.text())


def test_two_beats_on_one_host_are_harmless(fleet: Fleet) -> None:
    beats = [fleet.start("celery", "-A", "worker.app", "beat") for _ in range(2)]
    until(lambda: all(b"Starting..." in fleet.log_of(beat) for beat in beats), within=30, what=fleet.text())

    for beat in beats:
        assert beat.poll() is None, fleet.text()
        assert fleet.terminate(beat) == 0


def test_what_is_due_is_done_once_by_two_beats_and_two_workers(fleet: Fleet, maintenance: Started, rows: Rows) -> None:
    """Each beat asks for all that is due when it begins; the slots let each period be done by one of the workers."""
    Auth(rows).many(500)
    maintenance("one")
    maintenance("two")
    for _ in range(2):
        fleet.start("celery", "-A", "worker.app", "beat")

    until(lambda: fleet.text().count("succeeded in") >= 2 * len(beat_schedule.JOBS), within=90, what=fleet.text())
    # The last of them may still be at it: a beat has asked anew meanwhile for what is due every few minutes.
    until(lambda: finished(fleet) == slots(rows), what=fleet.text())

    assert Auth(rows).sessions() == set()
    [slot] = rows.execute("SELECT * FROM worker.schedule_slots WHERE name = 'expired_sessions'")
    assert (slot["report"]["removed"], slot["report"]["ended"]) == (500, "done")


def finished(fleet: Fleet) -> int:
    """How many sweeps were carried out to their end."""
    return fleet.text().count("sweep.finished")


def slots(rows: Rows) -> int:
    """How many periods there were to carry one out in."""
    return len(rows.execute("SELECT FROM worker.schedule_slots"))


def test_a_worker_that_is_told_to_stop_ends_its_sweep_between_two_batches_and_the_next_goes_on(
    fleet: Fleet, maintenance: Started, rows: Rows
) -> None:
    auth = Auth(rows)
    auth.many(400)
    slow_down(rows)
    call = ("celery", "-A", "worker.app", "call", "maintenance.sweep", "-a", '["expired_sessions"]')

    first = maintenance("first")
    fleet.start(*call)
    until(lambda: len(auth.sessions()) < 400, within=30, what=fleet.text())
    assert fleet.terminate(first) == 0
    [slot] = rows.execute("SELECT finished_at, report ->> 'ended' AS ended FROM worker.schedule_slots")
    assert slot == {"finished_at": None, "ended": "stopped"}
    assert 0 < len(auth.sessions()) < 400

    maintenance("second")
    fleet.start(*call)
    until(lambda: not auth.sessions(), within=60, what=fleet.text())
    until(lambda: rows.execute("SELECT FROM worker.schedule_slots WHERE finished_at IS NOT NULL"), what=fleet.text())


def test_a_sweep_that_the_database_leaves_is_told_in_a_line_and_the_next_period_goes_on(
    fleet: Fleet, maintenance: Started, rows: Rows
) -> None:
    auth = Auth(rows)
    auth.many(400)
    slow_down(rows)
    call = ("celery", "-A", "worker.app", "call", "maintenance.sweep", "-a", '["expired_sessions"]')

    maintenance("first")
    fleet.start(*call)
    until(lambda: len(auth.sessions()) < 400, within=30, what=fleet.text())
    until(lambda: rows.execute(CUT), what=fleet.text())
    until(lambda: "sweep.cut_off" in fleet.text(), what=fleet.text())
    assert "Traceback" not in fleet.text()
    assert 0 < len(auth.sessions()) < 400

    rows.execute("UPDATE worker.schedule_slots SET scheduled_for = scheduled_for - interval '1 hour'")
    fleet.start(*call)
    until(lambda: not auth.sessions(), within=60, what=fleet.text())


CUT = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE wait_event = 'PgSleep' AND datname = current_database() AND pid <> pg_backend_pid()"""


def slow_down(rows: Rows) -> None:
    """Let the deletion of each session take its time."""
    rows.execute(
        """CREATE FUNCTION public.slowly() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN PERFORM pg_sleep(0.01); RETURN OLD; END $$"""
    )
    rows.execute("CREATE TRIGGER slowly BEFORE DELETE ON auth.sessions FOR EACH ROW EXECUTE FUNCTION public.slowly()")
