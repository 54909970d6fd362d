"""What is removed from a host's disk: by age or because nobody holds it, and nothing through a symbolic link."""

import os
import time
from datetime import timedelta
from pathlib import Path

from sqlalchemy.orm import Session

from worker import workspace
from worker.maintenance.disk import Transcripts, Workspaces
from worker.maintenance.retention import RetentionPolicy
from worker.maintenance.sweep import Bounds, Ended, carry_out, preview

MONTH = timedelta(days=30)


def transcript(root: Path, name: str, *, days: float) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    aged(path, days)
    return path


def aged(path: Path, days: float) -> None:
    moment = time.time() - days * 86400
    os.utime(path, (moment, moment))


def test_old_transcripts_go_batch_by_batch_and_young_ones_stay(tmp_path: Path) -> None:
    for number in range(25):
        transcript(tmp_path, f"{number}/1-a.log.gz", days=31)
    young = transcript(tmp_path, "3/2-b.log.gz", days=29)
    other = transcript(tmp_path, "3/notes.txt", days=99)
    batch = Transcripts(root=tmp_path, kept=MONTH)
    policy = RetentionPolicy(name="t", why="A test's.", kept="", batch=batch, first=10, largest=10, pause=timedelta())

    assert (preview(policy, None).count, preview(policy, None).sample[0]) == (25, "0/1-a.log.gz")
    limited = carry_out(policy, None, Bounds(limit=4))
    report = carry_out(policy, None)

    assert (limited.removed, limited.ended, limited.remaining) == (4, Ended.LIMIT, 21)
    assert (report.removed, report.batches, report.ended, report.remaining) == (21, 3, Ended.DONE, 0)
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == [young, other]


def test_folders_go_once_they_have_been_empty_for_a_day(tmp_path: Path) -> None:
    transcript(tmp_path, "1/1-a.log.gz", days=31)
    (tmp_path / "2").mkdir()
    aged(tmp_path / "2", 2)

    assert Transcripts(root=tmp_path, kept=MONTH).remove(Session(), 10, None).count == 1
    assert [path.name for path in tmp_path.iterdir()] == ["1"]
    aged(tmp_path / "1", 2)
    Transcripts(root=tmp_path, kept=MONTH).remove(Session(), 10, None)
    assert list(tmp_path.iterdir()) == []


def test_what_a_link_points_to_stays(tmp_path: Path) -> None:
    kept = transcript(tmp_path, "elsewhere/precious.log.gz", days=999)
    (tmp_path / "root" / "1").mkdir(parents=True)
    (tmp_path / "root" / "1" / "2-b.log.gz").symlink_to(kept)

    assert Transcripts(root=tmp_path / "root", kept=MONTH).expired(Session()).count == 0
    assert Transcripts(root=tmp_path / "root", kept=MONTH).remove(Session(), 10, None).count == 0
    assert kept.exists()


def test_workspaces_go_unless_their_run_holds_them(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"{number}-1-x" / "work").mkdir(parents=True)
    with workspace.folders(tmp_path, task_id=3, fence=9) as running:
        batch = Workspaces(root=tmp_path)
        assert batch.expired(Session()).count == 5
        first = batch.remove(Session(), 4, None)
        second = batch.remove(Session(), 4, first.last)

        assert (first.count + second.count, second.last) == (5, None)
        assert list(tmp_path.iterdir()) == [running.whole]


def test_a_host_that_never_ran_anything_has_nothing_to_remove(tmp_path: Path) -> None:
    for batch in (Workspaces(root=tmp_path / "none"), Transcripts(root=tmp_path / "none", kept=MONTH)):
        assert batch.expired(Session()).count == 0
        assert batch.remove(Session(), 10, None).count == 0
