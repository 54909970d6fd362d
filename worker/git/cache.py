"""
Mirrors that are kept between runs, one for each repository and credential.

No run works in a kept mirror: it takes the packs into a mirror of its own as hard links, fetches there what is new, and
leaves the packs that it has then for the next, before anything of its sandbox exists. So any number of runs share one,
it can be thrown away at any moment, and nothing that an agent wrote ever gets near it.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from secrets import token_hex
from time import time

import structlog

from worker.repository import Credential, Repository

log = structlog.get_logger(__name__)

PACKS, MANIFEST = "packs", "manifest.json"
ID = re.compile(r"[0-9a-f]{40}")
MAKING = ".making-"
STILL_MAKING = timedelta(minutes=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """The folder of kept mirrors, and how much of them is kept."""

    root: Path
    largest: int
    """Bytes of all together."""
    age: timedelta
    """After how long without a run one goes."""

    def entry(self, repository: Repository, credential: Credential | None) -> "Entry":
        """The place of this repository as that credential may read it, whether there is anything yet or not."""
        who = (credential.username, credential.token) if credential else ()
        words = "\0".join((repository.scheme, repository.authority, repository.path, *who))
        return Entry(folder=self.root / hashlib.sha256(words.encode()).hexdigest())


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One kept mirror: its packs, and the ids of commits and tags that they hold with all that hangs on them."""

    folder: Path

    def take(self, objects: Path) -> Sequence[str]:
        """
        Link the packs into a repository's `objects`, and answer the ids of what they hold whole.

        Nothing where there is nothing, or where somebody else is at it this moment.
        """
        with held(self.folder, fcntl.LOCK_SH) as got:
            if not got:
                return ()
            try:
                tips = checked(self.folder)
                link(self.folder / PACKS, objects / "pack")
            except (OSError, ValueError, KeyError, TypeError):
                shutil.rmtree(objects / "pack", ignore_errors=True)
                (objects / "pack").mkdir()
                return ()
            os.utime(self.folder)
            return tips

    def keep(self, objects: Path, tips: Sequence[str]) -> None:
        """Put the packs of a repository, of which these tips are whole, in place of what is kept."""
        making = self.folder.with_name(f"{MAKING}{self.folder.name[:16]}-{token_hex(4)}")
        try:
            (making / PACKS).mkdir(mode=0o700, parents=True)
            link(objects / "pack", making / PACKS)
            manifest = {"tips": list(tips), "packs": sizes(making / PACKS)}
            (making / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
            self._replace(making)
        except OSError as fault:  # a full disk, another file system: the next run fetches all of it again
            log.warning("mirror.not_kept", reason=fault.strerror)
        finally:
            shutil.rmtree(making, ignore_errors=True)

    def discard(self) -> None:
        """Throw it away; whoever has taken it keeps what was taken."""
        gone = self.folder.with_name(f"{MAKING}{token_hex(8)}")
        with suppress(FileNotFoundError):
            self.folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)

    def _replace(self, making: Path) -> None:
        with held(self.folder, fcntl.LOCK_EX) as got:
            if got:
                self.discard()
                making.rename(self.folder)


def link(source: Path, target: Path) -> None:
    """Hard links of every pack with its index; a pack comes before the index, by which git finds it."""
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in sorted(source.iterdir(), key=lambda path: (path.suffix == ".idx", path.name)):
        if path.suffix in {".pack", ".idx", ".rev"}:
            (target / path.name).hardlink_to(path)


def checked(folder: Path) -> Sequence[str]:
    """The tips of a kept mirror whose packs are what they were when they were kept; else ValueError or the like."""
    manifest = json.loads((folder / MANIFEST).read_bytes())
    tips: Sequence[str] = manifest["tips"]
    if manifest["packs"] != sizes(folder / PACKS) or not all(ID.fullmatch(tip) for tip in tips):
        raise ValueError(folder)
    return tips


def sizes(packs: Path) -> dict[str, list[int]]:
    """Size and time of change of every file: a link has those of what it links to."""
    found = ((path.name, path.stat()) for path in packs.iterdir())
    return {name: [about.st_size, about.st_mtime_ns] for name, about in found}


@contextmanager
def held(folder: Path, how: int) -> Iterator[bool]:
    """Whether the lock beside a kept mirror was had; it is never waited for, for its holder may have been stopped."""
    try:
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError:
        yield False
        return
    try:
        try:
            fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def evict(cache: Cache) -> int:
    """Throw away what is not worth its room any more, and what a killed worker was making; answers how many."""
    gone = unwanted(cache)
    for _, size, folder in gone:
        Entry(folder=folder).discard()
        folder.with_suffix(".lock").unlink(missing_ok=True)
        log.info("mirror.removed", bytes=size)
    forget_left(cache.root, time())
    return len(gone)


def unwanted(cache: Cache) -> list[tuple[float, int, Path]]:
    """What no run has used for long, then the longest unused until the rest is small enough; as `mirrors` has them."""
    found, total, now = [], 0, time()
    for used, size, folder in sorted(mirrors(cache.root), key=lambda kept: kept[0], reverse=True):
        if total + size > cache.largest or now - used > cache.age.total_seconds():
            found.append((used, size, folder))
        else:
            total += size
    return found


def mirrors(root: Path) -> Sequence[tuple[float, int, Path]]:
    """Each kept mirror: when it was used last, its size in bytes, and its folder."""
    found = []
    with suppress(FileNotFoundError):
        for folder in root.iterdir():
            with suppress(FileNotFoundError):
                if folder.is_dir() and not folder.name.startswith(MAKING):
                    size = sum(path.stat().st_size for path in (folder / PACKS).iterdir())
                    found.append((folder.stat().st_mtime, size, folder))
    return found


def forget_left(root: Path, now: float) -> None:
    """Remove what a killed worker was making."""
    with suppress(FileNotFoundError):
        for folder in root.glob(f"{MAKING}*"):
            with suppress(FileNotFoundError):
                if now - folder.stat().st_mtime > STILL_MAKING.total_seconds():
                    shutil.rmtree(folder, ignore_errors=True)
