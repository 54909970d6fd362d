"""What the remote repository has, a bare mirror of what a run needs of it, and the commit to build upon."""

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from worker.errors import CommandFailed, TaskFailed
from worker.git.branch import validate_branch
from worker.git.cache import Cache, Entry, evict
from worker.git.failure import MOVED_AWAY, raise_for
from worker.git.host import Host
from worker.repository.address import shown
from worker.sandbox.command import Completed

USUAL = ("main", "master")
UNLIMITED = 2**31 - 1
"""The depth that git takes for none, as in `git fetch --unshallow`."""
SPOKEN = re.compile(rb"Recv header: content-type: application/x-git-upload-pack-advertisement", re.IGNORECASE)
KEPT = "refs/kept"
MOST_PACKS = 20
"""So many fetches are kept one beside the other."""
READERS = "readers.config"
"""In the mirror: the configuration of a git that reads it as another user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """The branches of a remote repository."""

    url: str
    default_branch: str | None
    """None when the repository is empty."""
    heads: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirror:
    """A bare repository on the host with the default branch and, where there is one, the branch of the task."""

    folder: Path
    url: str
    """The address that answered: with `.git` where the host insists on it."""
    default_branch: str | None
    default_head: str | None
    """None, like default_branch, when the remote repository is empty."""
    branch: str
    branch_head: str | None
    """The head of the task's branch on the remote, None where it does not exist."""
    kept: bool = False
    """Whether any of it comes from an earlier run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """A head that an earlier attempt of this task was about to push, and the commit that it had built upon."""

    branch: str
    head: str
    base: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """Where a run starts, and what the remote branch must still be when it pushes."""

    commit: str | None
    """None in an empty repository: the branch is born as a root commit."""
    expected: str | None
    """The remote head that may be replaced, None where the branch must not exist."""


def mirror(host: Host, branch: str, *, cache: Cache | None = None) -> Mirror:
    """
    Fetch what a run on `branch` needs into a fresh bare repository in the host's folder.

    With a cache, only what is not kept from earlier runs; what is kept and turns out to be broken is thrown away.

    Raises:
        TaskFailed, Unreachable: as `raise_for` says.
    """
    remote = read(host)
    if cache is None:
        return fresh(host, remote, branch)
    entry = cache.entry(host.repository, host.credential)
    try:
        mirrored = fresh(host, remote, branch, entry=entry)
    except (TaskFailed, CommandFailed):
        entry.discard()
        mirrored = fresh(host, remote, branch)
    evict(cache)
    return mirrored


def fresh(host: Host, remote: Remote, branch: str, *, entry: Entry | None = None) -> Mirror:
    """A mirror made of what is kept, where anything is, and of what is fetched besides; and kept for the next."""
    folder = host.folder / "mirror.git"
    make(host, folder)
    kept = entry.take(folder / "objects") if entry else ()
    lay(folder, kept)
    wanted = [name for name in dict.fromkeys((remote.default_branch, branch)) if name in remote.heads]
    if wanted:
        refspecs = (f"+refs/heads/{name}:refs/heads/{name}" for name in wanted)
        raise_for(host, fetch(host, folder, remote.url, *refspecs))
    if not all(head(host, folder, name) for name in wanted):
        raise CommandFailed("git fetched a branch, and does not have it.")
    if remote.default_branch:
        host.checked(f"--git-dir={folder}", "symbolic-ref", "HEAD", f"refs/heads/{remote.default_branch}")
    if entry and wanted:
        lift(host, folder, kept)
        entry.keep(folder / "objects", tips(host, folder))
    return Mirror(
        folder=folder,
        url=remote.url,
        default_branch=remote.default_branch,
        default_head=head(host, folder, remote.default_branch),
        branch=branch,
        branch_head=head(host, folder, branch),
        kept=bool(kept),
    )


def make(host: Host, folder: Path) -> None:
    """An empty bare repository, in place of any that is there."""
    shutil.rmtree(folder, ignore_errors=True)
    host.checked("init", "--quiet", "--bare", "--template=", str(folder))
    (folder / READERS).write_text("[safe]\n\tdirectory = *\n", encoding="utf-8")


def lay(folder: Path, kept: Sequence[str]) -> None:
    """Let git know what it has, by refs that nobody else asks for."""
    if kept:
        lines = "".join(f"{tip} {KEPT}/{number}\n" for number, tip in enumerate(kept))
        (folder / "packed-refs").write_text(lines, encoding="utf-8")


def lift(host: Host, folder: Path, kept: Sequence[str]) -> None:
    """Take those refs away again; and make one pack of many, without what nothing leads to any more."""
    git_dir = f"--git-dir={folder}"
    gone = "".join(f"delete {KEPT}/{number}\n" for number in range(len(kept)))
    host.checked(git_dir, "update-ref", "--stdin", stdin=gone.encode())
    if len(list((folder / "objects" / "pack").glob("*.pack"))) > MOST_PACKS:
        host.checked(git_dir, "repack", "-a", "-d", "--quiet")


def tips(host: Host, folder: Path) -> Sequence[str]:
    """The ids of every branch and tag of the mirror."""
    listed = host.checked(f"--git-dir={folder}", "for-each-ref", "--format=%(objectname)")
    return list(dict.fromkeys(listed.splitlines()))


def fetch(host: Host, folder: Path, url: str, *refspecs: str) -> Completed:
    """
    Fetch these refs and nothing that hangs on them but tags.

    Of unlimited depth, which changes nothing but that git refuses plain files over HTTP, whose objects it would
    take unchecked.
    """
    quiet = ("--quiet", f"--depth={UNLIMITED}", "--no-write-fetch-head", "--no-recurse-submodules")
    return host.network(f"--git-dir={folder}", "fetch", *quiet, url, *refspecs)


def head(host: Host, folder: Path, branch: str | None) -> str | None:
    """The head of a branch in the mirror, if it is there."""
    if branch is None:
        return None
    found = host.local(f"--git-dir={folder}", "rev-parse", "--quiet", "--verify", f"refs/heads/{branch}^{{commit}}")
    return found.stdout.decode().strip() if found.returncode == 0 else None


def read(host: Host) -> Remote:
    """
    What the remote has now.

    Some hosts redirect an address to the same with `.git`; since redirects are refused, that one is tried then.
    """
    url = host.repository.url
    listed = ls_remote(host, url)
    if MOVED_AWAY.search(listed.stderr.decode(errors="replace")) and not url.endswith(".git"):
        url = f"{url}.git"
        listed = ls_remote(host, url)
    raise_for(host, listed)
    if not listed.stdout:
        raise_unless_git(host, url)
    refs = dict(parse_refs(listed.stdout))
    heads = {name.removeprefix("refs/heads/"): at for name, at in refs.items() if name.startswith("refs/heads/")}
    return Remote(url=url, default_branch=default_of(host, refs, heads), heads=heads)


def raise_unless_git(host: Host, url: str) -> None:
    """Nothing was listed: make sure that a repository did not, for git takes some web pages for empty lists."""
    asked = ls_remote(host, url, trace={"GIT_TRACE_CURL": "1", "GIT_TRACE_CURL_NO_DATA": "1"})
    if not SPOKEN.search(asked.stderr):
        raise TaskFailed("The address is not that of a git repository.")


def ls_remote(host: Host, url: str, *, trace: Mapping[str, str] = MappingProxyType({})) -> Completed:
    """Ask for HEAD and all branches."""
    return host.network("ls-remote", "--quiet", "--symref", url, "HEAD", "refs/heads/*", trace=trace)


def parse_refs(listed: bytes) -> Iterator[tuple[str, str]]:
    """Each ref and what it is at; where HEAD is a symbolic ref, that comes as `HEAD` at `ref: refs/heads/…`."""
    symbolic = False
    for line in listed.decode(errors="replace").splitlines():
        at, _, name = line.partition("\t")
        if name == "HEAD" and symbolic:
            continue
        symbolic = symbolic or (name == "HEAD" and at.startswith("ref: "))
        yield name, at


def default_of(host: Host, refs: Mapping[str, str], heads: Mapping[str, str]) -> str | None:
    """The default branch; where HEAD names none that exists, the usual one or the only one."""
    if not heads:
        return None
    named = refs.get("HEAD", "").removeprefix("ref: refs/heads/")
    only = heads if len(heads) == 1 else ()
    found = next((name for name in (named, *USUAL, *only) if name in heads), None)
    if found is None:
        raise TaskFailed("The repository has no default branch: choose one in its settings.")
    return validate_branch(host, found)


def base_for(mirrored: Mirror, *, earlier: Sequence[Pushed]) -> Base:
    """
    The commit to build upon.

    A remote head that an earlier attempt of this task recorded is replaced: the run starts where that attempt
    did. Any other remote head is built upon. Without one, the run starts at the default branch.

    Raises:
        TaskFailed: the branch is the repository's default branch.
    """
    recorded = {pushed.head: pushed for pushed in earlier if pushed.branch == mirrored.branch}
    mine = recorded.get(mirrored.branch_head or "")
    if mine:
        return Base(commit=mine.base, expected=mine.head)
    if mirrored.branch == mirrored.default_branch:
        raise TaskFailed(
            f"{shown(mirrored.branch)} is the repository's default branch, which this worker never pushes to:"
            " name another branch."
        )
    return Base(commit=mirrored.branch_head or mirrored.default_head, expected=mirrored.branch_head)


def notes(host: Host, mirrored: Mirror, base: Base) -> tuple[str, ...]:
    """What a clone of `base` does not bring along, one sentence each, for the task's log."""
    if base.commit is None:
        return ()
    at = (f"--git-dir={mirrored.folder}", "cat-file", "blob")
    found = []
    if host.local(*at, f"{base.commit}:.gitmodules").returncode == 0:
        found.append("The repository has submodules; they are not fetched.")
    if b"filter=lfs" in host.local(*at, f"{base.commit}:.gitattributes").stdout:
        found.append("The repository keeps files in Git LFS; they are not fetched, only their pointers.")
    return tuple(found)
