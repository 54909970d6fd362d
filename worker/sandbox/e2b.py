"""A sandbox that isolates: a machine of E2B for one run, in which folders have the same places as they have here."""

import base64
import json
import os
import select
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from time import monotonic
from typing import IO

from worker.errors import CommandFailed
from worker.sandbox import e2b_remote, supervisor
from worker.sandbox.command import Command
from worker.sandbox.process import SIGNALLED, input_file, nonblocking, output_file, pidfd, terms
from worker.sandbox.python import INTERPRETER, READS
from worker.settings import Settings, network_environment

PROGRAM = Path(__file__).with_name("e2b_program.py").resolve()
"""What speaks to E2B. It is not imported: a worker without E2B need not have the SDK."""
OURS = "/opt/codingit"
"""Where our own programs and their jobs lie there."""
PATIENCE = timedelta(seconds=15)
"""How long E2B may take to end a machine."""
ENDING = timedelta(seconds=5)
"""How long our program may take to end, once it is told to: a worker that shuts down has not many seconds."""
ROUND = 0.05
PORT = 3000
"""The port of a sandbox that its address leads to: what a web application that is being worked on listens at."""
INSTALL = "The sandbox E2B needs its SDK: pip install 'codingit-worker[e2b]'."


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Whose sandboxes they are, and where E2B answers."""

    key: str = field(repr=False)
    template: str = "base"
    """What a new machine holds: at least bash, coreutils, git, tar and Python 3, and the user that programs run as."""
    api_url: str | None = None
    sandbox_url: str | None = None
    """Both are E2B's own where they are None."""
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    """What programs of this host need to reach the network."""

    def options(self) -> dict[str, str]:
        """As the SDK takes them."""
        named = {"api_key": self.key, "api_url": self.api_url, "sandbox_url": self.sandbox_url}
        return {name: value for name, value in named.items() if value}


def account(settings: Settings) -> Account | None:
    """Whose machines runs get; None where they get none of E2B's."""
    if settings.e2b_api_key is None:
        return None
    return Account(
        key=settings.e2b_api_key.get_secret_value(),
        template=settings.e2b_template,
        api_url=settings.e2b_api_url,
        sandbox_url=settings.e2b_sandbox_url,
        env=network_environment(),
    )


class Machine:
    """One machine, and what was sent to it already."""

    def __init__(self, account: Account, id: str) -> None:  # noqa: A002  # E2B's word
        self.account = account
        self.id = id
        self._sent: set[Path] = set()

    def unsent(self, paths: Sequence[Path]) -> list[str]:
        """Those that it has not got, which it is about to get."""
        new = [path for path in dict.fromkeys(paths) if path not in self._sent]
        self._sent |= set(new)
        return [str(path) for path in new]


class E2B:
    """
    Programs run in the machine, which has no way to the internet, nor to any program of this host but by the sockets
    of their commands, over the connection that E2B keeps for us.

    `writable` folders are copied there, with what they hold, before the first program that may write in them, and so is
    what a command reads, before the first that reads it; nothing comes back by itself: see `fetching`.
    """

    isolates = True

    def __init__(self, machine: Machine, *, writable: Sequence[Path]) -> None:
        self._machine = machine
        self._writable = tuple(writable)

    def start(self, command: Command) -> "RemoteChild":
        """
        Start the command there; see `Sandbox.start`. A folder that is missing there is no error: the exit code is 126.
        """
        return RemoteChild(self._job(command), env=self._machine.account.env, tail=command.tail)

    def _job(self, command: Command) -> dict[str, object]:
        machine = self._machine
        ours = {str(program): f"{OURS}/{program.name}" for program in PROGRAMS}
        program = {
            "argv": ["python3" if word == INTERPRETER else word for word in command.argv],
            "cwd": str(command.cwd),
            "env": dict(command.env),
            "terms": terms(command, None),
            "ports": list(command.sockets),
        }
        return {
            "step": "run",
            "account": machine.account.options(),
            "id": machine.id,
            "ours": OURS,
            "program": program,
            "stdin": base64.b64encode(command.stdin).decode(),
            "sockets": {str(port): str(path) for port, path in command.sockets.items()},
            "places": ours,
            "writable": machine.unsent(self._writable),
            "reads": machine.unsent((*PROGRAMS, *(path for path in command.reads if path not in READS))),
        }


class Promised:
    """Before there is a machine: what its programs will see is known already."""

    isolates = True

    def start(self, command: Command) -> "RemoteChild":  # noqa: ARG002  # as the protocol has it
        """Nothing can be started yet. Raises CommandFailed."""
        raise CommandFailed("No machine of E2B was made yet.")


