"""What agents do to the repository that they are given, and what becomes of it."""

import dataclasses
import os
import shutil
from pathlib import Path

import pytest

from tests.integration.git.conftest import EMPTY, TASK, Scene, Started, plain
from worker import git
from worker.errors import TaskFailed
from worker.sandbox.command import Command, Completed


@pytest.fixture
def run(scene: Scene) -> Started:
    return scene.start()


def pushed(scene: Scene, run: Started) -> list[str]:
    """The subjects of what was pushed on top of the default branch, newest first."""
    run.push()
    return scene.remote("log", "--format=%s", "main..feature").split("\n")


def test_its_own_commits_are_kept_and_the_rest_is_added(scene: Scene, run: Started) -> None:
    run.write("a")
    run.agent("add", ".")
    run.agent("commit", "--quiet", "--message", "By the agent")
    run.write("b")
    assert pushed(scene, run) == ["Add a greeting", "By the agent"]


def test_a_run_that_committed_everything_gets_no_empty_commit(scene: Scene, run: Started) -> None:
    run.write("a")
    run.agent("add", ".")
    run.agent("commit", "--quiet", "--message", "By the agent")
    assert pushed(scene, run) == ["By the agent"]


@pytest.mark.parametrize("switch", [("checkout", "-q", "-b", "mine"), ("checkout", "-q", "--detach")])
def test_another_branch_that_goes_on_from_the_start_is_taken(
    scene: Scene, run: Started, switch: tuple[str, ...]
) -> None:
    run.agent(*switch)
    run.write("a")
    run.agent("add", ".")
    run.agent("commit", "--quiet", "--message", "Elsewhere")
    run.write("b")
    assert pushed(scene, run) == ["Add a greeting", "Elsewhere"]


def test_a_branch_that_does_not_go_on_from_the_start_is_refused(scene: Scene) -> None:
    scene.somebody_pushes("feature")
    run = scene.start()
    run.agent("checkout", "--quiet", "-b", "mine", "origin/main")
    run.write("a")
    with pytest.raises(TaskFailed, match="ended on another branch"):
        run.commit()


@pytest.mark.parametrize(
    "rewrite",
    [
        ("commit", "--quiet", "--amend", "--all", "--message", "Amended"),
        ("reset", "--quiet", "--hard", "HEAD~1"),
        ("reset", "--quiet", "--soft", "HEAD~1"),
    ],
)
def test_rewritten_history_becomes_one_commit_on_top(scene: Scene, run: Started, rewrite: tuple[str, ...]) -> None:
    run.write("README", "rewritten\n")
    run.agent(*rewrite)
    run.write("a")
    assert pushed(scene, run) == ["Add a greeting"]
    expected = "1" if "--hard" in rewrite else "rewritten"
    assert scene.remote("show", "feature:README") == expected


@pytest.mark.parametrize("begin_again", [False, True])
def test_a_deleted_repository_keeps_its_files(scene: Scene, run: Started, begin_again: bool) -> None:  # a case
    run.write("a")
    shutil.rmtree(run.repo / ".git")
    if begin_again:
        run.agent("init", "--quiet")
        run.agent("add", ".")
        run.agent("commit", "--quiet", "--message", "A new beginning")
    assert pushed(scene, run) == ["Add a greeting"]
    assert scene.remote("ls-tree", "--name-only", "feature").split() == ["README", "a"]


def test_a_deleted_repository_that_was_empty_keeps_its_files(scene: Scene) -> None:
    run = scene.start(EMPTY)
    run.write("a")
    shutil.rmtree(run.repo / ".git")
    run.push()
    assert scene.remote("ls-tree", "--name-only", "feature", name=EMPTY) == "a"


@pytest.mark.parametrize("broken", ["HEAD", "index", "config"])
def test_a_broken_file_of_git_is_no_matter(scene: Scene, run: Started, broken: str) -> None:
    run.write("a")
    (run.repo / ".git" / broken).write_bytes(b"\0garbage")
    assert pushed(scene, run) == ["Add a greeting"]


def test_a_workspace_without_the_repository_is_a_failed_task(run: Started) -> None:
    shutil.rmtree(run.repo)
    with pytest.raises(TaskFailed, match="deleted the whole repository"):
        run.commit()


def test_locks_that_were_left_are_no_matter(scene: Scene, run: Started) -> None:
    run.write("a")
    for lock in ("index.lock", "HEAD.lock", "refs/heads/feature.lock", "config.lock"):
        (run.repo / ".git" / lock).touch()
    assert pushed(scene, run) == ["Add a greeting"]


def test_a_merge_half_done_is_committed_as_it_stands(scene: Scene, run: Started) -> None:
    for branch, content in (("one", "1\n"), ("two", "2\n")):
        run.agent("checkout", "--quiet", "-b", branch, "feature")
        run.write("README", content * 2)
        run.agent("commit", "--quiet", "--all", "--message", branch)
    with pytest.raises(AssertionError):
        run.agent("merge", "one")
    assert (run.repo / ".git/MERGE_HEAD").exists()
    assert pushed(scene, run) == ["Add a greeting", "two"]
    assert "<<<<<<<" in scene.remote("show", "feature:README")


