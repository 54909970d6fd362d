"""A sandbox that isolates: namespaces of its own, made by bubblewrap, under the supervisor that every program has."""

import platform
import re
import resource
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from worker.errors import CommandFailed
from worker.sandbox import cgroup, seccomp
from worker.sandbox.command import Command
from worker.sandbox.process import SupervisedChild, Wrapping, input_file, started
from worker.sandbox.python import READS
from worker.sandbox.relay import PROGRAM, relayed

UNSHARED = (
    *("--unshare-all", "--unshare-user", "--disable-userns", "--cap-drop", "ALL"),
    *("--uid", "1000", "--gid", "1000", "--hostname", "sandbox", "--new-session", "--die-with-parent"),
)
"""Every namespace that there is, a user without a capability in it, and no way to become another."""
MADE_UP = Path(__file__).parent / "etc"
SYSTEM = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
SETTINGS = (
    *("alternatives", "ca-certificates", "ld.so.cache", "localtime", "ssl/certs", "ssl/openssl.cnf"),
    *("pki/ca-trust", "pki/tls/certs", "pki/tls/cert.pem", "pki/tls/openssl.cnf", "crypto-policies"),
)
"""Below /etc: what programs need to start, and whom they trust; the private keys that lie beside are not among it."""
KERNEL = (
    *("kallsyms", "kcore", "keys", "key-users", "kmsg", "kpagecgroup", "kpagecount", "kpageflags", "latency_stats"),
    *("sched_debug", "slabinfo", "sysrq-trigger", "timer_list", "vmallocinfo"),
)
"""Below /proc: what root's own user may read of the kernel even without a capability."""
SCRATCH = 512 * 2**20
"""Bytes that /tmp may hold, and /dev/shm: both are memory."""
PROCESSES = 512
"""Processes and threads at once: agents of Node take some twenty each, their builds and tests more."""
OPEN_FILES = 16384
COUNTED_APART = (5, 14)
"""The first Linux that counts the processes of a user namespace by themselves, not with all others of the user."""


class Bubblewrap:
    """
    Programs in it see the system's programs, the folders in `writable`, what their command reads, and nothing else.

    All of them together may be `processes` at once and use `memory`, both as far as this host can count: see `cgroup`.
    """

    isolates = True

    def __init__(self, *, writable: Sequence[Path], processes: int = PROCESSES, memory: int | None = None) -> None:
        self._writable = tuple(writable)
        self._processes = processes
        self._memory = memory

    def start(self, command: Command) -> SupervisedChild:
        """Start the command in a sandbox of its own; see `Sandbox.start`."""
        command.cwd.lstat()  # to be told at once if it is missing
        program = (*bounded(self._processes), *relayed(command), *exact(command), *command.argv)
        options = "\0".join(self._options(command)).encode()
        with input_file(options) as args, input_file(seccomp.refused()) as calls, ExitStack() as unless_started:
            status = unless_started.enter_context(tempfile.TemporaryFile(buffering=0))
            given = {"--args": args, "--json-status-fd": status} | ({"--seccomp": calls} if seccomp.refused() else {})
            fds = {option: file.fileno() for option, file in given.items()}
            argv = (found("bwrap"), *(word for option in fds for word in (option, str(fds[option]))), "--", *program)
            groups = cgroup.made(processes=self._processes, memory=self._memory)
            unless_started.callback(cgroup.remove, groups)
            wrapping = Wrapping(inherited=tuple(fds.values()), cgroups=groups, status=status)
            child = started(replace(command, argv=argv), wrapping=wrapping)
            unless_started.pop_all()
        return child

    def _options(self, command: Command) -> Iterator[str]:
        relay = (*READS, PROGRAM) if command.sockets else ()
        places = dict.fromkeys((*command.reads, *relay), "--ro-bind")
        places |= dict.fromkeys((*self._writable, *command.sockets.values()), "--bind")
        yield from UNSHARED
        yield from system()
        yield from kernel()
        yield from ("--perms", "1777", "--size", str(SCRATCH), "--tmpfs", "/tmp")  # noqa: S108  # its own
        yield from ("--symlink", "../tmp", "/var/tmp", "--dir", "/run")  # noqa: S108  # its own
        for path in sorted(places, key=lambda path: len(path.parts)):  # what lies in another comes after it
            yield from (places[path], str(path), str(path))
        yield from ("--remount-ro", "/", "--chdir", str(command.cwd))


def system() -> Iterator[str]:
    """The programs of the host, which nobody can write, and as much of /etc as they need."""
    yield from ("--ro-bind", "/usr", "/usr")
    if Path("/usr/src").is_dir():  # where images keep the application that they were built for
        yield from ("--tmpfs", "/usr/src", "--remount-ro", "/usr/src")
    for path in (Path("/", name) for name in SYSTEM):
        if path.is_symlink():
            yield from ("--symlink", str(path.readlink()), str(path))
        elif path.is_dir():
            yield from ("--ro-bind", str(path), str(path))
    for name in SETTINGS:
        yield from ("--ro-bind-try", f"/etc/{name}", f"/etc/{name}")
    for path in sorted(MADE_UP.iterdir()):
        yield from ("--ro-bind", str(path), f"/etc/{path.name}")


def kernel() -> Iterator[str]:
    """
    A /proc of its own processes, and the devices that are none.

    Read-only: below /proc/sys the kernel lets root's user write without any capability, and every user of a
    sandbox that root started is that one outside. In core_pattern stands a program that the kernel runs as root.
    """
    yield from ("--proc", "/proc")
    for name in KERNEL:
        if Path("/proc", name).exists():
            yield from ("--ro-bind", "/dev/null", f"/proc/{name}")
    yield from ("--remount-ro", "/proc", "--dev", "/dev")
    yield from ("--perms", "1777", "--size", str(SCRATCH), "--tmpfs", "/dev/shm", "--remount-ro", "/dev")  # noqa: S108


def bounded(processes: int) -> tuple[str, ...]:
    """What bounds the program that follows from within: limits that count by user namespace must be set in it."""
    counted = release() >= COUNTED_APART
    nproc = (f"--nproc={attainable(resource.RLIMIT_NPROC, processes)}",) if counted else ()
    return (found("prlimit"), *nproc, f"--nofile={attainable(resource.RLIMIT_NOFILE, OPEN_FILES)}", "--")


def attainable(limit: int, wanted: int) -> int:
    """The limit that can be set: nobody but root may raise one."""
    _, hard = resource.getrlimit(limit)
    return wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)


def exact(command: Command) -> tuple[str, ...]:
    """What takes those variables away again that bubblewrap and our own Python put into the environment."""
    added = {"PWD": None, "LC_CTYPE": None} | dict(command.env)
    kept = (f"{name}={value}" for name in ("PWD", "LC_CTYPE") if (value := added[name]) is not None)
    return (found("env"), *(part for name in ("PWD", "LC_CTYPE") for part in ("-u", name)), *kept)


def found(program: str) -> str:
    """
    Where a program of the system is.

    Raises:
        CommandFailed: it is not installed.
    """
    path = shutil.which(program)
    if path is None:
        raise CommandFailed(f"The sandbox needs {program}, which is not installed here any more.")
    return path


def release() -> tuple[int, ...]:
    """The version of this Linux."""
    return tuple(int(part) for part in re.findall(r"[0-9]+", platform.release())[:2])
