"""Beat and the maintenance worker: what killed workers left behind is removed, and a second beat does no harm."""

import subprocess
from collections.abc import Callable, Iterator, Sequence

import pytest
import redis

import beat_schedule
from db.url import DatabaseUrl
from tests.support import host
from tests.support.auth import Auth
from tests.support.fleet import Fleet, until
from tests.support.rows import Rows
from worker.local.servers import Addresses

Started = Callable[[str], subprocess.Popen[bytes]]
ON_DISK = {"workspaces", "mirrors", "transcripts"}
"""What each host does for itself."""
CALL = ("celery", "-A", "worker.app", "call", "maintenance.sweep", "-a")
WORKER = ("celery", "-A", "worker.app", "worker", "-Q", "maintenance", "-c", "1", "-n")


@pytest.fixture
def maintenance(fleet: Fleet, owner_url: DatabaseUrl) -> Started:
    """Starts a maintenance worker with an address of its own, as the owner; ready when it returns."""

    def started(name: str) -> subprocess.Popen[bytes]:
        worker = fleet.start(*WORKER, f"{name}@test", MAINTENANCE_DATABASE_URL=owner_url.libpq)
        until(lambda: b"ready" in fleet.log_of(worker), within=30, what=fleet.text)
        return worker

    return started


@pytest.fixture
def broker(stack: Addresses) -> Iterator[redis.Redis]:
    """The broker, to look into."""
    with redis.Redis.from_url(stack.redis_url) as client:
        yield client


def test_a_maintenance_worker_removes_the_workspaces_that_nobody_holds(fleet: Fleet) -> None:
    abandoned = fleet.state / "workspaces" / "1-2" / "work"
    abandoned.mkdir(parents=True)
    worker = fleet.start(*WORKER, "maintenance@test")
    until(lambda: b"ready" in fleet.log_of(worker), within=30, what=fleet.text)
    fleet.start(*CALL, '["workspaces"]')

    until(lambda: not abandoned.exists(), within=20, what=fleet.text)


def test_two_beats_on_one_host_are_harmless(fleet: Fleet) -> None:
    beats = [fleet.start("celery", "-A", "worker.app", "beat") for _ in range(2)]
    until(lambda: all(b"Starting..." in fleet.log_of(beat) for beat in beats), within=30, what=fleet.text)

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

    messages = 2 * (len(beat_schedule.JOBS) + len(ON_DISK))
    until(lambda: fleet.text().count("succeeded in") >= messages, within=90, what=fleet.text)
    # The last of them may still be at it: a beat has asked anew meanwhile for what is due every few minutes.
    until(lambda: finished(fleet) == slots(rows), what=fleet.text)

    assert Auth(rows).sessions() == set()
    [slot] = rows.execute("SELECT * FROM worker.schedule_slots WHERE name = 'expired_sessions'")
    assert (slot["report"]["removed"], slot["report"]["ended"]) == (500, "done")


def test_both_hosts_clear_their_own_disks_at_one_message(fleet: Fleet, owner_url: DatabaseUrl, rows: Rows) -> None:
    if why := host.lacking():
        pytest.skip(why)
    abandoned, workers = [], []
    for name in ("alpha", "beta"):
        state = fleet.state.parent / name
        abandoned.append(state / "workspaces" / "1-2" / "work")
        abandoned[-1].mkdir(parents=True)
        env = {"CODINGIT_STATE_DIR": str(state), "MAINTENANCE_DATABASE_URL": owner_url.libpq}
        workers.append(fleet.start("tests.support.host", name, *WORKER, "maintenance@%h", **env))
    until(lambda: all(b"ready" in fleet.log_of(worker) for worker in workers), within=30, what=fleet.text)
    fleet.start(*CALL, '["workspaces"]')

    until(lambda: not any(path.exists() for path in abandoned), within=30, what=fleet.text)
    until(lambda: finished(fleet) == 2, what=fleet.text)
    taken = rows.execute("SELECT name FROM worker.schedule_slots WHERE finished_at IS NOT NULL ORDER BY name")
    assert [slot["name"] for slot in taken] == ["workspaces@alpha", "workspaces@beta"]


