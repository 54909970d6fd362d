"""What a coding agent is to the worker: a command to run, and a reader of what it prints."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from worker.sandbox.command import Command
from worker.settings import ProviderName

LARGEST = 2**53
"""Numbers of usage beyond this are no measurements."""
NAME = re.compile(r"[A-Za-z0-9_.:/-]{1,64}")
COUNTED = 32
"""How many numbers of usage an agent may report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What an agent is to do, and where."""

    task_id: int
    prompt: str
    model: str | None
    """The row's selected_model: a name without spaces that begins with a letter or a digit. None for the default."""
    workspace: Path
    """The clone to work in."""
    home: Path
    """An empty folder to be the agent's HOME, outside of the clone."""
    base_url: str | None = None
    """Where the API of the agent's provider answers for this run, without a path; None for the provider itself."""
    token: str | None = field(default=None, repr=False)
    """What the agent shows there as its key; worth nothing anywhere else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something for the task's log, as the agent printed it: not redacted, not clipped, maybe not storable yet."""

    type: Literal["info", "command", "error", "success"]
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the agent itself said in its last event: half of the verdict, the exit code being the other."""

    ok: bool
    answer: str
    """Its closing words, or why it failed."""
    usage: Mapping[str, int | float] = field(default_factory=dict)
    """What it measured of itself; tokens as `input_tokens`, of those `cached_tokens`, and `output_tokens`."""
    turns: int | None = None
    """How often it asked its model; 0 says that it did nothing at all. None where it does not tell."""
    cost: float | None = None
    """In dollars, as far as it knows."""
    overloaded: bool = False
    """Its provider was overloaded or out of quota: the task may be tried again later."""
    denied: bool = False
    """Its provider refused the key."""

    def measured(self) -> dict[str, int | float]:
        """All its numbers, for the history of runs."""
        known = {"turns": self.turns, "cost": self.cost}
        return {**self.usage, **{name: number for name, number in known.items() if number is not None}}

    def spent(self) -> str:
        """What it took, in words; empty where it told nothing."""
        parts = [] if self.turns is None else [f"{self.turns:,} {'turn' if self.turns == 1 else 'turns'}"]
        for name, what in (("input_tokens", "tokens read"), ("output_tokens", "tokens written")):
            if self.usage.get(name):
                parts.append(f"{self.usage[name]:,.0f} {what}")
        if self.cost:
            parts.append(f"${self.cost:,.4f}" if self.cost < 0.1 else f"${self.cost:,.2f}")
        return ", ".join(parts)


class Parser(Protocol):
    """Reads the output of one run, line by line."""

    @property
    def verdict(self) -> Verdict | None:
        """None until a terminal event came; an agent that never sent one has failed, whatever its exit code."""
        ...

    def feed(self, line: bytes) -> Sequence[Event]:
        """The events in one line of stdout; a line that cannot be read has none, and never raises."""
        ...


class Agent(Protocol):
    """One kind of agent. Adapters hold no state: what belongs to a run is in the command and the parser."""

    @property
    def name(self) -> str:
        """As in the column selected_agent."""
        ...

    @property
    def needs_isolation(self) -> bool:
        """Whether it does what a prompt or a repository tells it: True for everything that has a model behind it."""
        ...

    @property
    def provider(self) -> ProviderName | None:
        """Whose API it speaks: anthropic, openai or google; None for no such API that another address could serve."""
        ...

    def files(self, job: Job) -> Mapping[str, str]:
        """What must lie in its HOME before it starts: texts by their path in it."""
        ...

    def command(self, job: Job) -> Command:
        """
        What to run; the prompt goes in by stdin, and no secret by any way.

        Raises:
            TaskFailed: the agent is not installed here, or cannot work with that model.
        """
        ...

    def parser(self, job: Job) -> Parser:
        """A fresh parser, for one run."""
        ...


def parsed(line: bytes) -> Mapping[str, object]:
    """The JSON object in this line; empty if there is none, whatever else there is."""
    try:
        found = json.loads(line.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def text(value: object) -> str:
    """The string as it is, also with what PostgreSQL cannot hold; empty if it is none."""
    return value if isinstance(value, str) else ""


def fields(value: object, *names: str) -> Mapping[str, object]:
    """The JSON object at the end of these names, each a member of the one before; empty if there is none."""
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def objects(value: object) -> Iterable[Mapping[str, object]]:
    """The JSON objects of a list; what else is in it is passed over."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def whole(value: object) -> int | None:
    """The whole number, if it is one that counts something."""
    return value if isinstance(value, int) and measures(value) and value >= 0 else None


def numbers(value: object) -> Mapping[str, int | float]:
    """The measurements in a JSON object: plain, finite numbers under plain names, not too many."""
    if not isinstance(value, dict):
        return {}
    found = {name: number for name, number in value.items() if NAME.fullmatch(name) and measures(number)}
    return dict(list(found.items())[:COUNTED])


def measures(value: object) -> bool:
    """Whether this is a number that measures something; True, NaN and what no float can hold do not."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -LARGEST < value < LARGEST
