"""The git steps of a run from the first look at the remote to the push."""

import dataclasses
import socket
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.git.conftest import EMPTY, PRIVATE, SITE, TASK, TOKEN, Recorder, Scene, Started, plain
from worker import git
from worker.errors import CommandFailed, TaskFailed
from worker.local.git_server import Request, serve
from worker.repository import Credential, Unreachable, accept
from worker.sandbox.command import Command, Completed


def refused(sentence: str) -> "pytest.RaisesExc[TaskFailed]":
    return pytest.raises(TaskFailed, match=sentence)


def test_a_change_comes_out_of_the_sandbox_onto_a_new_branch(scene: Scene) -> None:
    run = scene.start()
    run.write("greeting.txt")

    head = run.push()

    assert scene.head("feature") == head
    assert scene.remote("show", "feature:greeting.txt") == "hello"
    assert scene.remote("rev-parse", "feature^") == scene.head("main")
    shown = scene.remote("log", "-1", "--format=%an <%ae>%n%B", "feature")
    assert shown == "CodingIT <worker@example.com>\nAdd a greeting\n\nTask: 7"


def test_an_unchanged_repository_gives_nothing_to_push(scene: Scene) -> None:
    assert scene.start().commit() is None


def test_what_a_timeout_left_is_marked_as_partial(scene: Scene) -> None:
    run = scene.start()
    run.write("half.txt")
    head = run.commit(partial=True)
    assert run.agent("log", "-1", "--format=%s%n%b", str(head)).startswith("Partial: Add a greeting\nThe run ended")


def test_an_empty_repository_gets_its_first_commit_as_a_branch(scene: Scene) -> None:
    run = scene.start(EMPTY)
    assert run.base == git.Base(commit=None, expected=None)
    assert run.commit() is None
    run.write("first.txt")

    head = run.push()

    assert scene.head("feature", EMPTY) == head
    assert scene.remote("rev-list", "--count", "feature", name=EMPTY) == "1"
    again = scene.start(
        EMPTY, attempt=2, earlier=(git.Pushed(branch="feature", head=head, base=None),)
    )  # now the only branch, and so the default one, but our own
    assert again.base == git.Base(commit=None, expected=head)


def test_a_prompt_becomes_a_clipped_subject_of_one_line(scene: Scene) -> None:
    run = scene.start()
    run.write("x")
    task = git.Task(id=9, prompt="\n\0 " + "wordy\x1b " * 40 + "\nTask: 1")
    head = git.commit(run.workspace, run.mirrored, run.base, task=task, partial=False)
    subject = run.agent("log", "-1", "--format=%s", str(head))
    assert len(subject) <= 72
    assert run.agent("log", "-1", "--format=%(trailers)", str(head)) == "Task: 9"


def test_the_clone_is_an_ordinary_one_that_shares_nothing_with_the_mirror(scene: Scene) -> None:
    run = scene.start()
    assert run.agent("remote", "get-url", "origin") == f"{scene.address}/{SITE}"
    assert run.agent("symbolic-ref", "HEAD") == "refs/heads/feature"
    assert not (run.repo / ".git/objects/info/alternates").exists()
    packs = [path for path in (run.repo / ".git/objects").rglob("*") if path.is_file()]
    assert packs
    assert all(path.stat().st_nlink == 1 for path in packs)


def test_submodules_and_large_files_are_mentioned(scene: Scene) -> None:
    run = scene.start(branch="extras")
    run.write(".gitmodules", '[submodule "lib"]\n\tpath = lib\n\turl = https://example.com/lib\n')
    run.write(".gitattributes", "*.bin filter=lfs\n")
    assert git.notes(run.host, run.mirrored, run.base) == ()
    run.push()
    again = scene.start(branch="extras", attempt=2)
    said = " ".join(git.notes(again.host, again.mirrored, again.base))
    assert "submodules" in said
    assert "LFS" in said


# Whose repository it is


def test_a_private_repository_is_not_read_without_its_token(scene: Scene) -> None:
    with refused("does not exist, or its owner has not allowed"):
        git.mirror(scene.host(PRIVATE, token=None), "feature")


def test_a_repository_that_is_not_there_reads_the_same(scene: Scene) -> None:
    with refused("does not exist, or its owner has not allowed"):
        git.mirror(scene.host("acme/nothing.git"), "feature")


def test_a_wrong_token_is_said_to_be_refused(scene: Scene) -> None:
    with refused("refused the token"):
        git.mirror(scene.host(PRIVATE, token="wrong-token-0123"), "feature")


def test_a_public_repository_cannot_be_pushed_to_without_a_token(scene: Scene) -> None:
    run = scene.start()
    run.write("x")
    delivery = run.deliver()
    with pytest.raises(git.PushRejected, match="no right to write") as rejected:
        git.push(scene.host(token=None), run.mirrored, run.base, delivery)
    assert not rejected.value.moved


