"""git's steps in a sandbox that isolates, on a repository full of traps: what springs, springs in there alone."""

import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from tests.integration.git.conftest import Scene, Started, plain
from tests.support.sandboxes import isolating
from worker.run.pump import Deadline, Limits, Pump
from worker.sandbox.command import Command, Completed

WITHIN = timedelta(seconds=30)


@pytest.fixture
def run(scene: Scene) -> Started:
    """A run whose agent is at work, and whose sandbox sees nothing but its workspace."""

    def isolated(command: Command) -> Completed:
        limits = Limits(wall=Deadline.after(WITHIN))
        sandbox = isolating([*scene.folder.glob("workspace-*")])
        return Pump(watch=lambda: None).run(command, sandbox=sandbox, limits=limits)

    scene.in_sandbox = isolated  # type: ignore[assignment]  # runs commands as well, and remembers none
    return scene.start()


def trap(scene: Scene, run: Started) -> Path:
    """A program that tells everybody it was run: the host by a file that no sandbox sees, and us by one inside."""
    path = run.repo / "trap"
    path.write_text(f"#!/bin/sh\ntouch {run.workspace.folder}/sprung\ntouch {scene.folder}/canary\ncat\n")
    path.chmod(0o755)
    return path


def hooks(run: Started, path: Path) -> None:
    for name in (
        "pre-commit",
        "post-index-change",
        "reference-transaction",
        "post-checkout",
        "pre-push",
        "post-commit",
    ):
        (run.repo / ".git/hooks").mkdir(exist_ok=True)
        shutil.copy(path, run.repo / ".git/hooks" / name)


def fsmonitor(run: Started, path: Path) -> None:
    run.agent("config", "core.fsmonitor", str(path))


def filters(run: Started, path: Path) -> None:
    run.write(".gitattributes", "* filter=trap diff=trap merge=trap\n")
    for key in (
        "filter.trap.clean",
        "filter.trap.smudge",
        "diff.trap.command",
        "diff.trap.textconv",
        "merge.trap.driver",
    ):
        run.agent("config", key, str(path))


def programs(run: Started, path: Path) -> None:
    for key in ("core.sshCommand", "core.editor", "core.pager", "gpg.program", "credential.helper", "core.askPass",
                "core.alternateRefsCommand", "uploadpack.packObjectsHook", "sequence.editor"):  # fmt: skip
        run.agent("config", key, str(path))
    run.agent("config", "commit.gpgSign", "true")


def included(run: Started, path: Path) -> None:
    (run.repo / "evil.config").write_text(f"[core]\n\tfsmonitor = {path}\n\thooksPath = {run.repo}/hooks\n")
    run.agent("config", "include.path", "../evil.config")


@pytest.mark.parametrize("lay", [hooks, fsmonitor, filters, programs, included])
def test_a_trap_of_git_springs_nowhere_but_in_the_sandbox(
    scene: Scene, run: Started, lay: Callable[[Started, Path], None]
) -> None:
    lay(run, trap(scene, run))
    (scene.folder / "canary").unlink(missing_ok=True)  # the agent's own git, here on the host, may have sprung it
    run.write("a")
    run.push()
    assert not (scene.folder / "canary").exists()
    assert (run.workspace.folder / "sprung").exists() == (lay is filters)
    assert scene.remote("show", "feature:a") == "hello"


def test_a_submodule_of_a_file_address_is_not_fetched(scene: Scene, run: Started) -> None:
    private = scene.root / "acme/private.git"
    run.write(".gitmodules", f'[submodule "lib"]\n\tpath = lib\n\turl = file://{private}\n')
    (run.repo / "lib").mkdir()
    run.agent("add", ".gitmodules")
    run.agent("update-index", "--add", "--cacheinfo", f"160000,{scene.head('main', 'acme/private.git')},lib")
    run.agent("commit", "--quiet", "--message", "A submodule")
    run.push()
    again = scene.start(attempt=2)
    assert (again.repo / ".gitmodules").exists()
    assert not list((again.repo / "lib").iterdir())
    assert not (again.repo / ".git/modules").exists()


@pytest.mark.parametrize("leads", ["objects", "gitdir", "worktree", "link"])
def test_a_repository_that_leads_out_of_the_sandbox_brings_nothing_along(
    scene: Scene, run: Started, leads: str
) -> None:
    """To the objects of another repository, to its folder, or to the host's files: in there, none of them exists."""
    secret = scene.folder / "elsewhere"
    plain("clone", "--quiet", str(scene.root / "acme/private.git"), str(secret), cwd=scene.folder)
    (secret / "secret").write_text("very-secret-word")
    if leads == "objects":
        (run.repo / ".git/objects/info").mkdir(exist_ok=True)
        (run.repo / ".git/objects/info/alternates").write_text(f"{secret}/.git/objects\n")
    elif leads == "worktree":
        run.agent("config", "core.worktree", str(secret))
    elif leads == "gitdir":
        shutil.rmtree(run.repo / ".git")
        (run.repo / ".git").write_text(f"gitdir: {secret}/.git\n")
    else:
        (run.repo / "link").symlink_to(secret)
    run.write("a")
    run.push()
    files = scene.remote("ls-tree", "-r", "--name-only", "feature").split()
    assert set(files) == {"README", "a"} | ({"link"} if leads == "link" else set())
    assert "very-secret-word" not in scene.remote("log", "-p", "feature")
