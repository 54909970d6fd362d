"""Mirrors that are kept between runs: what they save, who shares them, and what becomes of broken ones."""

import fcntl
import os
import random
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from tests.integration.git.conftest import PRIVATE, SITE, TOKEN, Scene, Started, plain
from worker import git
from worker.errors import TaskFailed
from worker.git import cache as kept


@pytest.fixture
def cache(tmp_path: Path) -> git.Cache:
    return git.Cache(root=tmp_path / "mirrors", largest=10**9, age=timedelta(days=1))


def begin(
    scene: Scene,
    cache: git.Cache,
    attempt: int,
    *,
    name: str = SITE,
    branch: str = "feature",
    token: str | None = TOKEN,
) -> Started:
    """Everything up to the agent, with what is kept."""
    host, workspace = scene.host(name, attempt=attempt, token=token), scene.workspace(attempt)
    mirrored, base = git.start(host, workspace, branch, earlier=(), cache=cache)
    return Started(host=host, workspace=workspace, mirrored=mirrored, base=base)


def packed(folder: Path) -> dict[str, int]:
    """The packs of a mirror, and by how many names each is known."""
    return {path.name: path.stat().st_nlink for path in (folder / "objects" / "pack").glob("*.pack")}


def test_a_second_run_fetches_only_what_is_new(scene: Scene, cache: git.Cache) -> None:
    first = begin(scene, cache, 1)
    new = scene.somebody_pushes("main")
    second = begin(scene, cache, 2)

    assert (first.mirrored.kept, second.mirrored.kept) == (False, True)
    assert second.mirrored.default_head == second.base.commit == new
    assert packed(first.mirrored.folder).keys() < packed(second.mirrored.folder).keys()
    (fetched,) = packed(second.mirrored.folder).keys() - packed(first.mirrored.folder).keys()
    index = second.mirrored.folder / "objects" / "pack" / fetched.replace(".pack", ".idx")
    assert len(plain("verify-pack", "-v", str(index), cwd=index.parent).splitlines()) <= 3, "one commit was new"
    assert plain("rev-list", "--count", "HEAD", cwd=second.repo) == "3"


def test_what_a_run_sees_is_the_same_with_and_without_it(scene: Scene, cache: git.Cache) -> None:
    """Branches and tags of the remote as they are now, and nothing else of earlier runs."""
    scene.somebody_pushes("feature")
    scene.somebody_pushes("other")
    scene.remote("tag", "-a", "-m", "v1", "v1", "main")
    begin(scene, cache, 1)
    begin(scene, cache, 2, branch="other")
    scene.remote("branch", "-D", "other")
    scene.somebody_pushes("main")

    with_it = begin(scene, cache, 3)
    without = scene.start(attempt=4)

    refs = ("for-each-ref", "--format=%(refname) %(objectname)")
    assert with_it.mirrored.kept
    for at in ("mirrored", "repo"):
        folders = [run.mirrored.folder if at == "mirrored" else run.repo for run in (with_it, without)]
        listed = [plain(*refs, cwd=folder) for folder in folders]
        assert listed[0] == listed[1]
        assert "v1" in listed[0]


def test_a_run_with_it_commits_and_pushes_as_any_other(scene: Scene, cache: git.Cache) -> None:
    begin(scene, cache, 1)
    run = begin(scene, cache, 2)
    run.write("greeting")

    assert scene.head("feature") is None
    assert run.push() == scene.head("feature")


def test_it_is_kept_apart_by_repository_and_by_credential(scene: Scene, cache: git.Cache) -> None:
    begin(scene, cache, 1, name=PRIVATE)

    assert not begin(scene, cache, 2, name=SITE).mirrored.kept
    with pytest.raises(TaskFailed):
        git.mirror(scene.host(PRIVATE, token=None, attempt=3), "feature", cache=cache)
    with pytest.raises(TaskFailed):
        git.mirror(scene.host(PRIVATE, token="another-token-0123", attempt=4), "feature", cache=cache)
    assert begin(scene, cache, 5, name=PRIVATE).mirrored.kept
    assert not begin(scene, cache, 6, name=SITE, token=None).mirrored.kept, "whoever shows no token has a mirror apart"
    assert begin(scene, cache, 7, name=SITE, token=None).mirrored.kept


