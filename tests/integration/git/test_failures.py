"""Whose fault it is that a step of git failed: the user's, the remote's, the agent's or this machine's."""

import dataclasses

import pytest

from tests.integration.git.conftest import Recorder, Scene
from worker import git
from worker.errors import CommandFailed, TaskFailed
from worker.git.host import MEMORY, Run
from worker.sandbox.command import Command, Completed

FULL = b"fatal: unable to write new index file: No space left on device\n"


def failing(run: Run, step: str, said: bytes) -> Run:
    """The same, where every git with this word among its arguments fails and says that."""

    def fail(command: Command) -> Completed:
        return Completed(returncode=128, stderr=said) if step in command.argv else run(command)

    return fail


def host(scene: Scene, step: str, said: bytes) -> git.Host:
    return dataclasses.replace(scene.host(), run=failing(scene.on_host, step, said))


@pytest.mark.parametrize(
    "said",
    [
        b"fatal: remote error: No space left on device",
        b"fatal: remote error: x\nfatal: unable to write file: No space left on device",
        b"remote: Could not resolve host: x\nfatal: remote error: no\nCould not resolve host: x",
        b"remote: No space left on device",
    ],
)
def test_a_remotes_words_blame_nobody_but_the_remote(scene: Scene, said: bytes) -> None:
    with pytest.raises(TaskFailed, match="The repository could not be read"):
        git.mirror(host(scene, "ls-remote", said), "feature")


def test_an_answer_that_takes_too_much_memory_is_a_failed_task(scene: Scene) -> None:
    said = b"fatal: Out of memory, realloc failed\n"
    with pytest.raises(TaskFailed, match="too much memory"):
        git.mirror(host(scene, "ls-remote", said), "feature")
    git.mirror(scene.host(), "feature")
    assert {command.memory for command in scene.on_host.commands} == {MEMORY}


def test_a_clone_that_failed_goes_no_further(scene: Scene) -> None:
    mirrored = git.mirror(scene.host(), "feature")
    workspace = scene.workspace()
    (workspace.folder / "repo").write_text("in the way")
    with pytest.raises(TaskFailed, match="could not be cloned"):
        git.clone(workspace, mirrored, git.base_for(mirrored, earlier=()))


@pytest.mark.parametrize("step", ["add", "write-tree", "commit-tree", "update-ref", "bundle"])
def test_a_full_disk_is_not_the_agents_fault(scene: Scene, step: str) -> None:
    run = scene.start()
    run.write("a")
    run.workspace = dataclasses.replace(run.workspace, run=failing(scene.in_sandbox, step, FULL))
    with pytest.raises(CommandFailed, match="No space left"):
        run.deliver()


@pytest.mark.parametrize("step", ["clone", "checkout"])
def test_a_full_disk_is_not_the_repositorys_fault(scene: Scene, step: str) -> None:
    scene.in_sandbox = Recorder()
    mirrored = git.mirror(scene.host(), "feature")
    workspace = dataclasses.replace(scene.workspace(), run=failing(scene.in_sandbox, step, FULL))
    with pytest.raises(CommandFailed, match="No space left"):
        git.clone(workspace, mirrored, git.base_for(mirrored, earlier=()))


@pytest.mark.parametrize("step", ["index-pack", "rev-list"])
@pytest.mark.parametrize(("said", "blamed"), [(FULL, CommandFailed), (b"fatal: Out of memory\n", TaskFailed)])
def test_what_checks_a_bundle_may_find_the_disk_full(
    scene: Scene, step: str, said: bytes, blamed: type[Exception]
) -> None:
    run = scene.start()
    run.write("a")
    run.host = host(scene, step, said)
    with pytest.raises(blamed, match="No space left" if blamed is CommandFailed else "too much memory"):
        run.deliver()


@pytest.mark.parametrize(
    "said",
    [b"fatal: bad object No space left on device", b"error: open('No space left on device'): Permission denied"],
)
def test_an_agents_words_blame_nobody_but_the_agent(scene: Scene, said: bytes) -> None:
    run = scene.start()
    run.write("a")
    run.workspace = dataclasses.replace(run.workspace, run=failing(scene.in_sandbox, "add", said))
    with pytest.raises(TaskFailed, match="git cannot work with"):
        run.deliver()
