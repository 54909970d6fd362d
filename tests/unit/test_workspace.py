"""The folders of a run: private, locked while it lasts, gone afterwards whatever was put in them."""

import os
from pathlib import Path

import pytest

from worker import workspace


def test_folders_are_private_and_gone_afterwards(tmp_path: Path) -> None:
    with workspace.folders(tmp_path, task_id=7, fence=9) as made:
        assert {folder.stat().st_mode & 0o777 for folder in (made.private, made.work, made.home)} == {0o700}
        assert made.work.parent == made.whole
        assert made.whole.name.startswith("7-9-")

    assert list(tmp_path.iterdir()) == []


def test_they_are_gone_also_when_the_run_broke(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), workspace.folders(tmp_path, task_id=7, fence=9):
        raise RuntimeError

    assert list(tmp_path.iterdir()) == []


def test_what_was_locked_away_goes_too_and_what_a_link_points_to_stays(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    outside.chmod(0o755)
    (outside / "kept").write_text("mine")
    with workspace.folders(tmp_path / "runs", task_id=1, fence=1) as made:
        inner = made.work / "a" / "b"
        inner.mkdir(parents=True)
        (inner / "file").write_text("x")
        (made.work / "link").symlink_to(outside)
        (made.work / "a" / "link").symlink_to(outside)
        inner.chmod(0)
        (made.work / "a").chmod(0o500)
        made.work.chmod(0o500)

    assert list((tmp_path / "runs").iterdir()) == []
    assert (outside / "kept").read_text() == "mine"
    assert outside.stat().st_mode & 0o777 == 0o755


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is locked for root")
def test_modes_do_lock_an_ordinary_user_out(tmp_path: Path) -> None:
    locked = tmp_path / "locked" / "inner"
    locked.mkdir(parents=True)
    locked.parent.chmod(0o500)
    workspace.remove(tmp_path / "locked")

    assert not (tmp_path / "locked").exists()


def test_a_sweep_removes_what_nobody_holds_and_leaves_what_runs(tmp_path: Path) -> None:
    (tmp_path / "5-6" / "work").mkdir(parents=True)
    with workspace.folders(tmp_path, task_id=7, fence=9) as running:
        assert workspace.sweep(tmp_path) == 1
        assert running.work.exists()

    assert list(tmp_path.iterdir()) == []


def test_a_sweep_of_what_was_never_made_removes_nothing(tmp_path: Path) -> None:
    assert workspace.sweep(tmp_path / "never") == 0