def test_whoever_lost_the_right_to_read_gets_nothing_of_what_is_kept(scene: Scene, cache: git.Cache) -> None:
    begin(scene, cache, 1)
    (scene.root / SITE).rename(scene.root / "gone.git")

    with pytest.raises(TaskFailed):
        git.mirror(scene.host(attempt=2), "feature", cache=cache)
    assert not (scene.folder / "host-2" / "mirror.git").exists()


@pytest.mark.parametrize("part", ["packs/*.pack", "packs/*.idx", "manifest.json"])
@pytest.mark.parametrize("how", ["cut", "overwritten", "emptied", "removed"])
def test_a_broken_one_is_thrown_away_and_made_anew(scene: Scene, cache: git.Cache, part: str, how: str) -> None:
    begin(scene, cache, 1)
    head = scene.somebody_pushes("main")
    spoil(cache, part, how)

    run = begin(scene, cache, 2)

    assert not run.mirrored.kept
    assert plain("rev-parse", "HEAD", cwd=run.repo) == head
    again = begin(scene, cache, 3)
    assert again.mirrored.kept
    assert plain("fsck", cwd=again.mirrored.folder) == ""


def test_one_that_rotted_on_the_disk_is_found_out_by_git(scene: Scene, cache: git.Cache, tmp_path: Path) -> None:
    """Neither its size nor its time of change tells; and the damage is in a file that no fetch looks at."""
    work = tmp_path / "somebody"
    plain("clone", "--quiet", str(scene.root / SITE), str(work), cwd=tmp_path)
    (work / "large").write_bytes(random.Random(1).randbytes(10**6))
    plain("add", ".", cwd=work)
    plain("commit", "--quiet", "--message", "large", cwd=work)
    plain("push", "--quiet", "origin", "HEAD:main", cwd=work)
    begin(scene, cache, 1)
    head = scene.somebody_pushes("main")
    spoil(cache, "packs/*.pack", "rotten")

    run = begin(scene, cache, 2)

    assert plain("rev-parse", "HEAD", cwd=run.repo) == head
    assert plain("fsck", cwd=run.mirrored.folder) == ""
    assert plain("fsck", cwd=begin(scene, cache, 3).mirrored.folder) == ""


def test_a_commit_that_is_not_there_is_no_commit_that_is_kept(scene: Scene, cache: git.Cache) -> None:
    begin(scene, cache, 1)
    (manifest,) = cache.root.glob("*/manifest.json")
    manifest.write_text(re.sub(r'"[0-9a-f]{40}"', '"' + "0123456789" * 4 + '"', manifest.read_text()))

    assert plain("fsck", cwd=begin(scene, cache, 2).repo) == ""


def spoil(cache: git.Cache, part: str, how: str) -> None:
    """Damage one file of what is kept, under another inode: the runs that share it are not to be hurt."""
    path = next(cache.root.glob(f"*/{part}"))
    content, about = path.read_bytes(), path.stat()
    path.unlink()
    if how == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif how in {"overwritten", "rotten"}:
        middle = len(content) // 2
        flipped = bytes(255 - byte for byte in content[middle : middle + 8])
        path.write_bytes(content[:middle] + flipped + content[middle + 8 :])
    elif how == "emptied":
        path.write_bytes(b"")
    if how == "rotten":
        os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