def test_a_host_that_does_not_answer_is_the_networks_fault(scene: Scene) -> None:
    repository = accept("http://127.0.0.1:9/acme/site", allowed_hosts=["127.0.0.1:9"])
    host = git.Host(run=scene.on_host, folder=scene.folder / "h", repository=repository)
    with pytest.raises(Unreachable):
        git.mirror(host, "feature")


def test_an_address_that_speaks_no_tls_is_the_users_fault(scene: Scene) -> None:
    address = f"{scene.address}/{SITE}".replace("http:", "https:")
    host = git.Host(
        run=scene.on_host, folder=scene.folder / "h", repository=accept(address, allowed_hosts=["127.0.0.1"])
    )
    with refused("No secure connection"):
        git.mirror(host, "feature")


def test_the_token_is_in_no_argument_no_file_and_nothing_of_the_sandboxs(scene: Scene) -> None:
    run = scene.start(PRIVATE)
    run.write("x")
    run.push()

    told = [command for command in scene.on_host.commands if TOKEN in command.env.values()]
    assert {command.argv[1] for command in told if not command.argv[1].startswith("-")} == {"ls-remote"}
    assert {command.argv[2] for command in told if command.argv[1].startswith("-")} == {"fetch", "push"}
    everything = scene.on_host.commands + scene.in_sandbox.commands
    assert not any(TOKEN in argument for command in everything for argument in command.argv)
    assert not any(TOKEN in repr(command) or "ASKPASS" in repr(command) for command in scene.in_sandbox.commands)
    files = [path for folder in (run.host.folder, run.workspace.folder) for path in folder.rglob("*") if path.is_file()]
    assert not any(TOKEN.encode() in path.read_bytes() for path in files)
    assert TOKEN not in repr(run.host)


def test_nothing_of_the_workers_environment_reaches_git(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://secret")
    scene.start().commit()
    for command in scene.on_host.commands + scene.in_sandbox.commands:
        assert "DATABASE_URL" not in command.env
        assert command.env["GIT_CONFIG_GLOBAL"].endswith(("/dev/null", "readers.config"))


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Username for 'http://127.0.0.1:{port}': ", "x-access-token"),
        ("Password for 'http://x-access-token@127.0.0.1:{port}': ", TOKEN),
        ("Password for 'http://proxy.example:3128': ", None),
        ("Username for 'http://127.0.0.1:{port}0': ", None),
    ],
)
def test_only_the_repositorys_own_host_is_told_the_token(scene: Scene, question: str, answer: str | None) -> None:
    host = scene.host()
    git.mirror(host, "feature")
    script = host.folder / "askpass"
    assert stat.S_IMODE(script.stat().st_mode) == 0o700
    env = dict(scene.on_host.commands[0].env)
    asked = question.format(port=host.repository.port)
    done = subprocess.run((str(script), asked), env=env, capture_output=True, text=True, check=False)
    assert (done.stdout.strip() or None) == answer


# Branches


NO_BRANCHES = ("", "-x", "--upload-pack=x", "HEAD", "@", "refs/heads/x", "0" * 40, "x" * 201, "a b", "a..b", "a~1")
ODD_BRANCHES = ("x.lock", "/x", "x/", "a\nb", "a\0b", "a@{1}", "a:b", "*", "a\\b", "\udc80")


@pytest.mark.parametrize("name", [*NO_BRANCHES, *ODD_BRANCHES])
def test_names_that_are_no_branches_are_refused(scene: Scene, name: str) -> None:
    with refused("The branch name"):
        git.validate_branch(scene.host(), name)


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("Add a dark mode, please!", "codingit/7-add-a-dark-mode-please"),
        ("Über-Größe ändern", "codingit/7-uber-groe-andern"),
        ("修正", "codingit/7"),
        ("", "codingit/7"),
        ("--force ..; rm -rf / \0\x1b", "codingit/7-force-rm-rf"),
        ("x" * 99, "codingit/7-" + "x" * 39),
        ("many words " * 20, "codingit/7-many-words-many-words-many-words-many"),
    ],
)
def test_a_made_up_name_tells_what_the_task_is_about(scene: Scene, prompt: str, name: str) -> None:
    assert git.generated_branch(prompt, 7) == name
    assert git.validate_branch(scene.host(), name) == name


def test_the_default_branch_is_never_a_target(scene: Scene) -> None:
    with refused("default branch"):
        scene.start(branch="main")


def test_a_repository_whose_head_names_no_branch_has_its_usual_one_as_default(scene: Scene) -> None:
    scene.remote("symbolic-ref", "HEAD", "refs/heads/gone")
    with refused("default branch"):
        scene.start(branch="main")
    scene.remote("branch", "--move", "main", "trunk")
    assert scene.start(attempt=2).mirrored.default_branch == "trunk"
    scene.remote("branch", "second", "trunk")
    with refused("has no default branch"):
        scene.start(attempt=3)


