"""What the command line answers when something goes wrong, and with which exit code."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from worker.cli import output

COMMAND = """
import sys
from worker.cli import app, main
from worker.errors import CommandFailed, WrongUse

@app.command()
def broken() -> None:
    {body}

main()
"""

IMPATIENT = """
import os, signal, sys

class Impatient:
    def find_spec(self, name, *_):
        if name == "worker.cli":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Impatient())
from worker.__main__ import main
main()
"""


def typed(*arguments: str, body: str = "pass", **env: str) -> subprocess.CompletedProcess[str]:
    """The command line with one more command, `broken`."""
    argv = (sys.executable, "-c", COMMAND.format(body=body), *arguments)
    return subprocess.run(argv, check=False, capture_output=True, text=True, env={**os.environ, **env})


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        ("raise WrongUse('Do it so.')", 2, "Error: Do it so.\n"),
        ("raise CommandFailed('It is full.')", 1, "Error: It is full.\n"),
        (
            "raise ValueError('odd\\nmore')",
            1,
            "Error: This is a bug: ValueError: odd. To see the traceback: codingit-worker --debug …\n",
        ),
        (
            "raise AssertionError",
            1,
            "Error: This is a bug: AssertionError. To see the traceback: codingit-worker --debug …\n",
        ),
        ("raise KeyboardInterrupt", 130, ""),
        ("pass", 0, ""),
    ],
)
def test_a_fault_is_one_sentence_and_an_exit_code(body: str, code: int, said: str) -> None:
    ended = typed("broken", body=body)

    assert (ended.returncode, ended.stderr) == (code, said)


@pytest.mark.parametrize("stream", ["sys.stdout", "sys.stderr"])
def test_what_the_encoding_of_an_output_lacks_is_replaced(stream: str) -> None:
    ended = typed("broken", body=f"print('caf\\u00e9 \\u2713', file={stream})", PYTHONIOENCODING="ascii")

    assert (ended.returncode, ended.stdout + ended.stderr) == (0, "caf? ?\n")


def test_closed_outputs_are_no_bug() -> None:
    argv = ("sh", "-c", f'exec "{sys.executable}" -m worker --version >&- 2>&-')
    assert subprocess.run(argv, check=False).returncode == 0


def test_a_file_where_a_folder_is_wanted_is_wrong_use(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for words in (("local", "start"), ("local", "status"), ("up",)):
        ended = typed(*words, "--folder", str(tmp_path / "file" / "below"))

        assert (ended.returncode, ended.stderr) == (
            2,
            f"Error: {tmp_path}/file is a file: --folder names a folder.\n",
        )


def test_ctrl_c_before_anything_is_imported_is_quiet() -> None:
    ended = subprocess.run((sys.executable, "-c", IMPATIENT), check=False, capture_output=True, text=True)

    assert (ended.returncode, ended.stderr) == (-signal.SIGINT, "")


def test_debug_shows_the_traceback() -> None:
    ended = typed("--debug", "broken", body="raise ValueError('odd')")

    assert ended.returncode == 1
    assert "Traceback" in ended.stderr


def test_an_unknown_command_is_wrong_use() -> None:
    assert typed("nonsense").returncode == 2
    assert typed("local", "start", "--nonsense").returncode == 2


def test_version_and_help() -> None:
    assert typed("--version").stdout.startswith("codingit-worker 0.")
    assert "local" in typed("--help").stdout
    hidden = typed("local", "--help").stdout
    assert "start" in hidden
    assert "hold" not in hidden


def test_nothing_heavy_is_imported_for_help() -> None:
    heavy = "{'celery', 'sqlalchemy', 'psycopg', 'redis', 'pydantic', 'alembic'}"
    program = f"import sys, worker.cli; assert not {heavy} & set(sys.modules), {heavy} & set(sys.modules)"
    subprocess.run((sys.executable, "-c", program), check=True)


def test_a_reader_that_leaves_early_is_no_bug() -> None:
    argv = (sys.executable, "-c", COMMAND.format(body="print('x' * 10**6)"), "broken")
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert "bug" not in process.stderr.read()
    assert process.returncode not in {0, -signal.SIGPIPE}


def test_output_is_json_or_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    output.as_json({"a": [1, None], "type": int})
    assert json.loads(capsys.readouterr().out) == {"a": [1, None], "type": "<class 'int'>"}

    output.table(("Name", "Value"), [("one", 1), ("[none]", None)])
    assert capsys.readouterr().out.split() == ["Name", "Value", "one", "1", "[none]", "-"]
