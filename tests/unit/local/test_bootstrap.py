"""What `make` says before there is a virtual environment."""

import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[3]
SCRIPT = CHECKOUT / "tools" / "bootstrap.py"


def test_an_old_python_is_refused_before_it_meets_what_it_does_not_understand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 8, 20))

    with pytest.raises(SystemExit, match=r"Python 3\.11 or newer is needed.* make PYTHON="):
        runpy.run_path(str(SCRIPT), run_name="looked at")


def test_make_refuses_an_old_python_in_words_that_it_understands(tmp_path: Path) -> None:
    old = tmp_path / "python2"
    old.write_text(f"""#!{sys.executable}
import sys
sys.version_info = (2, 7, 18)
exec(sys.argv[2] if sys.argv[1] == "-c" else "raise SyntaxError")
""")
    old.chmod(0o755)
    made = ("make", "-B", f"PYTHON={old}", ".venv/run.stamp")
    ended = subprocess.run(made, cwd=CHECKOUT, check=False, capture_output=True, text=True)

    assert ended.returncode == 2
    assert ended.stderr.startswith("Python 3.11 or newer is needed, this is ")


def test_a_checkout_that_cannot_be_written_is_told_in_a_sentence(tmp_path: Path) -> None:
    script = tmp_path / "tools" / "bootstrap.py"
    script.parent.mkdir()
    shutil.copy(SCRIPT, script)
    (tmp_path / ".venv").touch()

    ended = subprocess.run((sys.executable, script, "run"), check=False, capture_output=True, text=True)

    assert ended.returncode == 1
    assert ended.stderr.startswith(f"The virtual environment {tmp_path}/.venv cannot be made (")
    assert ended.stderr.count("\n") == 1
