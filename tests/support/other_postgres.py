"""A PostgreSQL of the machine's own, such as Debian's 15, in place of the wheel's: TEST_POSTGRES is its bin folder."""

import shutil
import signal
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from db.url import DatabaseUrl
from worker.local import child, postgres, state
from worker.local.child import Child

VARIABLE = "TEST_POSTGRES"
PASSWORD = "of-this-test-run"
ENCODING = ("-E", "UTF8", "--locale=C.UTF-8", "-U", state.OWNER, "-A", "scram-sha-256", "--no-sync")


@contextmanager
def postgres_of(programs: Path, settings: Mapping[str, str]) -> Iterator[DatabaseUrl]:
    """A server made anew by these programs; the address of its owner."""
    folder = Path(tempfile.mkdtemp(prefix="codingit-tests-postgres-"))
    folder.chmod(0o755)
    state.private_folder(folder / "data")
    (folder / "password").write_text(PASSWORD)
    try:
        initialise(programs, folder)
        server, port = child.on_a_port(None, partial(start, programs, folder, settings))
        try:
            address = f"postgresql://{state.OWNER}:{PASSWORD}@127.0.0.1:{port}/{state.DATABASE}"
            yield DatabaseUrl.parse(address)
        finally:
            server.end()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def initialise(programs: Path, folder: Path) -> None:
    argv = (programs / "initdb", "-D", folder / "data", *ENCODING, f"--pwfile={folder / 'password'}")
    postgres.run_to_its_end(child.spawn("initdb", argv, log=folder / "initdb.log", cwd=folder, farewell=signal.SIGTERM))


def start(programs: Path, folder: Path, settings: Mapping[str, str], port: int) -> Child:
    chosen = {**postgres.SETTINGS, **settings, "port": str(port)}
    options = [f"-c{name}={value}" for name, value in chosen.items()]
    argv: tuple[str | Path, ...] = (programs / "postgres", "-D", folder / "data", *options)
    server = child.spawn("PostgreSQL", argv, log=folder / "postgres.log", cwd=folder / "data", farewell=signal.SIGINT)
    server.wait_until(lambda: postgres.has_database(port, PASSWORD))
    return server
