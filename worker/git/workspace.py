"""The steps in the sandbox: clone, commit what the agent left, and bundle it; every byte of the folder is hostile."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from worker.errors import TaskFailed
from worker.git.cache import Cache
from worker.git.failure import raise_if_full, reason
from worker.git.host import CONFIG, ENVIRONMENT, PATHS, Host, Run, configured, path, present
from worker.git.remote import READERS, Base, Mirror, Pushed, base_for, mirror
from worker.repository.address import shown
from worker.sandbox.command import Command, Completed

RESULT = "refs/codingit/result"
ROUNDS = 5
LONGEST_SUBJECT = 72
SUBMODULE = "160000"
PICK = r"""pattern=$1; shift
git ls-files -z "$@" | tr '\0\n' '\n\0' | sed -n "$pattern" | tr '\0\n' '\n\0'"""
"""A shell script that prints those entries of a list of files that fit; NUL and newline change places meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a commit tells about the task."""

    id: int
    prompt: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """git in the sandbox. It gets no token, no network, and no variable of the worker's."""

    run: Run = field(repr=False)
    folder: Path
    """The workspace; the repository is `repo` in it, the bundle `out.bundle`."""
    committer: str
    """`Name <address>`, as settings.committer has it."""
    env: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def repo(self) -> Path:
        """Where the agent works."""
        return self.folder / "repo"

    @property
    def out(self) -> Path:
        """What comes back."""
        return self.folder / "out.bundle"

    def execute(
        self, *argv: str, cwd: Path, env: Mapping[str, str], stdin: bytes = b"", reads: tuple[Path, ...] = ()
    ) -> Completed:
        """Run a program in the sandbox with git's environment; the caller judges how it ended."""
        base = ENVIRONMENT | {"PATH": f"{path()}:{PATHS}", "HOME": str(self.folder), "GIT_ALLOW_PROTOCOL": ""}
        # What is listed is not looked in: no git of ours finds a repository above the one that it works in.
        base["GIT_CEILING_DIRECTORIES"] = f"{self.folder}:{self.folder.parent}"
        every = base | configured(CONFIG) | self._committer() | dict(self.env) | dict(env)
        return present(self.run(Command(argv=argv, cwd=cwd, env=every, stdin=stdin, reads=reads)))

    def git(self, *arguments: str, stdin: bytes = b"") -> Completed:
        """Run git on the agent's repository, whose folder alone it looks at: never a repository above it."""
        return self._on_repo("git", *arguments, stdin=stdin)

    def checked(self, *arguments: str, stdin: bytes = b"") -> str:
        """The output of a git that fails only where the agent broke the repository."""
        return printed(self.git(*arguments, stdin=stdin)).strip()

    def picked(self, pattern: str, *which: str) -> list[str]:
        """Those entries of `git ls-files` that sed's `pattern` prints; all of them may be too many for one output."""
        return printed(self._on_repo("sh", "-c", PICK, "sh", pattern, *which)).split("\0")[:-1]

    def _on_repo(self, *argv: str, stdin: bytes = b"") -> Completed:
        env = {"GIT_DIR": str(self.repo / ".git"), "GIT_WORK_TREE": str(self.repo)}
        env["GIT_INDEX_FILE"] = str(self.folder / "commit.index")
        return self.execute(*argv, cwd=self.repo, env=env, stdin=stdin)

    def _committer(self) -> dict[str, str]:
        name, _, address = self.committer.removesuffix(">").partition(" <")
        return {f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in
                (("NAME", name), ("EMAIL", address))}  # fmt: skip


def printed(completed: Completed) -> str:
    """The output of a step that fails only where the agent broke the repository or the machine is full."""
    raise_if_full(completed)
    if completed.returncode != 0:
        raise TaskFailed(f"The agent left its repository in a state that git cannot work with: {said(completed)}")
    return completed.stdout.decode(errors="replace")


def said(completed: Completed) -> str:
    """The line of what git in the sandbox said that tells most, which the agent may have written."""
    return shown(reason(completed.stderr.decode(errors="replace")))


def start(
    host: Host, workspace: Workspace, branch: str, *, earlier: Sequence[Pushed], cache: Cache | None = None
) -> tuple[Mirror, Base]:
    """
    Mirror the repository, choose the commit to build upon, and clone that into the workspace.

    A mirror that was kept and cannot be cloned is thrown away, and fetched anew.

    Raises:
        TaskFailed, Unreachable, CommandFailed: as `mirror`, `base_for` and `clone` say.
    """
    mirrored = mirror(host, branch, cache=cache)
    base = base_for(mirrored, earlier=earlier)
    try:
        clone(workspace, mirrored, base)
    except TaskFailed:
        if cache is None or not mirrored.kept:
            raise
        cache.entry(host.repository, host.credential).discard()
        workspace.execute("rm", "-rf", "--", "repo", cwd=workspace.folder, env={})
        return start(host, workspace, branch, earlier=earlier)
    return mirrored, base


