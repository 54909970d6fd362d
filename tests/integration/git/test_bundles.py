"""Hostile bytes in place of a bundle, and hostile objects in a well-formed one."""

import os
import random
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.git.conftest import Scene, Started, make_scene, plain
from worker import git
from worker.errors import TaskFailed

RESULT = "refs/codingit/result"


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, remotes: Path) -> Iterator[Scene]:
    """One for all: nothing here is pushed."""
    with make_scene(tmp_path_factory.mktemp("bundles"), remotes) as made:
        yield made


@pytest.fixture(scope="module")
def run(scene: Scene) -> Started:
    return scene.start()


@pytest.fixture(scope="module")
def good(run: Started) -> tuple[str, bytes]:
    """A good change, committed and bundled: its head and the bundle."""
    run.write("a", "".join(random.Random(1).choices("abcdefgh\n", k=5000)))  # no secret
    found = run.commit()
    assert found
    git.bundle(run.workspace, run.base)
    return found, run.workspace.out.read_bytes()


@pytest.fixture
def head(run: Started, good: tuple[str, bytes]) -> str:
    """The head of the good change, with its bundle in place."""
    clear(run.workspace.out)
    run.workspace.out.write_bytes(good[1])
    return good[0]


def clear(path: Path) -> None:
    """Remove whatever a test put there."""
    if path.is_dir():
        path.rmdir()
    path.unlink(missing_ok=True)


def refuses(run: Started, head: str, sentence: str) -> None:
    with pytest.raises(TaskFailed, match=sentence):
        run.receive(head)


def test_a_good_bundle_is_received(run: Started, head: str) -> None:
    assert run.receive(head).head == head


def test_a_link_is_not_followed(scene: Scene, run: Started, head: str) -> None:
    target = scene.folder / "good"
    run.workspace.out.rename(target)
    run.workspace.out.symlink_to(target)
    refuses(run, head, "not a bundle")


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_not_waited_for(run: Started, head: str, make: Callable[[Path], None]) -> None:
    run.workspace.out.unlink()
    make(run.workspace.out)
    refuses(run, head, "not a bundle")


def test_no_file_at_all_is_refused(run: Started, head: str) -> None:
    run.workspace.out.unlink()
    refuses(run, head, "not a bundle")


def test_a_huge_file_is_not_read(run: Started, head: str) -> None:
    os.truncate(run.workspace.out, 10**12)
    refuses(run, head, "larger than 1 MB")


def test_a_bundle_of_something_else_is_refused(run: Started, head: str) -> None:
    refuses(run, run.base.commit or "", "changed while it was handed over")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"# v2 git bundle", b"# v4 git bundle"),
        (b"# v2 git bundle\n", b"# v3 git bundle\n@object-format=sha256\n"),
        (b"# v2 git bundle\n", b"# v3 git bundle\n@filter=blob:none\n"),
        (b"# v2 git bundle\n", b"# v3 git bundle\n@object-format=sha1\n@filter=blob:none\n"),
        (b" refs/codingit/result\n", b" refs/heads/main\n"),
        (b" refs/codingit/result\n", b" refs/codingit/result\n" + b"0" * 40 + b" refs/heads/main\n"),
        (b" refs/codingit/result\n", b" refs/codingit/result\n" + b"0" * 40 + b" refs/codingit/result\n"),
        (b"\n\nPACK", b"\n\nKCAP"),
        (b"\n\nPACK", b"\nPACK"),
        (b"# v2", b"\0\0\0"),
    ],
)
def test_an_odd_header_is_refused(run: Started, head: str, old: bytes, new: bytes) -> None:
    content = run.workspace.out.read_bytes()
    assert old in content
    run.workspace.out.write_bytes(content.replace(old, new, 1))
    refuses(run, head, "not a bundle")


def test_a_header_without_end_is_refused(run: Started, head: str) -> None:
    run.workspace.out.write_bytes(b"# v2 git bundle\n" + b"-" * 990_000)
    refuses(run, head, "not a bundle")


def test_an_unknown_prerequisite_is_refused(run: Started, head: str) -> None:
    content = run.workspace.out.read_bytes()
    missing = b"# v2 git bundle\n-" + b"1" * 40 + b" no such commit\n"
    run.workspace.out.write_bytes(content.replace(b"# v2 git bundle\n", missing, 1))
    refuses(run, head, "builds on commits that the repository does not have")


@pytest.mark.parametrize("keep", [0.3, 0.9, 0.999])
def test_a_pack_cut_short_is_refused(run: Started, head: str, keep: float) -> None:
    content = run.workspace.out.read_bytes()
    start = content.index(b"PACK") + 4
    run.workspace.out.write_bytes(content[: start + int((len(content) - start) * keep)])
    refuses(run, head, "damaged or incomplete")


