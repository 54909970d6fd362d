"""What git's complaints mean: the user's, the network's or ours, each as a sentence without secrets."""

import re
from base64 import b64encode
from urllib.parse import quote

from worker.errors import CommandFailed, TaskFailed
from worker.git.host import Host
from worker.repository import Unreachable
from worker.repository.address import shown
from worker.sandbox.command import Completed

LONGEST_REASON = 300

UNREACHABLE = re.compile(
    r"Could not resolve (host|proxy)|Failed to connect|Couldn't connect|[Tt]imed out|Timeout was reached|too slow"
    r"|Connection re(set|fused)|Recv failure|Send failure|Empty reply|early EOF|RPC failed|hung up unexpectedly"
    r"|unexpected disconnect|transfer closed|error: (408|429|5\d\d)"
)
ABSENT = re.compile(r"repository '.*' not found|could not read (Username|Password)|error: (401|403|404|410)")
MOVED_AWAY = re.compile(r"error: 30\d|update url base from redirection")
SENTENCES = (
    (
        re.compile(r"certificate|SSL|TLS|gnutls", re.IGNORECASE),
        "No secure connection to the repository's host could be made: its certificate cannot be verified.",
    ),
    (MOVED_AWAY, "The repository's address redirects elsewhere: use the address that it redirects to."),
    (
        re.compile(r"not valid: is this a git repo|protocol error|bad line length|not an? .*advertisement"),
        "The address is not that of a git repository.",
    ),
    (
        re.compile(r"dumb http transport"),
        "The repository's host only hands out files and does not speak git's own protocol, so it is refused.",
    ),
    (
        re.compile(r"fsck error|error in (object|tag|tree|commit|blob)|index-pack failed|unpack-objects failed"),
        "The repository holds an object that git refuses as malformed or dangerous.",
    ),
)
OURS = re.compile(r"No space left|unable to (create|write)|Disk quota|cannot fork|Permission denied$", re.MULTILINE)
MEMORY = re.compile(r"Out of memory|Cannot allocate memory", re.IGNORECASE)
FULL = re.compile(
    r"^(fatal|error): (.*: (No space left on device|Disk quota exceeded)$|cannot fork|Out of memory)", re.MULTILINE
)
"""What git says where a machine has nothing left; nothing else that a repository makes it say is believed."""


QUOTED = re.compile(r"fatal: (remote error|invalid server response|unknown object format)")
"""Where git repeats what a remote sent."""


class PushRejected(TaskFailed):
    """Nothing was pushed. `moved`: the branch is not what it was when it was read, so reading it again may help."""

    def __init__(self, sentence: str, *, moved: bool) -> None:
        super().__init__(sentence)
        self.moved = moved


def raise_for(host: Host, completed: Completed) -> None:
    """
    Say why a network step failed, if it did.

    Raises:
        TaskFailed: the owner of the task can put it right.
        Unreachable: the same may work later.
        CommandFailed: this machine is at fault.
    """
    if completed.returncode == 0:
        return
    everything = scrub(host, completed.stderr.decode(errors="replace"))
    said = own(everything)
    if "Authentication failed" in said:
        raise TaskFailed("The repository's host refused the token that this worker has for it.")
    if ABSENT.search(said):
        raise TaskFailed(
            "The repository could not be read: it does not exist, or its owner has not allowed this worker to read it."
        )
    if UNREACHABLE.search(said):
        raise Unreachable(f"The repository's host {host.repository.netloc} does not answer now.")
    if OURS.search(said):
        raise CommandFailed(f"git failed on this machine: {reason(said)}")
    if MEMORY.search(said):
        raise TaskFailed("The repository could not be read: what its host answers takes too much memory.")
    raise TaskFailed(next((text for pattern, text in SENTENCES if pattern.search(said)), unknown(everything)))


def raise_if_full(completed: Completed) -> None:
    """
    Blame the machine for a local step that failed because nothing was left of its disk or memory.

    Raises:
        CommandFailed: so it was.
    """
    said = completed.stderr.decode(errors="replace")
    if completed.returncode != 0 and FULL.search(said):
        raise CommandFailed(f"git failed on this machine: {shown(reason(said))}")


def own(said: str) -> str:
    """
    What git itself says: a remote's words are shown where nothing else is known, and never believed.

    A remote's error may hold newlines, so that what comes after it may be the remote's too.
    """
    lines = said.split("\n")
    told = next((number for number, line in enumerate(lines) if QUOTED.match(line)), len(lines))
    return "\n".join(line for line in lines[:told] if not line.startswith("remote:"))


def unknown(said: str) -> str:
    """The sentence where git complains of something else."""
    return f"The repository could not be read: {reason(said)}."


def reason(said: str) -> str:
    """The line of a complaint that tells most, clipped."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith(("fatal:", "error:"))] or lines or ["git gave no reason"]
    return re.sub(r"^(fatal|error): ", "", telling[-1])[:LONGEST_REASON].rstrip(".")


def scrub(host: Host, text: str) -> str:
    """Text of git or of a remote without the token, our folder and control characters."""
    for secret in forms(host):
        text = text.replace(secret, "[hidden]")
    text = text.replace(str(host.folder), "")
    return "".join(char if char.isprintable() or char == "\n" else " " for char in text)


def forms(host: Host) -> list[str]:
    """The token as it may appear in a complaint: plain, quoted for an address, and as HTTP sends it."""
    if not host.credential:
        return []
    name, token = host.credential.username, host.credential.token
    return [b64encode(f"{name}:{token}".encode()).decode(), quote(token, safe=""), token]
