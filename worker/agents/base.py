"""What a coding agent is to the worker: a command to run, and a reader of what it prints."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from worker.sandbox.command import Command

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
    """The row's selected_model, unchecked."""
    workspace: Path
    """The clone to work in."""
    home: Path
    """An empty folder to be the agent's HOME, outside of the clone."""


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
    overloaded: bool = False
    """Its provider was overloaded or out of quota: the task may be tried again later."""


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

    def command(self, job: Job) -> Command:
        """What to run; the prompt goes in by stdin, and no secret by any way."""
        ...

    def parser(self) -> Parser:
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


def numbers(value: object) -> Mapping[str, int | float]:
    """The measurements in a JSON object: plain, finite numbers under plain names, not too many."""
    if not isinstance(value, dict):
        return {}
    found = {name: number for name, number in value.items() if NAME.fullmatch(name) and measures(number)}
    return dict(list(found.items())[:COUNTED])


def measures(value: object) -> bool:
    """Whether this is a number that measures something; True, NaN and what no float can hold do not."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -LARGEST < value < LARGEST
