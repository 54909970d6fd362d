"""How events of any agent become entries that a person wants to read; what only its authors want is dropped."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypedDict

from worker.agents.base import Event, Job, Verdict, numbers, parsed, text

HELD = 4_000
"""How many characters of a command or a path are kept until its end is known."""
OPEN = 200
"""How many tools may be under way; of an agent that begins more, the oldest are forgotten."""
ENDING, WIDE = 10, 1_000
"""How many lines and characters are shown of what a command that failed has printed."""
SPOKEN = 12_000
"""Words that come in pieces are one entry up to so many characters."""
DENIED = frozenset({401, 403})
BUSY = frozenset({408, 429, 500, 502, 503, 504, 529})
"""What a provider answers that may answer better later, once the agent's own retries are used up."""


class Blame(TypedDict):
    """Whose fault it was, as a verdict has it."""

    denied: bool
    overloaded: bool


class Reader:
    """Reads one run's JSON events; a subclass says in `read` what each kind of them means."""

    def __init__(self, job: Job) -> None:
        self.verdict: Verdict | None = None
        self._within = f"{job.workspace}/"
        self._begun: dict[str, Event] = {}
        self._words = ""
        self._idle = True

    def feed(self, line: bytes) -> Sequence[Event]:
        """The events in this line, if it is one that is known, after the words that came before it."""
        found = parsed(line)
        events = [each for event in self.read(text(found.get("type")), found) for each in (*self.spoken(), event)]
        return [event for event in events if event.message.strip()]

    def read(self, kind: str, fields: Mapping[str, object]) -> Iterator[Event]:
        """The events in one object; may set the verdict."""
        raise NotImplementedError

    def begin(self, key: str, what: Event | None) -> Iterator[Event]:
        """A tool begins: a command is told at once, an edit when it is done, and what is None never."""
        self._idle = False
        yield from self.spoken()
        if what is None:
            return
        self._begun[key] = what
        if len(self._begun) > OPEN:
            self._begun.pop(next(iter(self._begun)))
        if what.type == "command":
            yield what

    def end(self, key: str, *, failed: bool, code: int | None = None, output: str = "") -> Iterator[Event]:
        """A tool ended: a command that failed says how, an edit that did not is told now."""
        what = self._begun.pop(key, None)
        if what is None:
            return
        if what.type != "command":
            if not failed:
                yield what
        elif failed or code:
            yield failure(what.message, code, output)

    def edited(self, *paths: str) -> Event | None:
        """Files that were written, as seen from the repository."""
        shown = [path[:HELD].removeprefix(self._within) for path in paths if path]
        return Event(type="info", message=f"Edited {', '.join(shown)}") if shown else None

    def say(self, words: str) -> Iterator[Event]:
        """Words that are whole; kept until something else comes, for the last ones are the answer."""
        yield from self.spoken()
        yield from self.speak(words)

    def speak(self, piece: str) -> Iterator[Event]:
        """Words that come in pieces: told when something else comes, or when they are many."""
        self._words += piece
        self._idle = self._idle and not piece
        if len(self._words) > SPOKEN:
            yield from self.spoken()

    def spoken(self) -> Iterator[Event]:
        """The words that are kept, as one entry."""
        yield said(self.last_words())

    def last_words(self) -> str:
        """The words that are kept, which are told no more."""
        words, self._words = self._words, ""
        return words.strip()

    def conclude(self, verdict: Verdict) -> Iterator[Event]:
        """The terminal event came; its answer is not told twice, and success without a word or a deed is none."""
        nothing = self._idle and verdict.ok and verdict.turns is None
        self.verdict = replace(verdict, turns=0) if nothing else verdict
        if self._words.strip() == verdict.answer.strip():
            self._words = ""
        yield from self.spoken()


def said(words: str) -> Event:
    """Words of the agent, or about it."""
    return Event(type="info", message=words.strip())


def ran(command: str) -> Event | None:
    """A command that begins."""
    return Event(type="command", message=command[:HELD]) if command.strip() else None


def complained(words: str) -> Event:
    """A fault that did not end it."""
    return Event(type="error", message=words.strip())


def failure(command: str, code: int | None, output: str) -> Event:
    """How a command failed, with the end of what it printed: the reason comes last."""
    first = command.strip().partition("\n")[0]
    how = "failed" if code is None else f"ended with exit code {code}"
    end = "\n".join(output[-WIDE:].strip().splitlines()[-ENDING:])
    return Event(type="error", message=f"{first[:200]} {how}" + (f":\n{end}" if end else "."))


def blamed(status: int | None) -> Blame:
    """What the provider's HTTP status says about a failure, for a verdict."""
    return {"denied": status in DENIED, "overloaded": status in BUSY}


def tokens(value: object, **names: str | tuple[str, ...]) -> dict[str, int | float]:
    """The counts of an agent's usage under our names: for each, the sum of what it calls by those names."""
    found = numbers(value)
    return {
        ours: sum(found.get(name, 0) for name in listed(theirs))
        for ours, theirs in names.items()
        if any(name in found for name in listed(theirs))
    }


def listed(names: str | Iterable[str]) -> tuple[str, ...]:
    """One name or several."""
    return (names,) if isinstance(names, str) else tuple(names)
