"""The names of branches: those that a task may ask for, and those that we make up."""

import re
import unicodedata

from worker.errors import TaskFailed
from worker.git.host import Host
from worker.repository.address import shown

LONGEST = 200
LONGEST_SLUG = 40


def validate_branch(host: Host, name: str) -> str:
    """The name, if git and its hosts take it for a branch; else TaskFailed says why not."""
    if not name.isprintable() or " " in name or not 0 < len(name.encode(errors="replace")) <= LONGEST:
        raise TaskFailed(f"The branch name {shown(name)!r} is not valid: it is empty, too long or holds a space.")
    if name.startswith(("-", "refs/")) or name in {"HEAD", "@"} or re.fullmatch(r"[0-9a-fA-F]{40}", name):
        raise TaskFailed(f"The branch name {shown(name)!r} is not valid: git would take it for something else.")
    if host.local("check-ref-format", f"refs/heads/{name}").returncode != 0:
        raise TaskFailed(f"The branch name {shown(name)!r} is not valid in git.")
    return name


def generated_branch(prompt: str, task_id: int) -> str:
    """A branch name that tells what the task is about; always valid."""
    plain = unicodedata.normalize("NFKD", prompt[:1000]).encode("ascii", errors="ignore").decode().lower()
    slug = ""
    for word in re.findall(r"[a-z0-9]+", plain):
        if len(slug) + 1 + len(word) > LONGEST_SLUG:
            break
        slug += f"-{word}"
    return f"codingit/{task_id}{slug or shortened(plain)}"


def shortened(plain: str) -> str:
    """The slug of a prompt whose first word is too long to stand whole."""
    word = re.search(r"[a-z0-9]+", plain)
    return f"-{word[0][: LONGEST_SLUG - 1]}" if word else ""