def test_an_existing_branch_is_built_upon(scene: Scene) -> None:
    theirs = scene.somebody_pushes("feature")
    run = scene.start()
    assert run.base == git.Base(commit=theirs, expected=theirs)
    run.write("x")
    run.push()
    assert scene.remote("rev-parse", "feature^") == theirs


def test_what_an_earlier_attempt_pushed_is_replaced(scene: Scene) -> None:
    first = scene.start()
    first.write("first.txt")
    pushed = git.Pushed(branch="feature", head=first.push(), base=first.base.commit)

    second = scene.start(attempt=2, earlier=(pushed,))
    second.write("second.txt")
    head = second.push()

    assert scene.head("feature") == head
    assert scene.remote("rev-parse", "feature^") == scene.head("main")
    assert scene.remote("ls-tree", "--name-only", "feature").split() == ["README", "second.txt"]


def test_a_head_that_no_attempt_recorded_is_never_replaced(scene: Scene) -> None:
    first = scene.start()
    first.write("first.txt")
    pushed = git.Pushed(branch="feature", head=first.push(), base=first.base.commit)
    theirs = scene.somebody_pushes("feature")

    second = scene.start(attempt=2, earlier=(pushed, git.Pushed(branch="other", head=theirs, base=None)))

    assert second.base == git.Base(commit=theirs, expected=theirs)


@pytest.mark.parametrize("exists", [True, False])
def test_a_branch_that_moved_meanwhile_is_left_alone(scene: Scene, exists: bool) -> None:  # a case
    if exists:
        scene.somebody_pushes("feature")
    run = scene.start()
    run.write("x")
    delivery = run.deliver()
    theirs = scene.somebody_pushes("feature")

    with pytest.raises(git.PushRejected) as rejected:
        git.push(run.host, run.mirrored, run.base, delivery)

    assert rejected.value.moved
    assert scene.head("feature") == theirs
    assert git.remote_head(run.host, run.mirrored) == theirs


def test_a_name_that_the_remote_cannot_hold_is_refused_and_has_not_moved(scene: Scene) -> None:
    run = scene.start()
    run.write("x")
    delivery = run.deliver()
    scene.somebody_pushes("feature/more")
    with pytest.raises(git.PushRejected, match="refused the push") as rejected:
        git.push(run.host, run.mirrored, run.base, delivery)
    assert not rejected.value.moved


def redirecting(to: str, *, but_for: str) -> Callable[[Request], None]:
    """Answers as some hosts do."""
    respond = Request.respond

    def redirect(request: Request) -> None:
        if but_for in request.path:
            respond(request)
            return
        request.send_response(301)
        path = request.path if ".git/" in request.path else request.path.replace("/site/", "/site.git/")
        request.send_header("Location", f"{to}{path}")
        request.send_header("Content-Length", "0")
        request.end_headers()

    return redirect


def test_a_host_that_insists_on_the_suffix_gets_it(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Request, "respond", redirecting(scene.address, but_for=".git/"))
    assert git.mirror(scene.host("acme/site"), "feature").url == f"{scene.address}/{SITE}"


