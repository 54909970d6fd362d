"""The one write to a remote: one explicit refspec, on exactly the head that was read."""

from worker.errors import TaskFailed
from worker.git.failure import ABSENT, PushRejected, own, raise_for, scrub
from worker.git.host import Host
from worker.git.quarantine import Delivery
from worker.git.remote import Base, Mirror, parse_refs
from worker.repository import Unreachable
from worker.repository.address import shown
from worker.sandbox.command import Completed

LONGEST_REASON = 500


def remote_head(host: Host, mirrored: Mirror) -> str | None:
    """The head that the task's branch has on the remote now, None where there is no such branch."""
    ref = f"refs/heads/{mirrored.branch}"
    listed = host.network("ls-remote", "--quiet", mirrored.url, ref)
    raise_for(host, listed)
    return dict(parse_refs(listed.stdout)).get(ref)


def push(host: Host, mirrored: Mirror, base: Base, delivery: Delivery) -> None:
    """
    Push the delivered head to the task's branch, if that is still at `base.expected`.

    Safe to repeat: a branch that already is at the delivered head is done.

    Raises:
        PushRejected: somebody moved the branch (`moved`), or the remote refuses.
        Unreachable: the connection was lost and the branch is not there.
    """
    completed = send(host, mirrored, base, delivery)
    if completed.returncode == 0:
        return
    now = remote_head(host, mirrored)
    if now == delivery.head:
        return
    line = next((line for line in completed.stdout.decode(errors="replace").splitlines() if line[:2] == "!\t"), None)
    if line is not None:
        raise rejected(host, completed, line, moved=now != base.expected)
    raise failed(host, completed)


def send(host: Host, mirrored: Mirror, base: Base, delivery: Delivery) -> Completed:
    """Run the push itself."""
    ref = f"refs/heads/{mirrored.branch}"
    careful = (f"--force-with-lease={ref}:{base.expected or ''}", "--no-verify", "--recurse-submodules=no")
    arguments = ("push", "--porcelain", "--no-progress", *careful, mirrored.url, f"{delivery.head}:{ref}")
    return host.network(f"--git-dir={delivery.folder}", *arguments)


def rejected(host: Host, completed: Completed, line: str, *, moved: bool) -> PushRejected:
    """What the remote answered for our ref."""
    why = scrub(host, line.rpartition("\t")[2])
    if moved:
        return PushRejected("The branch was changed by somebody else while the task ran.", moved=True)
    told = remote_words(scrub(host, completed.stderr.decode(errors="replace")))
    return PushRejected(f"The repository's host refused the push: {shown(why)}.{told}", moved=False)


def remote_words(said: str) -> str:
    """What the remote said about it, as one line; it is a stranger's text."""
    words = [line.removeprefix("remote:").strip() for line in said.splitlines() if line.startswith("remote:")]
    joined = " ".join(filter(None, words))[:LONGEST_REASON]
    return f" It said: {joined}" if joined else ""


def failed(host: Host, completed: Completed) -> Exception:
    """What became of a push that the remote did not answer for our ref."""
    said = scrub(host, completed.stderr.decode(errors="replace"))
    if ABSENT.search(own(said)) or "Authentication failed" in own(said):
        return PushRejected(
            f"The branch could not be pushed: this worker has no right to write to the repository.{remote_words(said)}",
            moved=False,
        )
    try:
        raise_for(host, completed)
    except (TaskFailed, Unreachable) as known:
        return known
    return PushRejected("The branch could not be pushed.", moved=False)
