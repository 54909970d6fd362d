"""What the local servers keep between runs, one folder a checkout, and who holds it now."""

import errno
import fcntl
import hashlib
import json
import os
import pwd
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from db.url import DatabaseUrl
from worker.errors import CommandFailed

ROOTS_FOLDERS = Path("/var/lib/codingit-worker")
"""Where root's checkouts have their folders, and the servers' programs that all of them run."""
UNPRIVILEGED = 65534
"""The user and group that the servers run as when root starts them: PostgreSQL refuses to run as root."""
DATABASE = "codingit"
OWNER = "postgres"
ROOM = 100 * 10**6
"""How many bytes must be free: a new database takes 40 MB."""
LOOKS = 0.5
"""For how many seconds a lock is asked for: whoever only looks who holds it has it for an instant."""
PATIENCE = 2.0
"""For how many seconds a new holder may take to say who it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Where the running servers answer."""

    database_url: DatabaseUrl
    """As the owner of the database, a superuser."""
    redis_url: str = field(repr=False)
    """With its password: not for logs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What stays the same from run to run."""

    postgres_password: str = field(repr=False)
    redis_password: str = field(repr=False)
    postgres_port: int | None = None
    redis_port: int | None = None

    def addresses(self) -> Addresses:
        """Where servers with these passwords answer on these ports."""
        postgres = f"postgresql://{OWNER}:{self.postgres_password}@127.0.0.1:{self.postgres_port}/{DATABASE}"
        redis = f"redis://:{self.redis_password}@127.0.0.1:{self.redis_port}/0"
        return Addresses(database_url=DatabaseUrl(libpq=postgres), redis_url=redis)


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """The process that runs the servers of a folder."""

    pid: int
    command: str
    """What was typed after `codingit-worker`."""
    since: datetime
    postgres_port: int | None = None
    redis_port: int | None = None
    """Both ports are None until the servers answer."""
    addresses: Addresses | None = None
    """None until the servers answer."""

    def __str__(self) -> str:
        form = "%H:%M" if self.since.date() == datetime.now(self.since.tzinfo).date() else "%Y-%m-%d %H:%M"
        return f"`codingit-worker {self.command}` (pid {self.pid}, since {self.since.astimezone():{form}})"


def default_folder() -> Path:
    """
    This checkout's folder: `.codingit` in it, or as root a folder under /var/lib of the checkout's own.

    Root's is elsewhere since the servers then run as another user, who must be able to reach it.
    """
    if os.geteuid() != 0:
        return checkout() / ".codingit"
    return ROOTS_FOLDERS / hashlib.sha256(os.fsencode(checkout())).hexdigest()[:12]


def checkout() -> Path:
    """The folder with our pyproject.toml; where the package was installed from a wheel, the working directory."""
    above = Path(__file__).resolve().parents[2]
    return above if (above / "pyproject.toml").is_file() else Path.cwd()


def prepare(folder: Path) -> None:
    """Make the folder; others may pass through it, which the servers' user must when root starts them."""
    folder.mkdir(parents=True, exist_ok=True)
    as_root = os.geteuid() == 0
    if as_root and folder.parent == ROOTS_FOLDERS:
        ROOTS_FOLDERS.chmod(0o755)
    folder.chmod(0o711 if as_root else 0o700)


def check_passage(folder: Path) -> None:
    """Raises CommandFailed when root's servers, which run as another user, cannot get to the folder."""
    for above in folder.resolve().parents:
        if not above.stat().st_mode & stat.S_IXOTH:
            raise CommandFailed(f"{above} is closed to the user that root's servers run as. Choose another folder.")


def check_user() -> None:
    """Raises CommandFailed when the user that the servers run as has no name, without which initdb refuses."""
    user = os.geteuid() or UNPRIVILEGED
    try:
        pwd.getpwuid(user)
    except KeyError as fault:
        raise CommandFailed(
            f"User {user} has no name here, and PostgreSQL does not run without one. Add it to /etc/passwd, or run as "
            "another (docker run without --user, or with one that the image knows)."
        ) from fault


def check_room(folder: Path, *, needed: int = ROOM) -> None:
    """Raises CommandFailed on a disk so full that a server would fail at some odd place, its log cut short."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise CommandFailed(
            f"The disk is full: {free // 10**6} MB are free for {folder}, the local servers need {needed // 10**6} MB."
        )


def private_folder(path: Path) -> Path:
    """A new folder that only the servers' user may enter."""
    path.mkdir(mode=0o700)
    hand_over(path)
    return path


