"""What comes out of a sandbox, as hostile bytes: one bundle, checked apart from the mirror before it may be pushed."""

import os
import re
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

from worker.errors import TaskFailed
from worker.git.failure import MEMORY, raise_if_full
from worker.git.host import Host
from worker.git.remote import Base, Mirror
from worker.git.workspace import RESULT
from worker.sandbox.command import Completed

LARGEST = 500 * 10**6
LONGEST_HEADER = 1_000_000
SHA = r"[0-9a-f]{40}"
REFUSED = "The agent's work was refused"
UNREADABLE = f"{REFUSED}: what it handed over is not a bundle of commits."
DANGEROUS = re.compile(r"object [0-9a-f]+: (\w+):")


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """Commits that passed every check, in a repository from which they can be pushed."""

    folder: Path
    head: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A bundle taken apart by us, not by git."""

    head: str
    prerequisites: tuple[str, ...]
    pack: bytes


def receive(host: Host, mirrored: Mirror, base: Base, *, bundle: Path, head: str, largest: int = LARGEST) -> Delivery:
    """
    Take the commits out of a bundle that a sandbox wrote.

    `head` is what `commit` returned; `largest` is in bytes.

    Raises:
        TaskFailed: it is not what it should be, or holds what git hosts and other people's git must not get.
    """
    parsed = read_bundle(bundle, largest=largest)
    if parsed.head != head:
        raise TaskFailed(f"{REFUSED}: it changed while it was handed over.")
    folder = quarantine(host, mirrored)
    check_prerequisites(host, mirrored, parsed)
    check_pack(host.local(f"--git-dir={folder}", *index_pack(largest), stdin=parsed.pack))
    check_history(host, folder, mirrored, base, parsed.head)
    return Delivery(folder=folder, head=parsed.head)


def read_bundle(path: Path, *, largest: int) -> Bundle:
    """The bundle in a regular file that is no link, read through one descriptor."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        raise TaskFailed(UNREADABLE) from None
    try:
        return read_regular(descriptor, largest=largest)
    finally:
        os.close(descriptor)


def read_regular(descriptor: int, *, largest: int) -> Bundle:
    """The bundle in an open file, if that is one and no larger than that."""
    about = os.fstat(descriptor)
    if not stat.S_ISREG(about.st_mode):
        raise TaskFailed(UNREADABLE)
    if about.st_size > largest:
        raise TaskFailed(f"{REFUSED}: it is larger than {largest // 10**6} MB.")
    with open(descriptor, "rb", closefd=False) as file:
        header, _, pack = file.read(LONGEST_HEADER).partition(b"\n\n")
        if not pack.startswith(b"PACK"):
            raise TaskFailed(UNREADABLE)
        file.seek(len(header) + 2)
        return parse(header, file.read(about.st_size))


def parse(header: bytes, pack: bytes) -> Bundle:
    """A bundle of version 2 or 3 with exactly our ref, and without a filter or any other capability."""
    lines = header.decode(errors="replace").split("\n")
    signature = re.fullmatch(r"# v[23] git bundle", lines.pop(0))
    if lines and lines[0] == "@object-format=sha1":
        lines.pop(0)
    prerequisites = tuple(line[1:41] for line in lines if re.match(rf"-{SHA}( |$)", line))
    refs = lines[len(prerequisites) :]
    if not signature or len(refs) != 1 or not re.fullmatch(rf"{SHA} {RESULT}", refs[0]):
        raise TaskFailed(UNREADABLE)
    return Bundle(head=refs[0][:40], prerequisites=prerequisites, pack=pack)


def quarantine(host: Host, mirrored: Mirror) -> Path:
    """A fresh bare repository that reads the mirror's objects and writes its own."""
    folder = host.folder / "quarantine.git"
    shutil.rmtree(folder, ignore_errors=True)
    host.checked("init", "--quiet", "--bare", "--template=", str(folder))
    (folder / "objects" / "info").mkdir(exist_ok=True)
    (folder / "objects" / "info" / "alternates").write_text(f"{mirrored.folder / 'objects'}\n", encoding="utf-8")
    return folder


def index_pack(largest: int) -> tuple[str, ...]:
    """How a pack is unpacked that nobody vouches for."""
    return ("index-pack", "--strict", "--fix-thin", "--stdin", f"--max-input-size={largest}")


def check_prerequisites(host: Host, mirrored: Mirror, parsed: Bundle) -> None:
    """Whether the bundle builds on nothing but commits that the mirror has."""
    asked = "".join(f"{commit}\n" for commit in parsed.prerequisites).encode()
    found = host.checked(f"--git-dir={mirrored.folder}", "cat-file", "--batch-check=%(objecttype)", stdin=asked)
    if any(line != "commit" for line in found.splitlines()):
        raise TaskFailed(f"{REFUSED}: it builds on commits that the repository does not have.")


def check_pack(indexed: Completed) -> None:
    """Whether git found every object well-formed and harmless."""
    if indexed.returncode == 0:
        return
    raise_if_exhausted(indexed)
    fault = DANGEROUS.search(indexed.stderr.decode(errors="replace"))
    if not fault:
        raise TaskFailed(f"{REFUSED}: its objects are damaged or incomplete.")
    raise TaskFailed(
        f"{REFUSED}: it holds a file or commit that git regards as malformed or dangerous"
        f" ({fault[1]}), such as a folder named .git."
    )


def raise_if_exhausted(step: Completed) -> None:
    """Whether it failed for want of memory, which is bounded here, or of anything else that a machine has."""
    if step.returncode != 0 and MEMORY.search(step.stderr.decode(errors="replace")):
        raise TaskFailed(f"{REFUSED}: to check it takes too much memory.")
    raise_if_full(step)


def check_history(host: Host, folder: Path, mirrored: Mirror, base: Base, head: str) -> None:
    """Whether the head is a commit on top of `base`, with everything that it needs."""
    git_dir = f"--git-dir={folder}"
    if host.local(git_dir, "cat-file", "-t", head).stdout.strip() != b"commit":
        raise TaskFailed(UNREADABLE)
    known = [commit for commit in (base.commit, mirrored.default_head, mirrored.branch_head) if commit]
    needed = ("rev-list", "--objects", "--quiet", head, "--not", *known)
    reached = host.local(git_dir, *needed)
    raise_if_exhausted(reached)
    if reached.returncode != 0:
        raise TaskFailed(f"{REFUSED}: its objects are damaged or incomplete.")
    if base.commit and host.local(git_dir, "merge-base", "--is-ancestor", base.commit, head).returncode != 0:
        raise TaskFailed(f"{REFUSED}: it does not build on the commit that the run started from.")
