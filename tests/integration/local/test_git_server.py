"""The server of the demo's repository, found and run as git is everywhere else."""

import subprocess
from pathlib import Path

import pytest

from worker.git.host import PATHS
from worker.local import demo
from worker.local.git_server import serve


def test_git_is_found_in_the_usual_places_where_path_lacks_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    demo.make(tmp_path / "garden.git")
    monkeypatch.setenv("PATH", "/nowhere")

    with serve(tmp_path, token=None) as address:
        listed = ("git", "ls-remote", f"{address}/garden.git")
        said = subprocess.run(listed, env={"PATH": PATHS}, check=True, capture_output=True, text=True).stdout

    assert "refs/heads/main" in said
