"""Which sandbox a host has, and what its operators are told where it has none."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.processes import eventually
from tests.support.sandboxes import isolating
from worker.errors import CommandFailed
from worker.sandbox import choice
from worker.sandbox.base import Sandbox
from worker.sandbox.bubblewrap import Bubblewrap
from worker.sandbox.command import Command
from worker.sandbox.process import ProcessSandbox

REFUSING = (
    "#!/bin/sh\ncase $1 in --version) echo bubblewrap 0.8.0 ;; *) echo 'bwrap: No permissions' >&2; exit 1 ;; esac\n"
)
OLD = "#!/bin/sh\necho bubblewrap 0.4.1\n"


@pytest.fixture(autouse=True)
def _asked_anew() -> Iterator[None]:
    choice.fault.cache_clear()
    yield
    choice.fault.cache_clear()


def chosen(setting: choice.Setting | None) -> Sandbox:
    return choice.sandbox(setting, processes=100, memory=None)


def install(program: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this the bubblewrap of the machine."""
    (folder / "bwrap").write_text(program)
    (folder / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_where_bubblewrap_works_it_is_taken_unless_everything_is_trusted() -> None:
    isolating(())
    assert isinstance(chosen(None), Bubblewrap)
    assert isinstance(chosen("bubblewrap"), Bubblewrap)
    assert isinstance(chosen("process"), ProcessSandbox)
    assert choice.told()[0].startswith("bubblewrap 0.")


@pytest.mark.parametrize(
    ("program", "sentence"),
    [
        (None, "apt-get install bubblewrap"),
        (OLD, "bubblewrap 0.4 is too old: install 0.8 or newer"),
        (REFUSING, r"bubblewrap does not work here \(bwrap: No permissions\): .*user.*namespaces"),
    ],
)
def test_where_it_does_not_work_operators_are_told_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str | None, sentence: str
) -> None:
    if program:
        install(program, tmp_path, monkeypatch)
    else:
        monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CommandFailed, match=sentence):
        chosen("bubblewrap")
    assert not chosen(None).isolates
    assert not chosen("process").isolates
    assert choice.told() == (choice.fault(),)


def test_a_sandbox_that_cannot_be_set_up_in_a_run_is_this_machines_fault(tmp_path: Path) -> None:
    """Not the program's, whose exit code 1 looks the same."""
    sandbox = isolating([tmp_path])
    missing = Command(argv=("true",), cwd=tmp_path, reads=(tmp_path / "missing",))
    with closing(sandbox.start(missing)) as child, pytest.raises(CommandFailed, match="cannot set up a sandbox"):
        eventually(lambda: child.poll() is not None)
    with closing(sandbox.start(Command(argv=("false",), cwd=tmp_path))) as child:
        assert eventually(lambda: child.poll() == 1)