def test_every_worker_hears_what_is_each_hosts_and_only_one_what_is_not(fleet: Fleet, maintenance: Started) -> None:
    """On one host the slots then let one of the two do it."""
    workers = [maintenance("one"), maintenance("two")]
    fleet.start(*CALL, '["runs"]')
    until(lambda: sum(heard(fleet, workers)) == 1, within=30, what=fleet.text)
    fleet.start(*CALL, '["workspaces"]')

    until(lambda: fleet.text().count("succeeded in") == 3, within=30, what=fleet.text)
    assert sorted(heard(fleet, workers)) == [1, 2]
    assert finished(fleet) == 2


def test_a_worker_hears_it_while_it_sweeps_and_ends_without_it(
    fleet: Fleet, maintenance: Started, rows: Rows, broker: redis.Redis
) -> None:
    auth = Auth(rows)
    auth.many(3000)
    slow_down(rows)
    worker = maintenance("busy")
    fleet.start(*CALL, '["expired_sessions"]')
    until(lambda: len(auth.sessions()) < 3000, within=30, what=fleet.text)
    fleet.start(*CALL, '["workspaces"]')

    until(lambda: heard(fleet, [worker]) == [2], within=15, what=fleet.text)
    assert len(auth.sessions()) > 0
    assert fleet.terminate(worker) == 0
    assert fleet.text().count("succeeded in") == 1
    assert waiting(broker) == []


def test_what_nobody_hears_is_kept_nowhere(fleet: Fleet, broker: redis.Redis) -> None:
    for policy in ('["workspaces"]', '["runs"]'):
        assert fleet.start(*CALL, policy).wait(timeout=60) == 0, fleet.text()

    assert waiting(broker) == [b"maintenance"]
    assert broker.llen("maintenance") == 1


def heard(fleet: Fleet, workers: Sequence[subprocess.Popen[bytes]]) -> list[int]:
    """How many messages each was given."""
    return [fleet.log_of(worker).count(b"] received") for worker in workers]


def waiting(broker: redis.Redis) -> list[bytes]:
    """Where the broker keeps messages that are not done: the queues, and what was taken and not acknowledged."""
    keys: Iterator[bytes] = broker.scan_iter()
    return [key for key in keys if broker.type(key) in {b"list", b"hash"}]


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
    call = (*CALL, '["expired_sessions"]')

    first = maintenance("first")
    fleet.start(*call)
    until(lambda: len(auth.sessions()) < 400, within=30, what=fleet.text)
    assert fleet.terminate(first) == 0
    [slot] = rows.execute("SELECT finished_at, report ->> 'ended' AS ended FROM worker.schedule_slots")
    assert slot == {"finished_at": None, "ended": "stopped"}
    assert 0 < len(auth.sessions()) < 400

    maintenance("second")
    fleet.start(*call)
    until(lambda: not auth.sessions(), within=60, what=fleet.text)
    until(lambda: rows.execute("SELECT FROM worker.schedule_slots WHERE finished_at IS NOT NULL"), what=fleet.text)


def test_a_sweep_that_the_database_leaves_is_told_in_a_line_and_the_next_period_goes_on(
    fleet: Fleet, maintenance: Started, rows: Rows
) -> None:
    auth = Auth(rows)
    auth.many(400)
    slow_down(rows)
    call = (*CALL, '["expired_sessions"]')

    maintenance("first")
    fleet.start(*call)
    until(lambda: len(auth.sessions()) < 400, within=30, what=fleet.text)
    until(lambda: rows.execute(CUT), what=fleet.text)
    until(lambda: "sweep.cut_off" in fleet.text(), what=fleet.text)
    assert "Traceback" not in fleet.text()
    assert 0 < len(auth.sessions()) < 400

    rows.execute("UPDATE worker.schedule_slots SET scheduled_for = scheduled_for - interval '1 hour'")
    fleet.start(*call)
    until(lambda: not auth.sessions(), within=60, what=fleet.text)


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
