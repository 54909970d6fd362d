"""What the agents with a model behind them have in common: a program of somebody else's, started without a terminal."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from worker.agents import installed
from worker.agents.base import Job
from worker.errors import TaskFailed
from worker.sandbox.command import Command
from worker.settings import ProviderName

PLAIN = MappingProxyType({"LANG": "C.UTF-8", "TERM": "dumb", "NO_COLOR": "1", "GIT_TERMINAL_PROMPT": "0"})
COMMAND = "/"
"""A prompt that begins so is taken for a command of the program's own: nothing is done, and success is reported."""


class Cli:
    """
    An agent that is a program of the host. A subclass says what is its own.

    Every model sits behind such a program, so all of them need isolation: they do what prompts and repositories say.
    """

    needs_isolation = True
    name: str
    provider: ProviderName | None
    executable: str
    """What it is called on PATH."""
    install: str
    """The command that installs it."""
    wheel: str | None = None
    """Where an installed Python package has it, as `package/path`."""
    model: str
    """What it works with where the row selects none."""

    def arguments(self, job: Job) -> tuple[str, ...]:
        """What follows the program's name."""
        raise NotImplementedError

    def environment(self, job: Job) -> Mapping[str, str]:
        """What it needs besides PATH, HOME and the like."""
        raise NotImplementedError

    def files(self, job: Job) -> Mapping[str, str]:  # noqa: ARG002 - as the protocol has it
        """Nothing, for most."""
        return {}

    def located(self) -> Path | None:
        """The program's file, if it is installed."""
        return installed.find(self.executable, wheel=self.wheel)

    def program(self) -> installed.Program:
        """The program, or TaskFailed for the task's owner."""
        file = self.located()
        found = installed.program(file) if file else None
        if found is None:
            raise TaskFailed(
                f"Agent {self.name} is not installed on this worker. Choose another agent, or ask whoever runs the "
                f"worker to install it: codingit-worker agents check {self.name}"
            )
        return found

    def command(self, job: Job) -> Command:
        """The program with the prompt as its input; its output goes to a file, for some lose the end in a pipe."""
        program = self.program()
        return Command(
            argv=(*program.argv, *self.arguments(job)),
            cwd=job.workspace,
            env={
                **PLAIN,
                "PATH": program.path,
                "HOME": str(job.home),
                "GIT_CEILING_DIRECTORIES": str(job.workspace.parent),
                **self.environment(job),
            },
            stdin=worded(job.prompt).encode(errors="replace"),
            reads=program.reads,
            tail=True,
        )

    def model_of(self, job: Job) -> str:
        """The model that was selected, or the default."""
        return job.model or self.model


def worded(prompt: str) -> str:
    """The prompt, never to be taken for a command."""
    return f"The task:\n{prompt}" if prompt.lstrip().startswith(COMMAND) else prompt


def without_none(values: Mapping[str, str | None]) -> dict[str, str]:
    """Only what is there."""
    return {name: value for name, value in values.items() if value is not None}
