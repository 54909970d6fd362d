"""The processes of the Procfile as our children: started, watched, started again when they die, and stopped."""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from worker.errors import CommandFailed
from worker.local import child

PROCESSES: Mapping[str, str] = {
    "worker": "celery -A worker.app worker -Q runs -n runs@%h --without-mingle",
    "dispatcher": "codingit-worker dispatch",
    "flower": "celery -A worker.app flower --conf=worker/monitoring/flowerconfig.py",
    "maintenance": "celery -A worker.app worker -Q maintenance -n maintenance@%h -c 1 --without-mingle",
    "beat": "celery -A worker.app beat",
}
"""As the Procfile says, which no wheel carries; those first that a task waits for."""
NODES = ("runs@%h", "maintenance@%h")
"""What the workers among them call themselves; %h is the name of this host."""
PROGRAMS = {"celery": ("-m", "celery"), "codingit-worker": ("-m", "worker")}
ROOT = Path(__file__).resolve().parents[2]
"""Where the modules lie, and what the Procfile's paths are relative to."""
PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds before a process that died is started again: the first time, the second… After the last we give up."""
WELL_AFTER = 30.0
"""Seconds after which a process that runs has made up for all its deaths."""
STOP_WITHIN = timedelta(seconds=5)
"""How long a process may take to end, besides the grace of its tasks."""
SHOWN_OF_LOG = 8
QUIET_FOR = 1.0
"""Seconds before we say what we wait for."""


@dataclass(slots=True, kw_only=True)
class Member:
    """One process of the fleet, through all its lives."""

    name: str
    argv: tuple[str, ...]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    began: float = 0.0
    deaths: int = 0
    due: float | None = None
    """When it is to be started again, while it is dead."""

    def ended(self) -> bool:
        """Whether it is dead and nobody has noticed yet."""
        return self.process is not None and self.process.poll() is not None

    def how(self) -> str:
        """How it ended, in a few words."""
        code = self.process.returncode if self.process else None
        if code is not None and code < 0:
            return f"was ended by {signal.Signals(-code).name}"
        return f"ended by itself with exit code {code}"

    def last_words(self) -> str:
        """The end of its log."""
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return "\n".join(f"    {line}" for line in lines[-SHOWN_OF_LOG:])


@dataclass(slots=True, kw_only=True)
class Fleet:
    """All of them; call from the main thread, whose end ends them on Linux, however it comes."""

    logs: Path
    env: Mapping[str, str] = field(repr=False)
    grace: timedelta
    members: list[Member] = field(default_factory=list)

    def start(self) -> None:
        """Start every process, each with a fresh log; the last run's log is kept beside it."""
        for name, command in PROCESSES.items():
            log = self.logs / f"{name}.log"
            if log.exists():
                log.replace(log.with_suffix(".log.old"))
            log.touch(mode=0o600)
            program, *arguments = shlex.split(command)
            argv = (sys.executable, *PROGRAMS[program], *arguments)
            member = Member(name=name, argv=argv, log=log)
            self.members.append(member)
            self._begin(member)

    def all_alive(self) -> None:
        """Raises CommandFailed with its last words when one ended, for while we start none may."""
        for member in self.members:
            if member.ended():
                raise CommandFailed(f"The {member.name} {member.how()}:\n{member.last_words()}\nIts log: {member.log}")

    def mend(self) -> Iterator[str]:
        """
        Start again what died, after a pause; each death and rebirth is told in a sentence.

        Raises:
            CommandFailed: one dies again and again.
        """
        for member in self.members:
            if member.due is None and member.ended():
                yield self._mourn(member)
            elif member.due is not None and time.monotonic() >= member.due:
                self._begin(member)
                yield f"The {member.name} runs again (pid {member.process.pid if member.process else '?'})."

    def pid(self, name: str) -> int | None:
        """The number of a process that runs."""
        found = next(member for member in self.members if member.name == name)
        return found.process.pid if found.process and found.process.poll() is None else None

    def stop(self, *, busy: Callable[[], bool], hurry: Callable[[], bool], say: Callable[[str], None]) -> None:
        """
        Ask all to end, wait for the tasks that run, and see that nothing is left.

        Whoever listens is told of tasks only if `busy` says that some run; `hurry` cuts the wait short.
        """
        for member in self.members:
            member.due = None
            self._signal(member, signal.SIGTERM)
        began, told = time.monotonic(), False
        while (left := self._alive()) and not hurry() and not self._overdue(left, time.monotonic() - began):
            if not told and time.monotonic() - began > QUIET_FOR:
                told = True
                say(self._waiting_for(left, busy=busy))
            time.sleep(0.02)
        for member in self.members:
            self._end(member)

    def _waiting_for(self, left: list[Member], *, busy: Callable[[], bool]) -> str:
        if any(member.name == "worker" for member in left) and busy():
            limit = self.grace.total_seconds()
            return f"Stopping. Tasks that still run have {limit:.0f} s, then they are given back; Ctrl-C again hurries."
        return f"Stopping: waiting for {', '.join(member.name for member in left)}. Ctrl-C again hurries."

    def _overdue(self, left: list[Member], seconds: float) -> bool:
        grace = self.grace if any(member.name == "worker" for member in left) else timedelta()
        return seconds > (grace + STOP_WITHIN).total_seconds()

    def _alive(self) -> list[Member]:
        return [member for member in self.members if member.process and member.process.poll() is None]

    def _mourn(self, member: Member) -> str:
        if time.monotonic() - member.began > WELL_AFTER:
            member.deaths = 0
        if member.deaths == len(PAUSES):
            raise CommandFailed(
                f"The {member.name} dies again and again. It {member.how()}:\n{member.last_words()}\n"
                f"Its log: {member.log}"
            )
        member.due = time.monotonic() + PAUSES[member.deaths]
        member.deaths += 1
        told = f"The {member.name} {member.how()}; it is started again."
        by_signal = member.process is not None and member.process.returncode < 0
        return told if by_signal else f"{told} Its last words:\n{member.last_words()}"

    def _begin(self, member: Member) -> None:
        with member.log.open("ab") as output:
            member.process = subprocess.Popen(
                member.argv,
                cwd=ROOT,
                env=dict(self.env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=child.die_with(os.getpid(), signal.SIGKILL),  # noqa: PLW1509  # see child.spawn
            )
        member.began, member.due = time.monotonic(), None

    def _signal(self, member: Member, number: signal.Signals) -> None:
        if member.process is not None and member.process.poll() is None:
            member.process.send_signal(number)

    def _end(self, member: Member) -> None:
        if member.process is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(member.process.pid, signal.SIGKILL)
            member.process.wait()