def test_a_redirect_is_not_followed(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(scene.root, token=None) as elsewhere:
        monkeypatch.setattr(Request, "respond", redirecting(elsewhere, but_for="/nothing/"))
        with refused("redirects elsewhere"):
            git.mirror(scene.host("acme/site"), "feature")


def test_a_web_page_is_no_empty_repository(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one line, without a newline: git finds no ref in it, and no fault."""

    def respond(request: Request) -> None:
        request.send_response(200)
        request.send_header("Content-Type", "text/html")
        request.send_header("Content-Length", "13")
        request.end_headers()
        request.wfile.write(b"<html></html>")

    monkeypatch.setattr(Request, "respond", respond)
    with refused("not that of a git repository"):
        git.mirror(scene.host(), "feature")


def test_a_host_that_hands_out_plain_files_is_refused(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """git would take their objects without looking for what endangers whoever checks them out."""
    scene.remote("update-server-info")

    def respond(request: Request) -> None:
        file = scene.root / request.path.partition("?")[0].lstrip("/")
        content = file.read_bytes() if file.is_file() else b""
        request.send_response(200 if file.is_file() else 404)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)

    monkeypatch.setattr(Request, "respond", respond)
    with refused("does not speak git's own protocol"):
        git.mirror(scene.host(), "feature")


def test_a_push_may_be_repeated(scene: Scene) -> None:
    run = scene.start()
    run.write("x")
    delivery = run.deliver()
    git.push(run.host, run.mirrored, run.base, delivery)
    git.push(run.host, run.mirrored, run.base, delivery)
    assert git.remote_head(run.host, run.mirrored) == delivery.head


@pytest.mark.parametrize("arrived", [True, False])
def test_a_connection_lost_while_pushing_is_judged_by_the_branch(scene: Scene, *, arrived: bool) -> None:
    run = scene.start()
    run.write("x")
    delivery = run.deliver()

    def losing(command: Command) -> Completed:
        if "push" not in command.argv:
            return scene.on_host(command)
        if arrived:
            scene.on_host(command)
        return Completed(returncode=128, stderr=b"fatal: the remote end hung up unexpectedly")

    host = dataclasses.replace(run.host, run=losing)
    if arrived:
        git.push(host, run.mirrored, run.base, delivery)
    else:
        with pytest.raises(Unreachable):
            git.push(host, run.mirrored, run.base, delivery)


def test_a_remote_that_declines_is_quoted_without_secrets(scene: Scene) -> None:
    hook = scene.root / SITE / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\nprintf 'Protected branch \\033[31m {TOKEN}\\n' >&2\nexit 1\n")
    hook.chmod(0o755)
    run = scene.start()
    run.write("x")
    with pytest.raises(git.PushRejected, match=r"pre-receive hook declined.*Protected branch") as rejected:
        run.push()
    assert not rejected.value.moved
    assert TOKEN not in str(rejected.value)
    assert "\x1b" not in str(rejected.value)


# The git that is installed


def answering(returncode: int, stdout: bytes) -> git.Run:
    def run(_: Command) -> Completed:
        return Completed(returncode=returncode, stdout=stdout)

    return run


def test_the_installed_git_will_do(tmp_path: Path) -> None:
    assert git.version(Recorder(), tmp_path) >= git.OLDEST


@pytest.mark.parametrize(
    ("run", "sentence"),
    [
        (answering(127, b""), "git is not installed"),
        (answering(0, b"git version 2.30.2"), "git 2.30 is too old: install git 2.37"),
        (answering(0, b"hello"), "does not tell its version"),
    ],
)
def test_a_git_that_will_not_do_is_named(tmp_path: Path, run: git.Run, sentence: str) -> None:
    with pytest.raises(CommandFailed, match=sentence):
        git.version(run, tmp_path)


def test_a_name_is_pinned_to_the_address_that_was_checked(scene: Scene) -> None:
    port = scene.address.rpartition(":")[2]
    named = accept(f"http://localhost:{port}/{SITE}", allowed_hosts=["localhost"])
    elsewhere = type(named)(
        scheme="http", host="checked.invalid", port=named.port, path=named.path, addresses=("127.0.0.1",)
    )
    host = git.Host(
        run=scene.on_host, folder=scene.folder / "h", repository=elsewhere, credential=Credential(token=TOKEN)
    )
    assert git.mirror(host, "feature").default_head == scene.head("main")


def test_old_faults_in_history_are_no_hindrance(scene: Scene) -> None:
    tree = scene.remote("rev-parse", "main^{tree}")
    people = "author Ann <ann@example.com> 1 +051800\ncommitter Ann <ann@example.com> 1 +0000\n"
    odd = f"tree {tree}\nparent {scene.head('main')}\n{people}\nx\n"
    commit = plain("hash-object", "--literally", "-t", "commit", "-w", "--stdin", cwd=scene.root / SITE, stdin=odd)
    scene.remote("update-ref", "refs/heads/main", commit)
    run = scene.start()
    run.write("x")
    assert run.push() == scene.head("feature")


def test_the_run_survives_tags_and_deleted_branches(scene: Scene) -> None:
    scene.remote("tag", "v1", "main")
    started: Started = scene.start()
    assert started.agent("describe", "--tags") == "v1"
    assert TASK.id == 7


# What lies above the folder of a run


def test_a_configuration_above_the_hosts_folder_is_not_obeyed(scene: Scene) -> None:
    """A proxy that is planted there would be sent the token."""
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        proxy.setblocking(False)
        address = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        plain("init", "--quiet", cwd=scene.folder)
        plain("config", "http.proxy", address, cwd=scene.folder)
        mirrored = git.mirror(scene.host(PRIVATE), "feature")
        git.remote_head(scene.host(PRIVATE), mirrored)
        with pytest.raises(BlockingIOError):
            proxy.accept()


def test_the_sandboxes_git_finds_no_repository_above_the_workspace(scene: Scene) -> None:
    workspace = scene.workspace()
    for above in (scene.folder, workspace.folder):
        plain("init", "--quiet", cwd=above)
        inside = above / ("repo" if above == workspace.folder else workspace.folder.name)
        inside.mkdir(exist_ok=True)
        assert workspace.execute("git", "rev-parse", "--git-dir", cwd=inside, env={}).returncode != 0
