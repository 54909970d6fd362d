"""The agent's part of a run: what it may reach, its program from the first line to the last, and what came of it."""

import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from time import monotonic

from db.errors import DatabaseUnavailable
from worker.agents import Job, Parser, Verdict, place
from worker.gateway.config import Caps
from worker.gateway.ledger import Counters
from worker.run import budget, gateway
from worker.run.gateway import Gateway, GatewayGone
from worker.run.journal import Journal
from worker.run.judgement import judged
from worker.run.lease import Lease
from worker.run.limits import LimitReached
from worker.run.pump import Deadline, Limits, Pump
from worker.run.request import Request
from worker.sandbox.base import Sandbox
from worker.sandbox.command import Command, Completed
from worker.settings import Settings
from worker.workspace import Folders

NOTED = timedelta(seconds=10)
"""How often what a run has used is written down while it goes on, for the budgets of its user's other runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What an agent did: its answer, and the limit that cut it off if one did."""

    answer: str
    cut: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What the agent's program can reach besides its workspace."""

    base_url: str | None = None
    token: str | None = field(default=None, repr=False)
    sockets: Mapping[int, Path] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def through(cls, opened: Gateway | None) -> "Reach":
        """The model and the hosts that a gateway passes on to, each at a port of the program's own loopback."""
        if opened is None:
            return cls()
        paths = [path for path in (opened.model, opened.egress) if path]
        ports = dict(zip(paths, free_ports(len(paths)), strict=True))
        proxy = f"http://127.0.0.1:{ports[opened.egress]}" if opened.egress else None
        return cls(
            base_url=f"http://127.0.0.1:{ports[opened.model]}" if opened.model else None,
            token=opened.token if opened.model else None,
            sockets={port: path for path, port in ports.items()},
            env={"HTTPS_PROXY": proxy, "https_proxy": proxy, "NO_PROXY": "127.0.0.1,localhost"} if proxy else {},
        )


class Performance:
    """One agent at work on one task."""

    def __init__(
        self,
        asked: Request,
        space: Folders,
        *,
        lease: Lease,
        journal: Journal,
        pump: Pump,
        settings: Settings,
        keep: Callable[[], None],
    ) -> None:
        self.usage: dict[str, int | float] = {}
        """What the agent says that it used."""
        self._asked = asked
        self._space = space
        self._lease = lease
        self._journal = journal
        self._pump = pump
        self._settings = settings
        self._keep = keep
        self._opened: Gateway | None = None
        self._note_at = 0.0

    def give(self, sandbox: Sandbox, *, deadline: Deadline, ended: Callable[[Completed], Completed]) -> Work:
        """
        Run the agent to its end. A limit that cuts it off is no failure yet, for what it did is still to be saved.

        `ended` is asked what to make of an exit code.

        Raises:
            TaskFailed: it failed, or may not begin.
            RunInterrupted: its provider is overloaded.
            GatewayGone: its gateway ended before it did.
        """
        folder = self._space.work / "repo"
        folder.mkdir(exist_ok=True)
        with self._reach() as reach:
            job = self._job(folder, reach)
            agent = self._asked.agent
            command, parser = agent.command(job), agent.parser(job)
            place(agent.files(job), home=job.home)
            self._journal.step(40, "The agent begins.")
            try:
                completed = ended(self._heard(reaching(command, reach), parser, sandbox, deadline))
            except LimitReached as limit:
                return Work(answer=str(limit), cut=str(limit))
            if cap := self._opened.used().reached if self._opened else None:
                return Work(answer=cap, cut=cap)
            return Work(answer=self._judged(parser.verdict, completed))

    def watch(self) -> None:
        """
        Note what was used when that is due. Call it several times a second.

        Raises:
            GatewayGone: the agent waits for nothing.
        """
        self._unless_cut_off()
        if self._opened and monotonic() >= self._note_at:
            self._note_at = monotonic() + NOTED.total_seconds()
            with suppress(DatabaseUnavailable):
                self._lease.record_usage(self._opened.used().usage())

    @contextmanager
    def _reach(self) -> Iterator[Reach]:
        """What the agent reaches, for as long as it works; what it used is written down at the end, however it ends."""
        access = self._asked.access
        caps = budget.caps_for(self._lease.spent(), settings=self._settings) if access else Caps()
        folder = self._space.private / "gateway"
        opened = None
        try:
            with gateway.opened(self._settings, folder, access=access, caps=caps, watch=self._keep) as opened:
                self._opened = opened
                yield Reach.through(opened)
        finally:
            self._opened = None
            if opened:  # only now that it has ended is all in its sums that was under way
                self._conclude(opened.used())

    def _conclude(self, used: Counters) -> None:
        if used.refused_hosts:
            hosts = ", ".join(used.refused_hosts)
            self._journal.say("info", f"It asked for hosts that this worker does not allow: {hosts}.")
        self._lease.must_record_usage(used.usage())

    def _unless_cut_off(self) -> None:
        if self._opened and not self._opened.lives:
            raise GatewayGone("The gateway to the agent's model ended before the agent did.")

    def _job(self, folder: Path, reach: Reach) -> Job:
        return Job(
            task_id=self._lease.claim.task_id,
            prompt=self._asked.prompt,
            model=self._asked.model,
            workspace=folder,
            home=self._space.home,
            base_url=reach.base_url,
            token=reach.token,
        )

    def _heard(self, command: Command, parser: Parser, sandbox: Sandbox, deadline: Deadline) -> Completed:
        def on_line(line: bytes) -> None:
            self._journal.transcript.raw(line + b"\n")
            for event in parser.feed(line):
                self._journal.heard(event.type, event.message)

        limits = Limits(
            wall=deadline,
            idle=self._settings.idle_limit,
            output=self._settings.output_limit,
            disk=self._settings.disk_limit,
            folder=self._space.whole,
        )
        return self._pump.run(
            command,
            sandbox=sandbox,
            limits=limits,
            on_line=on_line,
            on_error_line=lambda line: self._journal.transcript.raw(line + b"\n"),
        )

    def _judged(self, verdict: Verdict | None, completed: Completed) -> str:
        """The agent's answer; what it took is kept and told, however it ended."""
        self._unless_cut_off()
        self.usage |= verdict.measured() if verdict else {}
        if verdict and (took := verdict.spent()):
            self._journal.say("info", f"It took {took}.")
        return judged(verdict, completed, backoffs=self._lease.claim.backoffs)


def reaching(command: Command, reach: Reach) -> Command:
    """The agent's command, with what it may reach."""
    return replace(command, env={**command.env, **reach.env}, sockets={**command.sockets, **reach.sockets})


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nobody has now; in a network of its own a program finds every port free."""
    with ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
