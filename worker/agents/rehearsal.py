"""The offline agent: a program of ours that edits the repository without any model behind it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import worker.agents.rehearsal_program as program
from worker.agents.base import Event, Job, Verdict, numbers, parsed, text
from worker.sandbox.command import Command
from worker.sandbox.python import ISOLATED, READS

PROGRAM = str(Path(program.__file__).resolve())
SEARCHED = "/usr/local/bin:/usr/bin:/bin:/opt/homebrew/bin"
"""Where the program finds git."""


class Rehearsal:
    """
    For demos, tests and drills; what a prompt can make it do is told in `rehearsal_program`.

    It needs no isolation: it runs nothing that a prompt or a repository brings along, and writes in its folder alone.
    """

    name = "rehearsal"
    needs_isolation = False
    provider = None

    def files(self, job: Job) -> Mapping[str, str]:  # noqa: ARG002 - as the protocol has it
        """None."""
        return {}

    def command(self, job: Job) -> Command:
        """The program, with the prompt as its input."""
        return Command(
            argv=(*ISOLATED, PROGRAM),
            cwd=job.workspace,
            reads=(*READS, Path(PROGRAM)),
            env={
                "PATH": SEARCHED,
                "HOME": str(job.home),
                "LANG": "C.UTF-8",
                "GIT_CEILING_DIRECTORIES": str(job.workspace.parent),
            },
            stdin=job.prompt.encode(errors="replace"),
        )

    def parser(self, job: Job) -> "RehearsalParser":  # noqa: ARG002 - as the protocol has it
        """A fresh parser."""
        return RehearsalParser()


class RehearsalParser:
    """Reads the program's events, each a JSON object with a `type`."""

    def __init__(self) -> None:
        self.verdict: Verdict | None = None

    def feed(self, line: bytes) -> Sequence[Event]:
        """The event in this line, if it is one that is known."""
        fields = parsed(line)
        kind = fields.get("type")
        if kind == "result":
            self.verdict = verdict(fields)
            return ()
        event = EVENTS[kind](fields) if isinstance(kind, str) and kind in EVENTS else None
        return (event,) if event and event.message else ()


def verdict(fields: Mapping[str, object]) -> Verdict:
    """What the terminal event says; only a plain `true` is ok."""
    return Verdict(
        ok=fields.get("ok") is True,
        answer=text(fields.get("answer")),
        usage=numbers(fields.get("usage")),
        overloaded=fields.get("overloaded") is True,
    )


def said(fields: Mapping[str, object]) -> Event:
    """Words of the agent."""
    return Event(type="info", message=text(fields.get("text")))


def edited(fields: Mapping[str, object]) -> Event | None:
    """A file that was written."""
    path = text(fields.get("path"))
    return Event(type="info", message=f"Edited {path}") if path else None


def ran(fields: Mapping[str, object]) -> Event | None:
    """A command, and how it ended unless well."""
    command, code = text(fields.get("command")), fields.get("exit")
    failed = f"  (exit code {code})" if isinstance(code, int) and code else ""
    return Event(type="command", message=command + failed) if command else None


def complained(fields: Mapping[str, object]) -> Event:
    """A fault that did not end it."""
    return Event(type="error", message=text(fields.get("text")))


EVENTS: Mapping[str, Callable[[Mapping[str, object]], Event | None]] = MappingProxyType(
    {"say": said, "edit": edited, "command": ran, "error": complained}
)