def clone(workspace: Workspace, mirrored: Mirror, base: Base) -> None:
    """
    Clone the mirror into the workspace, with the task's branch checked out at `base`.

    No object is linked to or borrowed from the mirror. Submodules and LFS files are not fetched.

    Raises:
        TaskFailed: git in the sandbox could not.
        CommandFailed: this machine is full.
    """
    raise_unless_cloned(outside(workspace, mirrored, *beginning(mirrored, base)))
    if base.commit:
        checkout = ("checkout", "--quiet", "--no-track", "-B", mirrored.branch, base.commit)
        raise_unless_cloned(inside(workspace, *checkout))
    for arguments in manners(workspace, mirrored, base):
        raise_unless_cloned(inside(workspace, *arguments))


def beginning(mirrored: Mirror, base: Base) -> tuple[str, ...]:
    """How the repository comes to be: as a clone of the mirror, or new where that is empty."""
    if base.commit is None:
        return ("init", "--quiet", "--template=", f"--initial-branch={mirrored.branch}", "repo")
    source = ("--no-local", "--no-hardlinks", "--no-checkout", "--template=", str(mirrored.folder), "repo")
    return ("clone", "--quiet", *source)


def raise_unless_cloned(step: Completed) -> None:
    """Go no further when a step of the clone failed."""
    raise_if_full(step)
    if step.returncode != 0:
        raise TaskFailed(f"The repository could not be cloned into the workspace: {said(step)}")


def manners(workspace: Workspace, mirrored: Mirror, base: Base) -> list[tuple[str, ...]]:
    """What makes the clone an ordinary one for the agent: who commits, and where it came from."""
    name, _, address = workspace.committer.removesuffix(">").partition(" <")
    origin = ("set-url", "origin", mirrored.url) if base.commit else ("add", "origin", mirrored.url)
    return [("config", "user.name", name), ("config", "user.email", address), ("remote", *origin)]


def outside(workspace: Workspace, mirrored: Mirror, *arguments: str) -> Completed:
    """Run git in the workspace's folder, where there is no repository yet; it may read the mirror."""
    return workspace.execute("git", *arguments, cwd=workspace.folder, env=reading(mirrored), reads=(mirrored.folder,))


def reading(mirrored: Mirror) -> dict[str, str]:
    """The environment in which git may read the mirror, also where the sandbox's user does not own it."""
    return {"GIT_ALLOW_PROTOCOL": "file", "GIT_CONFIG_GLOBAL": str(mirrored.folder / READERS)}


def inside(workspace: Workspace, *arguments: str) -> Completed:
    """Run git in the fresh clone, with its own index."""
    return workspace.execute("git", *arguments, cwd=workspace.repo, env={})


def commit(workspace: Workspace, mirrored: Mirror, base: Base, *, task: Task, partial: bool) -> str | None:
    """
    Commit whatever the agent left uncommitted on top of what it committed itself.

    Works beside the agent's index and HEAD, so that locks, merges and rebases that it left half done are no
    matter. Where it deleted .git or rewrote the task's branch, what it left becomes one commit upon `base`.

    Returns:
        The head of the result, or None when nothing differs from `base`.

    Raises:
        TaskFailed: the result cannot be expressed as commits on top of `base`.
    """
    restore(workspace, mirrored, base)
    parent = parent_of(workspace, mirrored, base)
    stage(workspace, base, parent)
    tree = workspace.checked("write-tree")
    before = workspace.checked("rev-parse", f"{parent}^{{tree}}") if parent else workspace.checked("mktree")
    head = parent if tree == before else committed(workspace, tree, parent, message(task, partial=partial))
    if head is None or head == base.commit:
        return None
    workspace.checked("update-ref", "--no-deref", RESULT, head)
    return head


def restore(workspace: Workspace, mirrored: Mirror, base: Base) -> None:
    """Where the agent deleted or broke .git, or began another one, bring back what the run started from."""
    if workspace.execute("test", "-d", "repo", cwd=workspace.folder, env={}).returncode != 0:
        raise TaskFailed("The agent deleted the whole repository, so there is nothing to commit.")
    if workspace.git("rev-parse", "--git-dir").returncode != 0:
        workspace.execute("rm", "-rf", "--", ".git", cwd=workspace.repo, env={})
        again = workspace.execute("git", "init", "--quiet", "--template=", f"--initial-branch={mirrored.branch}",
                                  cwd=workspace.repo, env={})  # fmt: skip
        if again.returncode != 0:
            raise TaskFailed("The agent deleted its repository, so there is nothing to commit.")
    if base.commit and not has(workspace, base.commit):
        env = {**reading(mirrored), "GIT_DIR": str(workspace.repo / ".git")}
        fetched = ("fetch", "--quiet", "--no-write-fetch-head", str(mirrored.folder), "+refs/heads/*:refs/mirror/*")
        workspace.execute("git", *fetched, cwd=workspace.repo, env=env, reads=(mirrored.folder,))
        workspace.checked("update-ref", "--no-deref", "HEAD", base.commit)


