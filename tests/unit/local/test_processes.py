"""What `up` starts."""

from pathlib import Path

from worker.local.processes import PROCESSES


def test_up_starts_what_the_procfile_starts() -> None:
    procfile = (Path(__file__).parents[3] / "Procfile").read_text()
    named = dict(line.split(": ", 1) for line in procfile.splitlines())
    del named["release"]
    assert named == PROCESSES