def test_nothing_that_a_run_does_later_reaches_what_is_kept(scene: Scene, cache: git.Cache) -> None:
    first = begin(scene, cache, 1)
    before = contents(cache)
    first.write("secret", "written by the agent\n")
    first.deliver()
    (first.mirrored.folder / "refs" / "heads" / "made-up").write_text("0" * 40)

    assert contents(cache) == before
    assert begin(scene, cache, 2).mirrored.kept


def contents(cache: git.Cache) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in cache.root.rglob("*") if path.is_file()}


def test_a_run_keeps_what_it_took_when_that_is_thrown_away_meanwhile(scene: Scene, cache: git.Cache) -> None:
    begin(scene, cache, 1)
    host = scene.host(attempt=2)
    mirrored = git.mirror(host, "feature", cache=cache)
    assert git.evict(git.Cache(root=cache.root, largest=0, age=timedelta(days=1))) == 1

    base = git.base_for(mirrored, earlier=())
    git.clone(scene.workspace(2), mirrored, base)
    assert plain("fsck", cwd=mirrored.folder) == ""


def test_one_that_somebody_else_holds_is_done_without(scene: Scene, cache: git.Cache) -> None:
    """A worker that was stopped while it held the lock keeps nobody waiting."""
    begin(scene, cache, 1)
    entry = cache.entry(scene.host().repository, scene.host().credential)
    with kept.held(entry.folder, fcntl.LOCK_EX) as got:
        assert got
        assert not begin(scene, cache, 2).mirrored.kept

    assert begin(scene, cache, 3).mirrored.kept


def test_many_fetches_become_one_pack(scene: Scene, cache: git.Cache) -> None:
    for attempt in range(1, 24):
        scene.somebody_pushes("main")
        git.mirror(scene.host(attempt=attempt), "feature", cache=cache)

    (folder,) = (path for path in cache.root.iterdir() if path.is_dir())
    assert len(list((folder / "packs").glob("*.pack"))) <= 5
    assert begin(scene, cache, 30).mirrored.kept


def test_the_longest_unused_goes_first_and_the_old_in_any_case(scene: Scene, cache: git.Cache) -> None:
    for attempt, name in enumerate((SITE, PRIVATE), start=1):
        begin(scene, cache, attempt, name=name)
    site = cache.entry(scene.host(SITE).repository, scene.host(SITE).credential).folder
    private = cache.entry(scene.host(PRIVATE).repository, scene.host(PRIVATE).credential).folder
    os.utime(site, (site.stat().st_mtime - 3600,) * 2)
    size = sum(path.stat().st_size for path in (private / "packs").iterdir())

    assert git.evict(git.Cache(root=cache.root, largest=size, age=timedelta(days=1))) == 1
    assert (site.exists(), private.exists()) == (False, True)
    os.utime(private, (private.stat().st_mtime - 3600,) * 2)
    assert git.evict(git.Cache(root=cache.root, largest=size, age=timedelta(minutes=30))) == 1
    assert list(cache.root.iterdir()) == []


def test_neither_address_nor_token_can_be_read_from_it(scene: Scene, cache: git.Cache) -> None:
    begin(scene, cache, 1, name=PRIVATE)

    names = [path.name for path in cache.root.iterdir()]
    assert all(re.fullmatch(r"[0-9a-f]{64}(\.lock)?", name) for name in names)
    assert cache.root.stat().st_mode & 0o077 == 0


def test_runs_at_the_same_time_share_it(scene: Scene, cache: git.Cache) -> None:
    """Each fetches and keeps while others take; whoever finds it held goes without."""
    begin(scene, cache, 100)

    def run(attempt: int) -> str:
        head = begin(scene, cache, attempt, branch=f"feature-{attempt}").repo
        if attempt % 4 == 0:
            git.evict(git.Cache(root=cache.root, largest=0, age=timedelta(days=1)))
        return plain("fsck", cwd=head) + plain("rev-list", "--count", "HEAD", cwd=head)

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(run, range(16))) == ["2"] * 16
    assert not list(cache.root.glob(".making-*"))