def has(workspace: Workspace, commit_id: str) -> bool:
    """Whether the agent's repository has the commit."""
    return workspace.git("cat-file", "-e", f"{commit_id}^{{commit}}").returncode == 0


def parent_of(workspace: Workspace, mirrored: Mirror, base: Base) -> str | None:
    """The agent's head where it goes on from `base`; `base` where the task's branch was rewritten."""
    found = workspace.git("rev-parse", "--quiet", "--verify", "HEAD^{commit}")
    head = found.stdout.decode(errors="replace").strip() if found.returncode == 0 else None
    if base.commit is None:
        return head
    if head and workspace.git("merge-base", "--is-ancestor", base.commit, head).returncode == 0:
        return head
    at = workspace.git("symbolic-ref", "--quiet", "HEAD").stdout.decode(errors="replace").strip()
    if at == f"refs/heads/{mirrored.branch}":
        return base.commit
    raise TaskFailed(
        "The agent ended on another branch, whose history does not go on from where it started;"
        " its work cannot be put on top of that."
    )


def stage(workspace: Workspace, base: Base, parent: str | None) -> None:
    """Everything in the folder into an index of our own, begun from the agent's where that is whole."""
    # To list what no index can hold reads the whole index, and prints nothing.
    copied = workspace.execute("cp", "--", ".git/index", "../commit.index", cwd=workspace.repo, env={})
    if copied.returncode != 0 or workspace.git("ls-files", "--", ".git").returncode != 0:
        workspace.execute("rm", "-rf", "--", "../commit.index", "../commit.index.lock", cwd=workspace.repo, env={})
        workspace.checked("read-tree", parent or "--empty")
    for _ in range(ROUNDS):
        if not flatten(workspace, base):
            break
    workspace.checked("add", "--all", "--", ".")


def flatten(workspace: Workspace, base: Base) -> list[str]:
    """
    Repositories within the repository, as scaffolding tools leave them, made plain folders.

    Otherwise git would record a link to a commit that nobody else has, and none of their files.
    """
    others = workspace.picked(r"/\/$/p", "--others", "--exclude-standard")
    nested = [name.rstrip("/") for name in others] + links(workspace, base)
    for name in nested:
        workspace.execute("rm", "-rf", "--", f"./{name}/.git", cwd=workspace.repo, env={})
        workspace.git("update-index", "--force-remove", "--", name)
    return nested


def links(workspace: Workspace, base: Base) -> list[str]:
    """The links to other repositories in the index that are no submodules and were not there before."""
    names = [entry.partition("\t")[2] for entry in workspace.picked(f"/^{SUBMODULE} /p", "--stage")]
    if not names:
        return []
    known = workspace.git("config", "--file", ".gitmodules", "--get-regexp", r"\.path$").stdout.decode(errors="replace")
    submodules = {line.partition(" ")[2] for line in known.splitlines()}
    return [name for name in names if name not in submodules and not was_link(workspace, base, name)]


def was_link(workspace: Workspace, base: Base, name: str) -> bool:
    """Whether the link was there before the run."""
    if base.commit is None:
        return False
    return workspace.git("ls-tree", base.commit, "--", name).stdout.startswith(SUBMODULE.encode())


def committed(workspace: Workspace, tree: str, parent: str | None, text: str) -> str:
    """A commit of the tree, made without hooks, signatures or the agent's HEAD."""
    return workspace.checked("commit-tree", tree, *(("-p", parent) if parent else ()), "-F", "-", stdin=text.encode())


def message(task: Task, *, partial: bool) -> str:
    """The prompt's first line, whether it is all, and the task."""
    why = "The run ended before the agent had finished; this is what there was.\n\n" if partial else ""
    return f"{subject(task, before='Partial: ' if partial else '')}\n\n{why}Task: {task.id}\n"


def subject(task: Task, *, before: str = "") -> str:
    """The first line of the prompt that says something, as one that git and its hosts show whole."""
    lines = (
        " ".join("".join(c if c.isprintable() else " " for c in line).split()) for line in task.prompt.splitlines()
    )
    whole = before + next((line for line in lines if line), f"Work on task {task.id}")
    return whole if len(whole) <= LONGEST_SUBJECT else whole[: LONGEST_SUBJECT - 1].rstrip() + "…"


def bundle(workspace: Workspace, base: Base) -> None:
    """Write what `commit` returned to `workspace.out`, without what `base` already has."""
    workspace.execute("rm", "-rf", "--", "out.bundle", "out.bundle.lock", cwd=workspace.folder, env={})
    exclude = (f"^{base.commit}",) if base.commit else ()
    workspace.checked("bundle", "create", "--quiet", str(workspace.out), RESULT, *exclude)
