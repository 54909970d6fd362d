"""Which agents there are, and which of them may run here."""

from importlib.metadata import EntryPoint, entry_points

from worker.agents.base import Agent
from worker.agents.claude import Claude
from worker.agents.codex import Codex
from worker.agents.copilot import Copilot
from worker.agents.cursor import Cursor
from worker.agents.gemini import Gemini
from worker.agents.opencode import Opencode
from worker.agents.rehearsal import Rehearsal
from worker.errors import TaskFailed
from worker.sandbox.base import Sandbox

GROUP = "codingit_worker.agents"
"""The entry points by which other packages add agents; each names an `Agent`, or its class."""
BUILT_IN: tuple[Agent, ...] = (Claude(), Codex(), Gemini(), Opencode(), Copilot(), Cursor(), Rehearsal())


def find(name: str) -> Agent:
    """
    The agent of that name, built in or plugged in.

    Raises:
        TaskFailed: there is none, with a sentence for the task's owner.
    """
    for agent in BUILT_IN:
        if agent.name == name:
            return agent
    for entry in entry_points(group=GROUP):
        if entry.name == name:
            return load(entry)
    raise TaskFailed(missing(name))


def admit(agent: Agent, *, sandbox: Sandbox, trusted: bool) -> None:
    """Raise TaskFailed unless the agent is `allowed`."""
    if not allowed(agent, sandbox=sandbox, trusted=trusted):
        raise TaskFailed(
            f"Agent {shown(agent.name)} needs a sandbox that isolates it, and this worker has none. "
            "Choose agent rehearsal, or ask whoever runs the worker to install bubblewrap; "
            "CODINGIT_SANDBOX=process would say that all prompts and repositories are trusted."
        )


def allowed(agent: Agent, *, sandbox: Sandbox, trusted: bool) -> bool:
    """
    Whether the agent may run in this sandbox: one that isolates it, or it needs none, or everything is trusted.

    `trusted` is what CODINGIT_SANDBOX=process says: all prompts and all repositories are.
    """
    return sandbox.isolates or trusted or not agent.needs_isolation


def known() -> tuple[str, ...]:
    """The names that `find` finds."""
    return tuple(sorted({agent.name for agent in BUILT_IN} | {entry.name for entry in entry_points(group=GROUP)}))


def load(entry: EntryPoint) -> Agent:
    """The agent that another package offers."""
    try:
        found = entry.load()
        agent: Agent = found() if isinstance(found, type) else found
    except Exception as fault:
        raise TaskFailed(
            f"Agent {shown(entry.name)} is installed but could not be loaded ({type(fault).__name__}). "
            "Ask whoever runs the worker to mend it."
        ) from fault
    return agent


def missing(name: str) -> str:
    """Why there is no such agent, and what to do."""
    return f"There is no agent {shown(name)}. Choose another one. Known here: {', '.join(known())}."


def shown(name: str) -> str:
    """A name from a row, fit to be shown: short and printable."""
    printable = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in name[:41])
    return f"“{printable[:40]}{'…' * (len(printable) > 40)}”"
