"""`codingit-worker local`: PostgreSQL and Valkey for this checkout, in the background."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from worker.cli import output
from worker.cli.output import Json
from worker.errors import CommandFailed, WrongUse

if TYPE_CHECKING:
    from worker.local.state import Holder

START_TIMEOUT = 90.0
STOP_TIMEOUT = 30.0
NOT_RUNNING = "No servers run for this checkout. Start them with: codingit-worker local start"

app = typer.Typer(no_args_is_help=True, help="PostgreSQL and Valkey for this checkout, in the background.")

Folder = Annotated[
    Path | None, typer.Option("--folder", help="Where the servers keep everything. Default: one folder a checkout.")
]


@app.callback()
def check() -> None:
    """PostgreSQL and Valkey for this checkout, in the background."""
    from worker.local import binaries

    binaries.supported()


@app.command()
def start(*, folder: Folder = None, json: Json = False) -> None:
    """Start the servers; they run until `local stop`."""
    place = chosen(folder)
    with tempfile.TemporaryFile() as words:
        holder = wait_for_servers(place, spawn_holder(place, words), words)
    show_status(place, holder, json=json)


@app.command()
def stop(
    *,
    delete: Annotated[bool, typer.Option("--delete", help="Remove the database and all else that is kept.")] = False,
    folder: Folder = None,
    json: Json = False,
) -> None:
    """Stop the servers, whichever command started them."""
    place = chosen(folder)
    holder = end_holder(place)
    if delete:
        remove(place)
    if json:
        output.as_json({"stopped": holder is not None, "deleted": delete, "folder": place})
        return
    typer.echo(f"Stopped {holder}." if holder else "No servers run for this checkout.")
    if delete:
        typer.echo(f"Removed {place}.")


@app.command()
def status(*, folder: Folder = None, json: Json = False) -> None:
    """Say who runs the servers and on which ports. Exit code 1 when they do not run."""
    from worker.local import state

    place = chosen(folder)
    holder = state.running(place)
    show_status(place, holder, json=json)
    if holder is None:
        raise typer.Exit(1)


@app.command()
def url(*, folder: Folder = None, json: Json = False) -> None:
    """Print the addresses of the running servers, as the database's owner, with passwords."""
    from worker.local import state

    holder = state.running(chosen(folder))
    if holder is None:
        raise CommandFailed(NOT_RUNNING)
    if holder.addresses is None:
        raise CommandFailed("The servers of this checkout are still starting. Try again in a moment.")
    database_url, redis_url = holder.addresses.database_url.libpq, holder.addresses.redis_url
    if json:
        output.as_json({"database_url": database_url, "redis_url": redis_url})
    else:
        typer.echo(f"DATABASE_URL={database_url}\nREDIS_URL={redis_url}")


@app.command(hidden=True)
def hold(*, folder: Folder = None) -> None:
    """Run the servers until SIGTERM; what `start` leaves in the background."""
    from worker.local import binaries, state
    from worker.local.servers import servers

    binaries.found()  # before a folder is made for nothing
    for sign in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(sign, leave)
    place = chosen(folder)
    with state.held(place, command="local start"), servers(place):
        os.waitpid(-1, 0)
        raise CommandFailed(f"One of the servers ended by itself. The logs are in {place}.")


def leave(number: int, _frame: FrameType | None) -> None:
    """Go, in order: the servers are stopped on the way out, which nothing interrupts any more."""
    for sign in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(sign, signal.SIG_IGN)
    raise SystemExit(128 + number)


def chosen(folder: Path | None) -> Path:
    """The folder that was asked for, or this checkout's. Raises WrongUse for what is no folder."""
    from worker.local import state

    place = (folder or state.default_folder()).expanduser().absolute()
    with state.plainly():
        there = next(path for path in (place, *place.parents) if path.exists())
    if not there.is_dir():
        raise WrongUse(f"{there} is a file: --folder names a folder.")
    return place


def spawn_holder(folder: Path, words: BinaryIO) -> subprocess.Popen[bytes]:
    """Start `local hold` in a session of its own; what it says before the servers answer goes to `words`."""
    package = Path(__file__).resolve().parents[2]
    return subprocess.Popen(
        (sys.executable, "-m", "worker", "local", "hold", "--folder", folder),
        cwd=package,
        stdin=subprocess.DEVNULL,
        stdout=words,
        stderr=words,
        start_new_session=True,
    )


def wait_for_servers(folder: Path, process: subprocess.Popen[bytes], words: BinaryIO) -> "Holder":
    """The holder, once its servers answer; when it fails, or we are interrupted, nothing is left of it."""
    from worker.local import state

    deadline = time.monotonic() + START_TIMEOUT
    try:
        while process.poll() is None and time.monotonic() < deadline:
            holder = state.running(folder)
            if holder is not None and holder.pid == process.pid and holder.addresses is not None:
                process.returncode = 0  # it is to outlive us, and nobody waits for it
                return holder
            time.sleep(0.01)
    except BaseException:
        process.terminate()
        process.wait()
        raise
    process.terminate()
    process.wait()
    words.seek(0)
    said = words.read().decode(errors="replace").strip().removeprefix("Error: ")
    raise CommandFailed(said or f"The local servers did not start within {START_TIMEOUT:.0f} s. Look into {folder}")


def end_holder(folder: Path) -> "Holder | None":
    """Who was asked to stop and did; None when nobody held the folder."""
    from worker.local import state

    holder = state.running(folder)
    if holder is None:
        return None
    try:
        os.kill(holder.pid, signal.SIGTERM)
    except ProcessLookupError:
        return holder
    except PermissionError as fault:
        raise CommandFailed(f"{holder} belongs to another user: stop it there.") from fault
    wait_until_free(folder, holder)
    return holder


def wait_until_free(folder: Path, holder: "Holder") -> None:
    """Raises CommandFailed when the holder does not go."""
    from worker.local import state

    deadline = time.monotonic() + STOP_TIMEOUT
    while state.is_locked(folder / "lock"):
        if time.monotonic() > deadline:
            raise CommandFailed(f"{holder} did not stop within {STOP_TIMEOUT:.0f} s.")
        time.sleep(0.02)


def remove(folder: Path) -> None:
    """Remove what is kept, while nobody else can take it up."""
    from worker.local import state

    if not folder.is_dir():
        return
    if not (folder / "lock").is_file():
        raise CommandFailed(f"{folder} is no folder of the local servers: not removed.")
    with state.held(folder, command="local stop --delete"), state.plainly():
        shutil.rmtree(folder)


def show_status(folder: Path, holder: "Holder | None", *, json: bool) -> None:
    """What runs and where, without passwords."""
    facts = status_facts(folder, holder)
    if json:
        output.as_json(facts)
    elif holder is None:
        typer.echo(NOT_RUNNING)
    else:
        output.table(("What", "Value"), [(name.replace("_", " "), value) for name, value in facts.items()])


def status_facts(folder: Path, holder: "Holder | None") -> dict[str, Any]:
    """The same facts whether the servers run or not, None where there are none."""
    return {
        "running": holder is not None,
        "ready": holder is not None and holder.addresses is not None,
        "command": holder.command if holder else None,
        "pid": holder.pid if holder else None,
        "since": holder.since.isoformat(timespec="seconds") if holder else None,
        "postgres_port": holder.postgres_port if holder else None,
        "redis_port": holder.redis_port if holder else None,
        "folder": str(folder),
    }