def test_what_was_staged_by_force_is_committed(scene: Scene, run: Started) -> None:
    run.write(".gitignore", "dist\n")
    run.write("dist/app.js")
    run.write("dist/other.js")
    run.agent("add", "--force", "dist/app.js")
    assert pushed(scene, run) == ["Add a greeting"]
    assert scene.remote("ls-tree", "-r", "--name-only", "feature").split() == [".gitignore", "README", "dist/app.js"]


@pytest.mark.parametrize("state", ["unborn", "committed", "staged", "recorded"])
def test_a_repository_that_a_scaffolder_left_inside_becomes_a_folder(scene: Scene, run: Started, state: str) -> None:
    run.write("app/src/index.js")
    run.write("app/lib/[x]/y")
    for folder in ("app/lib/[x]", "app"):
        plain("init", "--quiet", cwd=run.repo / folder)
        if state != "unborn":
            plain("add", ".", cwd=run.repo / folder)
            plain("commit", "--quiet", "--message", "scaffold", cwd=run.repo / folder)
    if state in {"staged", "recorded"}:
        run.agent("add", ".")
    if state == "recorded":
        run.agent("commit", "--quiet", "--message", "By the agent")
    run.push()
    files = scene.remote("ls-tree", "-r", "--name-only", "feature").split()
    assert files == ["README", "app/lib/[x]/y", "app/src/index.js"]


def test_a_submodule_that_was_added_on_purpose_stays_one(scene: Scene, run: Started) -> None:
    plain("clone", "--quiet", str(scene.root / "acme/private.git"), "lib", cwd=run.repo)
    run.write(".gitmodules", '[submodule "lib"]\n\tpath = lib\n\turl = https://example.com/lib\n')
    run.agent("add", ".")
    run.push()
    assert scene.remote("ls-tree", "feature", "lib").startswith("160000")
    again = scene.start(attempt=2)
    again.write("x")
    again.push()
    assert scene.remote("ls-tree", "feature", "lib").startswith("160000")


def test_hooks_and_signing_do_not_stand_in_the_way(scene: Scene, run: Started) -> None:
    hook = run.repo / ".git/hooks/pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    run.agent("config", "commit.gpgSign", "true")
    run.agent("config", "core.hooksPath", ".git/hooks")
    run.write("a")
    assert pushed(scene, run) == ["Add a greeting"]


def test_replaced_objects_change_nothing(scene: Scene, run: Started) -> None:
    run.write("README", "replaced\n")
    run.agent("commit", "--quiet", "--all", "--message", "By the agent")
    run.agent("replace", "HEAD", "HEAD~2")
    run.write("a")
    assert pushed(scene, run) == ["Add a greeting", "By the agent"]


def test_the_host_runs_nothing_of_the_workspaces(scene: Scene, run: Started) -> None:
    """Traps in every place where git runs a program; the sandbox may spring them, the host must not."""
    canary = scene.folder / "canary"
    trap = run.repo / "trap"
    trap.write_text(f'#!/bin/sh\necho "$CODINGIT_GIT_TOKEN $PWD" >> {canary}\n')
    trap.chmod(0o755)
    hooks = run.repo / "hooks"
    hooks.mkdir()
    for name in ("pre-push", "reference-transaction", "post-checkout", "pre-auto-gc", "post-index-change"):
        shutil.copy(trap, hooks / name)
    for key, value in (("core.fsmonitor", trap), ("core.hooksPath", hooks), ("core.sshCommand", trap)):
        run.agent("config", key, str(value))
    run.agent("config", "uploadpack.packObjectsHook", str(trap))
    run.agent("config", "core.alternateRefsCommand", str(trap))
    canary.unlink(missing_ok=True)
    run.write("a")
    head = run.commit()
    assert not canary.exists()  # not even in the sandbox, for hooks and fsmonitor are off there too
    assert head
    before = len(scene.on_host.commands)
    run.push()
    assert not canary.exists()
    for command in scene.on_host.commands[before:]:
        told = [command.cwd, *map(Path, (part for part in command.argv if os.sep in part))]
        assert not any(run.repo in path.parents or path == run.repo for path in told)


def test_the_trap_would_have_been_sprung(scene: Scene, run: Started) -> None:
    """That the test above tests something: a git that is not ours does run core.fsmonitor."""
    canary = scene.folder / "canary"
    trap = run.repo / "trap"
    trap.write_text(f"#!/bin/sh\ntouch {canary}\n")
    trap.chmod(0o755)
    run.agent("config", "core.fsmonitor", str(trap))
    run.agent("status")
    assert canary.exists()


def test_more_files_than_one_output_can_list_are_committed(scene: Scene, run: Started) -> None:
    """The names are few here: what counts is that no step prints them, for each may print so much only."""
    for number in range(300):
        run.write(f"{number}-{'x' * 100}")
    run.write("new\nline/x")
    plain("init", "--quiet", cwd=run.repo / "new\nline")
    run.agent("add", "0-*")
    printed: list[int] = []
    workspace = dataclasses.replace(run.workspace, run=lambda command: noted(scene, command, printed))
    head = git.commit(workspace, run.mirrored, run.base, task=TASK, partial=False)
    assert max(printed) < 1000
    assert len(run.agent("ls-tree", "-r", "--name-only", str(head)).splitlines()) == 302


def noted(scene: Scene, command: Command, printed: list[int]) -> Completed:
    completed = scene.in_sandbox(command)
    printed.append(len(completed.stdout) + len(completed.stderr))
    return completed