def hand_over(path: Path) -> None:
    """Give `path` to the user that the servers run as."""
    if os.geteuid() == 0:
        os.chown(path, UNPRIVILEGED, UNPRIVILEGED)


def private_file(path: Path) -> BinaryIO:
    """An empty file that only we may read, open for writing."""
    return open(path, "wb", opener=lambda name, flags: os.open(name, flags, 0o600))


def write(path: Path, value: object) -> None:
    """Replace a JSON file at once and whole, readable by us alone."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with private_file(draft) as file:
            file.write(json.dumps(value, default=str).encode())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def kept(folder: Path) -> Kept:
    """What earlier runs kept, or passwords that were never used before."""
    path = folder / "servers.json"
    try:
        return Kept(**json.loads(path.read_bytes()))
    except FileNotFoundError:
        return Kept(postgres_password=secrets.token_hex(24), redis_password=secrets.token_hex(24))
    except (ValueError, TypeError) as fault:
        raise CommandFailed(
            f"{path} cannot be read ({fault}). To begin anew: codingit-worker local stop --delete"
        ) from fault


def keep(folder: Path, kept: Kept) -> None:
    """For the next run."""
    write(folder / "servers.json", asdict(kept))


@contextmanager
def held(folder: Path, *, command: str = "up") -> Iterator[None]:
    """
    Hold the folder for as long as the block runs; the kernel lets go of it when the process dies, however it dies.

    Raises:
        CommandFailed: says which process holds it.
    """
    with plainly():
        prepare(folder)
        lock = locked(folder / "lock")
    if lock is None:
        raise CommandFailed(refusal(running(folder)))
    with lock:
        with plainly():
            write(
                folder / "holder.json", {"pid": os.getpid(), "command": command, "since": datetime.now().astimezone()}
            )
        try:
            yield
        finally:
            (folder / "holder.json").unlink(missing_ok=True)


def announce(folder: Path, kept: Kept) -> None:
    """Say that the servers answer on these ports, where this process holds the folder."""
    record = recorded(folder)
    if record is not None and record["pid"] == os.getpid():
        write(folder / "holder.json", {**record, "postgres_port": kept.postgres_port, "redis_port": kept.redis_port})


def running(folder: Path) -> Holder | None:
    """Who holds the folder, with the addresses once its servers answer; None when nobody does."""
    deadline = time.monotonic() + PATIENCE
    while is_locked(folder / "lock"):
        record = recorded(folder)
        if record is not None:
            return holder(folder, record)
        if time.monotonic() > deadline:
            raise CommandFailed(
                f"A process holds {folder} and does not say which it is. Look with: fuser {folder}/lock"
            )
        time.sleep(0.01)
    return None


def holder(folder: Path, record: dict[str, Any]) -> Holder:
    """The holder as it recorded itself; the passwords are from the folder."""
    known = Holder(**{**record, "since": datetime.fromisoformat(record["since"])})
    if known.postgres_port is None:
        return known
    there = replace(kept(folder), postgres_port=known.postgres_port, redis_port=known.redis_port)
    return replace(known, addresses=there.addresses())


def recorded(folder: Path) -> dict[str, Any] | None:
    """What the holder wrote about itself; left over from a crash it means nothing: the lock is the truth."""
    try:
        record = json.loads((folder / "holder.json").read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def refusal(holder: Holder | None) -> str:
    """Why the folder cannot be had."""
    if holder is None:
        return "The servers of this checkout are just being stopped. Try again in a moment."
    if holder.command == "up":
        return f"{holder} already runs in this checkout. Stop it with Ctrl-C there, or use: codingit-worker local stop"
    return f"{holder} already runs the servers of this checkout. Stop them with: codingit-worker local stop"


def locked(path: Path) -> BinaryIO | None:
    """The file, locked until it is closed; None when another process has the lock."""
    deadline = time.monotonic() + LOOKS
    while True:
        file = path.open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if is_same(file, path):
                return file
        except BlockingIOError:
            if time.monotonic() > deadline:
                file.close()
                return None
        file.close()
        time.sleep(0.02)


def is_same(file: BinaryIO, path: Path) -> bool:
    """Whether the open file still is the one at `path`: the folder may have been deleted meanwhile."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def is_locked(path: Path) -> bool:
    """Whether another process has the lock now."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


@contextmanager
def plainly() -> Iterator[None]:
    """A full disk or a forbidden folder, told in a sentence."""
    try:
        yield
    except OSError as fault:
        where = f": {fault.filename}" if fault.filename else ""
        if fault.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise CommandFailed(f"The disk is full{where}. Make room and try again.") from fault
        raise CommandFailed(f"The local servers cannot be run: {fault.strerror or fault}{where}") from fault
