"""The story of a run: workspace, mirror, clone, branch, agent, commit, bundle, push, finish."""

import errno
import signal
import sys
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import structlog

from db.engine import Database
from db.queries import queue
from worker import git
from worker.errors import Cause, CommandFailed, LeaseLost, RunInterrupted, TaskFailed
from worker.repository import HostUnknown, NamesAway, Unreachable, names
from worker.run import remote, request
from worker.run.agent import Performance, Work
from worker.run.ending import Ended, Ending
from worker.run.gateway import GatewayGone
from worker.run.journal import Journal
from worker.run.judgement import BACKOFF
from worker.run.lease import Lease
from worker.run.limits import Foretold
from worker.run.pump import Deadline, LimitReached, Limits, Pump
from worker.run.redaction import Redactor
from worker.run.request import Request
from worker.run.shutdown import Notice
from worker.run.transcript import Transcript, transcript_path
from worker.sandbox import choice, e2b
from worker.sandbox.base import Sandbox
from worker.sandbox.command import Command, Completed
from worker.sandbox.e2b import E2B, Machine
from worker.sandbox.process import ProcessSandbox
from worker.settings import Settings, network_environment
from worker.workspace import Folders, folders, mirrors

log = structlog.get_logger(__name__)

WATCH = timedelta(milliseconds=250)
"""How often a run looks after its lease, its log and a shutdown while a program runs."""
SAVING = timedelta(minutes=2)
"""What a run that reached a limit has left to commit and push what there is."""
ROOM = 3
"""How often the disk limit fits what may then lie there: a folder a little beyond it, and its compressed copy."""
STOPPED = frozenset({128 + signal.SIGTERM, 128 + signal.SIGKILL, 128 + signal.SIGINT})
HEARSAY = timedelta(milliseconds=500)
"""A signal that reaches a program and its worker at once may be seen in either order."""
LOOKUP = timedelta(seconds=30)
"""How long a name service may take."""
PUSHES = 3
"""How often a push is tried that finds the branch moved by an earlier attempt of the same task."""
EXHAUSTED = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN})
OUR_FAULT = "A fault of the worker ended this task; whoever runs the worker finds it in the worker's log"


def run(claim: queue.Claim, *, database: Database, settings: Settings, notice: Notice) -> str:
    """
    See a claimed task through; answers in a few words how it ended, for Flower.

    Whatever happens, no process of the run is left, its workspace is gone, and its row in the history is closed as
    far as the database can be reached. A fault of ours fails the task and is raised again.
    """
    lease = Lease(claim, database, settings=settings, notice=notice)
    with ExitStack() as afterwards:  # the workspace goes last: to remove it may take longer than a lease lasts
        afterwards.enter_context(database.waiting(lease.patience))
        story = Story(lease, afterwards, settings=settings, notice=notice)
        ending = Ending(lease)
        try:
            return told(story, ending)
        except LeaseLost as lost:
            return ending.abandon(lost, story.journal)
        finally:
            story.journal.transcript.close()


def told(story: "Story", ending: Ending) -> str:
    """The story to its end. Raises LeaseLost when the task may not be written any more, at whatever point."""
    try:
        ended = story.tell()
    except TaskFailed as failure:
        ended = Ended(reason=str(failure))
    except RunInterrupted as interrupted:
        return ending.give_back(interrupted, story.journal)
    except LeaseLost:
        raise
    except Exception as fault:
        if is_of_this_host(fault):
            log.exception("host.unfit")
            story.journal.say("error", "The worker cannot run this now: it lacks disk, memory, a program or a sandbox.")
            return ending.give_back(RunInterrupted(Cause.OVERLOADED, delay=BACKOFF), story.journal)
        with suppress(LeaseLost):
            ending.finish(Ended(reason=OUR_FAULT), story.journal, usage=story.usage)
        raise
    return ending.finish(ended, story.journal, usage=story.usage)


def is_of_this_host(fault: Exception) -> bool:
    """Whether the task would run where there is git, room on the disk, and a process to be had."""
    exhausted = isinstance(fault, OSError) and fault.errno in EXHAUSTED
    return exhausted or isinstance(fault, CommandFailed | MemoryError)