def test_garbage_in_a_pack_is_refused(run: Started, head: str) -> None:
    content = bytearray(run.workspace.out.read_bytes())
    content[content.index(b"PACK") + 60 :] = random.Random(2).randbytes(3000)  # no secret
    run.workspace.out.write_bytes(bytes(content))
    refuses(run, head, "damaged or incomplete")


def loose(repo: Path, kind: str, body: bytes) -> str:
    """Write an object that git itself would not."""
    from hashlib import sha1

    content = f"{kind} {len(body)}\0".encode() + body
    name = sha1(content).hexdigest()  # noqa: S324  # git's own
    path = repo / ".git/objects" / name[:2] / name[2:]
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(zlib.compress(content))
    return name


def tree_with(run: Started, name: bytes, mode: bytes = b"40000") -> str:
    """A tree with one entry of that name: a folder that holds a file called config, or that file."""
    blob = loose(run.repo, "blob", b"[core]\n\tfsmonitor = touch /tmp/canary\n")
    inner = loose(run.repo, "tree", b"100644 config\0" + bytes.fromhex(blob))
    target = inner if mode == b"40000" else blob
    return loose(run.repo, "tree", mode + b" " + name + b"\0" + bytes.fromhex(target))


def hand_over(run: Started, head: str) -> None:
    """Bundle a commit of the agent's own making, as an agent could that has the sandbox for itself."""
    clear(run.workspace.out)
    base = (f"^{run.base.commit}",) if run.base.commit else ()
    run.agent("update-ref", "--no-deref", RESULT, head)
    run.agent("bundle", "create", "--quiet", str(run.workspace.out), RESULT, *base)


def commit_of(run: Started, tree: str, *parents: str) -> str:
    people = "author Ann <ann@example.com> 1 +0000\ncommitter Ann <ann@example.com> 1 +0000\n"
    lines = "".join(f"parent {parent}\n" for parent in parents)
    return loose(run.repo, "commit", f"tree {tree}\n{lines}{people}\nx\n".encode())


@pytest.mark.parametrize(
    ("name", "mode", "why"),
    [
        (b".git", b"40000", "hasDotgit"),
        (b".GIT", b"40000", "hasDotgit"),
        (b"git~1", b"40000", "hasDotgit"),
        (b"..", b"40000", "hasDotdot"),
        (b"a/b", b"100644", "fullPathname"),
        (b".gitmodules", b"120000", "gitmodulesSymlink"),
    ],
)
def test_a_tree_that_attacks_whoever_checks_it_out_is_refused(run: Started, name: bytes, mode: bytes, why: str) -> None:
    head = commit_of(run, tree_with(run, name, mode), str(run.base.commit))
    hand_over(run, head)
    refuses(run, head, rf"regards as malformed or dangerous \({why}\)")


def test_a_commit_that_does_not_build_on_the_start_is_refused(run: Started) -> None:
    head = commit_of(run, run.agent("rev-parse", "HEAD^{tree}"), run.agent("rev-parse", "HEAD~1"))
    hand_over(run, head)
    refuses(run, head, "does not build on the commit")


def test_a_head_that_is_no_commit_is_refused(run: Started) -> None:
    head = run.agent("rev-parse", "HEAD:README")
    run.agent("update-ref", RESULT, head)
    run.agent("bundle", "create", "--quiet", str(run.workspace.out), RESULT)
    refuses(run, head, "not a bundle")


def test_a_commit_without_its_files_is_refused(run: Started) -> None:
    present = commit_of(run, run.agent("rev-parse", "HEAD^{tree}"), str(run.base.commit))
    absent = commit_of(run, "1" * 40, str(run.base.commit))
    pack = plain_pack(run, absent)
    header = f"# v2 git bundle\n-{run.base.commit} x\n{absent} {RESULT}\n\n".encode()
    run.workspace.out.write_bytes(header + pack)
    assert present != absent
    refuses(run, absent, "damaged or incomplete")


def plain_pack(run: Started, *objects: str) -> bytes:
    """A pack of exactly these objects, whether or not they are all that is needed."""
    name = plain("pack-objects", "--quiet", "out", cwd=run.repo, stdin="\n".join(objects))
    return (run.repo / f"out-{name}.pack").read_bytes()


def test_the_mirror_gets_nothing_of_what_was_refused(run: Started) -> None:
    head = commit_of(run, tree_with(run, b".git"), str(run.base.commit))
    hand_over(run, head)
    before = sorted(run.mirrored.folder.rglob("*"))
    refuses(run, head, "dangerous")
    assert sorted(run.mirrored.folder.rglob("*")) == before


def test_a_bundle_is_held_in_memory_once(run: Started, head: str) -> None:
    content = run.workspace.out.read_bytes()
    run.workspace.out.write_bytes(content + bytes(10**7))
    tracemalloc.start()
    try:
        run.receive(head, largest=10**8)
        assert tracemalloc.get_traced_memory()[1] < 1.6 * 10**7
    finally:
        tracemalloc.stop()