PROGRAMS = tuple(Path(str(program.__file__)).resolve() for program in (supervisor, e2b_remote))


class Errand:
    """One step at E2B, as a sandbox in which each command is that step: for the loop that runs programs."""

    isolates = False

    def __init__(self, step: str, account: Account, **what: object) -> None:
        self._account = account
        self._job = {"step": step, "account": account.options(), **what}

    def start(self, command: Command) -> "RemoteChild":  # noqa: ARG002  # as the protocol has it
        """Begin the step."""
        return RemoteChild(self._job, env=self._account.env)


def creating(account: Account, **metadata: str) -> Errand:
    """Make a machine; the program prints its `id` and `url` as JSON."""
    return Errand("create", account, template=account.template, metadata=metadata, port=PORT, ours=OURS)


def fetching(machine: Machine, path: Path, *, largest: int) -> Errand:
    """Bring a file of the machine to the same place here, where there is none, of at most so many bytes."""
    return Errand("fetch", machine.account, id=machine.id, path=str(path), to=str(path), largest=largest)


def kill(account: Account, id: str) -> None:  # noqa: A002  # E2B's word
    """
    End a machine and all that it holds, if it is still there; takes no longer than `PATIENCE`.

    Raises:
        CommandFailed: E2B did not say that it did.
    """
    until = monotonic() + PATIENCE.total_seconds()
    with closing(Errand("kill", account, id=id).start(Command(argv=("kill",), cwd=Path("/")))) as child:
        while child.poll() is None:
            if monotonic() > until:
                raise CommandFailed("E2B did not answer in time.")
            select.select([] if child.exited is None else [child.exited], [], [], ROUND)


def fault() -> str | None:
    """Why this host cannot speak to E2B; None where it can."""
    return INSTALL if find_spec("e2b") is None else None


class RemoteChild:
    """A program at E2B, as that program of ours sees it which speaks to E2B; that one alone runs here."""

    def __init__(self, job: Mapping[str, object], *, env: Mapping[str, str], tail: bool = False) -> None:
        with ExitStack() as unless_started:
            self._asked = unless_started.enter_context(input_file(json.dumps(job).encode()))
            tailed = unless_started.enter_context(output_file(Path("/tmp"))) if tail else None  # noqa: S108  # nameless
            self._process = begun(self._asked.fileno(), env, output=tailed)
            unless_started.pop_all()
        assert self._process.stdin  # noqa: S101  # for the type checker
        self._control = self._process.stdin
        self._stdout = tailed or nonblocking(self._process.stdout)
        self._stderr = nonblocking(self._process.stderr)
        self._exited = pidfd(self._process.pid)

    @property
    def stdout(self) -> int:
        """The end to read its output from, or the file that it goes to."""
        return self._stdout.fileno()

    @property
    def stderr(self) -> int:
        """The end to read its errors from."""
        return self._stderr.fileno()

    @property
    def exited(self) -> int | None:
        """The pidfd of our program, on Linux."""
        return self._exited

    def poll(self) -> int | None:
        """
        The exit code, once all is over.

        Raises:
            CommandFailed: E2B did not do its part.
        """
        code = self._process.poll()
        if code is None or code < 0:
            return None if code is None else SIGNALLED - code
        told = os.pread(self._asked.fileno(), 65536, 0)
        answer = json.loads(told) if told.startswith((b'{"exit-code"', b'{"fault"')) else {}
        if "exit-code" not in answer:
            raise CommandFailed(f"E2B failed: {answer.get('fault', 'its program ended without a word')}")
        return int(answer["exit-code"])

    def stop(self, grace: timedelta) -> None:
        """Tell the supervisor there to end the tree."""
        with suppress(BrokenPipeError):
            self._control.write(b"%f\n" % grace.total_seconds())

    def close(self) -> None:
        """Close the control pipe, which ends the tree there, and wait until that is told."""
        self._control.close()
        self._await_end()
        self._stdout.close()
        self._stderr.close()
        self._asked.close()
        if self._exited is not None:
            os.close(self._exited)
            self._exited = None

    def _await_end(self) -> None:
        try:
            self._process.wait(ENDING.total_seconds())
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def begun(asked: int, env: Mapping[str, str], *, output: IO[bytes] | None) -> "subprocess.Popen[bytes]":
    """The program that speaks to E2B, in a session of its own; it knows what is asked of it by a file alone."""
    return subprocess.Popen(
        (sys.executable, "-I", str(PROGRAM), str(asked)),
        bufsize=0,
        cwd="/",
        env={"PATH": os.defpath, **env},
        pass_fds=(asked,),
        start_new_session=True,
        stdin=subprocess.PIPE,
        stdout=output or subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
