"""Beat and the maintenance worker: what killed workers left behind is removed, and a second beat does no harm."""

from tests.support.fleet import Fleet, until


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
