"""Whether each agent can work on this host: what is installed, and what is missing with how to get it."""

import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from worker.agents import Agent, allowed
from worker.agents.cli import Cli
from worker.agents.installed import Program, program
from worker.gateway import keys
from worker.monitoring.fitness import alone
from worker.run.limits import LimitReached
from worker.sandbox import choice
from worker.sandbox.command import Command
from worker.settings import Settings

VERSION = re.compile(r"\d+(?:\.\d+)+(?:[-+]\w[-+.\w]*)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """What there is of an agent on this host."""

    name: str
    installed: Path | None
    version: str | None
    provider: str | None
    model: str | None
    """What it works with where a row selects none."""
    key: str | None
    """The setting that its key is in; None where it needs none."""
    key_is_set: bool
    """Whether it is, or a hook answers with each user's."""
    lacks: tuple[str, ...]
    """What keeps it from working here, each a sentence that says what to do."""


def readiness(agent: Agent, settings: Settings) -> Readiness:
    """What there is of this agent; starts its program to learn the version."""
    cli = agent if isinstance(agent, Cli) else None
    file = cli.located() if cli else None
    version, program_lacks = found(cli, file) if cli else (None, ())
    key = f"CODINGIT_{agent.provider.upper()}_API_KEY" if agent.provider else None
    key_is_set = bool(agent.provider and (settings.provider_keys_hook or keys.own(settings, agent.provider)))
    return Readiness(
        name=agent.name,
        installed=file,
        version=version,
        provider=agent.provider,
        model=cli.model if cli else None,
        key=key,
        key_is_set=key_is_set,
        lacks=(*program_lacks, *key_lacks(cli, key=None if key_is_set else key), *closed(agent, settings)),
    )


def found(cli: Cli, file: Path | None) -> tuple[str | None, tuple[str, ...]]:
    """The version that is installed, and what the program lacks."""
    if file is None:
        return None, (f"It is not installed: {cli.install}",)
    starts = program(file)
    if starts is None:
        return None, ("It needs node 20 or newer on PATH: https://nodejs.org",)
    said = answer(starts).strip()
    number = VERSION.search(said)
    if number is None:
        return None, (f"It does not start: {said.splitlines()[-1] if said else 'it says nothing'}",)
    return number[0], ()


def answer(starts: Program) -> str:
    """What it says to --version, with an empty HOME."""
    with tempfile.TemporaryDirectory() as home:
        env = {"PATH": starts.path, "HOME": home, "LANG": "C.UTF-8"}
        try:
            done = alone(Command(argv=(*starts.argv, "--version"), cwd=Path(home), env=env))
        except LimitReached as reached:
            return str(reached)
    return (done.stdout if done.returncode == 0 else done.stderr).decode(errors="replace")


def key_lacks(cli: Cli | None, *, key: str | None) -> Iterator[str]:
    """The key that is not set, or that no gateway could keep outside."""
    if cli and cli.provider is None:
        yield "It speaks to its maker's own service alone, so no gateway can keep its key out of the sandbox."
    elif key:
        yield f"The key for its model is not set: {key}"


def closed(agent: Agent, settings: Settings) -> Iterator[str]:
    """What is wrong with the sandbox, if that does not allow it."""
    sandbox = choice.sandbox(settings.sandbox, processes=settings.process_limit, memory=settings.memory_limit)
    if not allowed(agent, sandbox=sandbox, trusted=settings.sandbox == "process"):
        yield f"{choice.fault()} Or say that all prompts and repositories are trusted: CODINGIT_SANDBOX=process"
