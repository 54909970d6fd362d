"""Throwaway folders for real servers, and a look at the processes that work in them."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from worker.local import state
from worker.local.servers import servers

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A state folder outside pytest's own, which only root may pass; no process is left in it."""
    path = Path(tempfile.mkdtemp(prefix="codingit-local-"))
    yield path
    left = working_in(path)
    shutil.rmtree(path)
    assert left == []


@pytest.fixture
def command(folder: Path) -> Iterator[Command]:
    """Runs `codingit-worker local …` on the folder; whatever still runs is stopped at the end."""

    def run(name: str, *options: str) -> subprocess.CompletedProcess[str]:
        argv = (sys.executable, "-m", "worker", "local", name, "--folder", str(folder), *options)
        return subprocess.run(argv, check=False, capture_output=True, text=True, timeout=60)

    yield run
    if state.is_locked(folder / "lock"):
        run("stop")


@pytest.fixture
def processes(folder: Path) -> Callable[[], list[int]]:
    """The processes whose working directory is in the folder: both servers have theirs there."""
    if not Path("/proc/self/cwd").exists():
        pytest.skip("there is no /proc to look into")
    return lambda: working_in(folder)


@pytest.fixture(scope="session")
def used_before() -> Iterator[Path]:
    """A state folder that was used before, to be copied: quicker than making a database for every test."""
    path = Path(tempfile.mkdtemp(prefix="codingit-local-"))
    with servers(path, postgres_settings={"fsync": "off"}):
        pass
    yield path
    shutil.rmtree(path)


@pytest.fixture
def used(folder: Path, used_before: Path) -> Path:
    """The folder, with what an earlier run kept."""
    subprocess.run(("cp", "-a", f"{used_before}/.", folder), check=True)
    return folder


def working_in(folder: Path) -> list[int]:
    """Processes by number; nothing where there is no /proc."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink().is_relative_to(folder):
                found.append(int(process.name))
        except OSError:
            continue
    return found