class Story:
    """One run of one task: `tell` reads from top to bottom what happens."""

    def __init__(self, lease: Lease, afterwards: ExitStack, *, settings: Settings, notice: Notice) -> None:
        self.usage: dict[str, int | float] = {}
        self._claim = lease.claim
        self._lease = lease
        self._afterwards = afterwards
        self._settings = settings
        self._notice = notice
        self._performance: Performance | None = None
        self._machine: Machine | None = None
        self._sandbox = self._sandbox_for()
        self._pump = Pump(watch=self._watch, every=WATCH, wakers=notice.fds)
        self._deadline = Deadline.after(settings.wall_limit)
        self._disk = settings.disk_limit
        self._foretold = Foretold(self._deadline)
        self.journal = self._journal(*settings.secrets())

    def tell(self) -> Ended:
        """
        Raises:
            TaskFailed: the task ends as an error, with this sentence for its owner.
            RunInterrupted: the task is to be given back.
            LeaseLost: nothing may be written any more.
        """
        self._lease.keep()
        asked = request.read(self._claim, settings=self._settings, sandbox=self._sandbox, lookup=self._lookup)
        if asked.secrets:  # nothing was said yet; from here on they are masked too
            self.journal = self._journal(*self._settings.secrets(), *asked.secrets)
        self.journal.step(15, f"Attempt {self._claim.attempt} begins, with agent {asked.agent.name}.")
        try:
            made = folders(self._settings.workspaces_dir, task_id=self._claim.task_id, fence=self._claim.fence)
            space = self._afterwards.enter_context(made)
            self._machine = self._machine_of_its_own()
            self._sandbox = self._sandbox_for(space.work)  # git's: into the agent's home the host writes too
            return self._in_repository(asked, space) if asked.repository else self._without_repository(asked, space)
        except Unreachable as unreachable:
            self.journal.say("error", unreachable.sentence)
            raise
        except LimitReached as reached:
            raise TaskFailed(str(reached)) from reached

    def _without_repository(self, asked: Request, space: Folders) -> Ended:
        work = self._agent(asked, space)
        self.journal.say("success", work.answer)
        return Ended(reason=work.cut)

    def _in_repository(self, asked: Request, space: Folders) -> Ended:
        assert asked.repository is not None  # noqa: S101 - for the type checker
        host = git.Host(
            run=self._on_host,
            folder=space.private,
            repository=asked.repository,
            credential=asked.credential,
            env=network_environment(),
        )
        workspace = git.Workspace(run=self._in_sandbox, folder=space.work, committer=self._settings.committer)
        branch = self._branch(host, asked)
        earlier = [git.Pushed(branch=push.branch, head=push.head, base=push.base) for push in self._claim.pushes]
        mirrored, base = git.start(host, workspace, branch, earlier=earlier, cache=mirrors(self._settings))
        self.journal.step(25, f"Cloned {asked.repository.url}.")
        for note in git.notes(host, mirrored, base):
            self.journal.say("info", note)
        self.journal.step(30, f"Working on branch {branch}.")

        work = self._agent(asked, space)
        self.journal.say("success" if work.cut is None else "error", work.answer)
        task = git.Task(id=self._claim.task_id, prompt=asked.prompt)
        head = git.commit(workspace, mirrored, base, task=task, partial=work.cut is not None)
        if head is None:
            self.journal.step(90, "The agent changed nothing, so there is nothing to push.")
            return Ended(reason=work.cut)
        self.journal.step(90, f"Committed {head}.")
        git.bundle(workspace, base)
        self._bring(workspace.out)
        delivery = git.receive(host, mirrored, base, bundle=workspace.out, head=head)
        self._push(host, mirrored, base, delivery)
        self.journal.step(95, f"Pushed branch {branch}.")
        url = self._pull_request(host, mirrored, task) if work.cut is None else None
        return Ended(branch=branch, commit=head, pull_request=url, reason=work.cut)

    def _branch(self, host: git.Host, asked: Request) -> str:
        if asked.branch:
            return git.validate_branch(host, asked.branch)
        branch = git.generated_branch(asked.prompt, self._claim.task_id)
        self._lease.name_branch(branch)
        return branch

    def _agent(self, asked: Request, space: Folders) -> Work:
        self._performance = Performance(
            asked,
            space,
            lease=self._lease,
            journal=self.journal,
            pump=self._pump,
            settings=self._settings,
            keep=self._watch,
        )
        try:
            sandbox = self._sandbox_for(space.work, space.home)
            work = self._performance.give(sandbox, deadline=self._deadline, ended=self._unless_stopped)
        except GatewayGone:
            self._unless_stopping()
            raise
        finally:
            self.usage = self._performance.usage
            self._performance = None
        if work.cut:
            self._deadline = Deadline.after(SAVING)
            self._disk *= ROOM
            self._foretold.said = True
        return work

    def _push(self, host: git.Host, mirrored: git.Mirror, base: git.Base, delivery: git.Delivery) -> None:
        """Push; where an earlier attempt's push came late, replace it."""
        replaceable = {push.head for push in self._claim.pushes if push.branch == mirrored.branch}
        for _ in range(PUSHES):
            push = queue.Pushed(branch=mirrored.branch, head=delivery.head, base=base.commit)
            self._lease.record_push(push)
            try:
                return git.push(host, mirrored, base, delivery)
            except git.PushRejected as rejected:
                found = git.remote_head(host, mirrored) if rejected.moved else None
                if found not in replaceable:
                    raise
                base = replace(base, expected=found)
        raise TaskFailed("The branch was changed again and again while it was pushed. Try again later.")

    def _pull_request(self, host: git.Host, mirrored: git.Mirror, task: git.Task) -> str | None:
        """A pull request, if they are wanted; whatever becomes of it, the branch is pushed and the task done."""
        if self._settings.pull_requests is None:
            return None
        try:
            opened = git.open_pull_request(host, mirrored, task=task, draft=self._settings.pull_requests == "draft")
        except LimitReached as reached:
            self.journal.say("info", f"No pull request was opened. {reached}")
            return None
        self.journal.say("info", opened.sentence)
        return opened.url

    # What every step stands on --------------------------------------------------------------------------------------

    def _lookup(self, host: str, port: int) -> tuple[str, ...]:
        """The addresses of a host, asked for by a program: the lease is kept however long a name service takes."""
        command = Command(argv=(sys.executable, "-I", "-S", names.__file__, host, str(port)), cwd=Path("/"))
        limits = Limits(wall=Deadline.after(LOOKUP))
        try:
            completed = self._unless_stopped(self._pump.run(command, sandbox=ProcessSandbox(), limits=limits))
        except LimitReached as reached:
            raise NamesAway from reached
        if completed.returncode == names.UNKNOWN:
            raise HostUnknown
        if completed.returncode != 0:
            raise NamesAway
        return tuple(completed.stdout.decode().split())

    def _on_host(self, command: Command) -> Completed:
        self._lease.assure()  # after a stop or an outage nothing of ours reaches the network on a stale lease
        return self._unless_stopped(self._pump.run(command, sandbox=ProcessSandbox(), limits=self._limits()))

    def _machine_of_its_own(self) -> Machine | None:
        """One of E2B's, where they are asked for; it goes after the last word about the attempt, as the workspace."""
        owner = e2b.account(self._settings) if self._settings.sandbox == "e2b" else None
        if owner is None:
            return None
        return self._afterwards.enter_context(remote.machine(owner, self._lease, self._at_e2b))

    def _bring(self, result: Path) -> None:
        """The result of a run elsewhere to its place here."""
        if self._machine:
            errand = e2b.fetching(self._machine, result, largest=self._settings.disk_limit)
            remote.step(self._at_e2b, errand)

    def _at_e2b(self, command: Command, errand: Sandbox) -> Completed:
        limits = Limits(wall=self._deadline)
        return self._unless_stopped(self._pump.run(command, sandbox=errand, limits=limits))

    def _sandbox_for(self, *writable: Path) -> Sandbox:
        chosen = self._settings
        if self._machine:
            return E2B(self._machine, writable=writable)
        return choice.sandbox(
            chosen.sandbox, writable=writable, processes=chosen.process_limit, memory=chosen.memory_limit
        )

    def _in_sandbox(self, command: Command) -> Completed:
        return self._unless_stopped(self._pump.run(command, sandbox=self._sandbox, limits=self._limits()))

    def _unless_stopped(self, completed: Completed) -> Completed:
        """What a program came to, unless what is to stop this worker ended it: systemd signals every process."""
        if completed.returncode in STOPPED:
            self._unless_stopping()
        return completed

    def _unless_stopping(self) -> None:
        self._notice.wait(HEARSAY)
        if self._notice.given():
            raise RunInterrupted(Cause.SHUTDOWN)

    def _limits(self) -> Limits:
        return Limits(wall=self._deadline, disk=self._disk)

    def _watch(self) -> None:
        self._lease.keep()
        if warning := self._foretold.sentence():
            self.journal.say("info", warning)
        self.journal.write_if_due()
        if self._performance:
            self._performance.watch()
        if self._notice.over(self._settings.grace):
            raise RunInterrupted(Cause.SHUTDOWN)

    def _journal(self, *secrets: str) -> Journal:
        path = transcript_path(self._settings.transcripts_dir, task_id=self._claim.task_id, fence=self._claim.fence)
        return Journal(Transcript(path, redactor=Redactor(secrets)), self._lease)
