# ruff: noqa: E501 - an attempt is one expression and stands on one line, like the rows of a table
"""
What a program in a sandbox that isolates may try, each tried: docs/security.md lists what stops it.

Most attempts are made twice: here, where they must fail, and in the sandbox that isolates nothing, where they must
succeed, so that a failure means what it says.
"""

import json
import os
import platform
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.integration.pump.conftest import Pumping
from tests.integration.sandbox.test_conformance import UP, ended, heard
from tests.support.processes import DEAF, SETSID, Marked, eventually, nothing_left
from tests.support.sandboxes import isolating
from worker import workspace
from worker.run.pump import LimitReached
from worker.sandbox import cgroup, seccomp
from worker.sandbox.base import Sandbox
from worker.sandbox.bubblewrap import SCRATCH, Bubblewrap
from worker.sandbox.process import ProcessSandbox

SECRET = "very-secret-word"
ROOT = os.geteuid() == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What there is to be had on the host."""

    folder: Path
    pid: int
    port: int
    path: Path
    abstract: str
    calls: str = json.dumps(seccomp.NUMBERS[platform.machine()][1])
    keyctl: int = seccomp.NUMBERS[platform.machine()][1][2]


@pytest.fixture
def target() -> Iterator[Target]:
    """A folder, a process with a secret in its environment, and listeners of each kind: the host's, or another run's."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=Path.home(), prefix="codingit-target-")))
        (folder / ".ssh").mkdir()
        (folder / ".ssh/id_ed25519").write_text(SECRET)
        process = stack.enter_context(subprocess.Popen(("sleep", "60"), env={"SECRET": SECRET}))
        stack.callback(process.kill)
        inet, unix, hidden = (
            stack.enter_context(socket.socket(family)) for family in (socket.AF_INET, socket.AF_UNIX, socket.AF_UNIX)
        )
        inet.bind(("127.0.0.1", 0))
        unix.bind(str(folder / "run.sock"))
        hidden.bind(f"\0{folder.name}")
        for listener in (inet, unix, hidden):
            listener.listen()
        yield Target(
            folder=folder,
            pid=process.pid,
            port=inet.getsockname()[1],
            path=folder / "run.sock",
            abstract=folder.name,
        )


@pytest.fixture
def sandbox(marked: Marked) -> Bubblewrap:
    return isolating([marked.folder])


PREAMBLE = (
    "import ctypes, glob, json, socket, subprocess",
    "target = json.loads(sys.argv[1])",
    "libc = ctypes.CDLL(None, use_errno=True)",
    "def connects(family, address):",
    "    with socket.socket(family) as s: s.settimeout(2); s.connect(address); return True",
    "def environ(pid): return open(f'/proc/{pid}/environ').read()",
    "def attempts(function, things):",
    "    done = []",
    "    for thing in things:",
    "        try: done.append(function(thing))",
    "        except OSError: pass",
    "    return done",
)

FAILING: dict[str, str] = {
    "reads a file of the host through a symbolic link": "os.symlink(target['folder'], 'out') or open('out/.ssh/id_ed25519').read()",
    "reads the keys in a home": "open(target['folder'] + '/.ssh/id_ed25519').read()",
    "lists the workspace of another run": "os.listdir(target['folder'])",
    "connects to the socket of another run": "connects(socket.AF_UNIX, target['path'])",
    "connects to an abstract socket": "connects(socket.AF_UNIX, '\\0' + target['abstract'])",
    "connects to the host's loopback": "connects(socket.AF_INET, ('127.0.0.1', target['port']))",
    "has a network interface that leads out": "[line for line in open('/proc/net/dev') if ':' in line and ' lo:' not in line]",
    "reads another process's environment": "'very-secret' in environ(target['pid'])",
    "finds a secret in any environment": "'very-secret' in ''.join(attempts(environ, glob.glob1('/proc', '[0-9]*')))",
    "signals a process of the host": "os.kill(target['pid'], 0) is None",
    "traces a process of the host": "libc.ptrace(16, target['pid'], 0, 0) == 0",
    "makes a user namespace": "subprocess.run(['unshare', '--user', 'true']).returncode == 0",
    "opens the terminal or the kernel's log": "attempts(lambda path: open(path).fileno() > 0, ['/dev/kmsg', '/dev/mem', '/proc/kmsg'])",
    "reads what the kernel keeps for root": "any(attempts(lambda name: open('/proc/' + name, 'rb').read(1), ['vmallocinfo', 'kallsyms', 'slabinfo', 'kpagecount']))",
    "opens a setting of the kernel to write it": "os.open('/proc/sys/kernel/core_pattern', os.O_WRONLY) > 0",
    "sees the host's other files": "attempts(os.listdir, ['/boot', '/sys', '/srv', '/var/lib', '/mnt', '/etc/apt'])",
    "reads passwords or private keys of the host": "attempts(lambda path: open(path).read(), ['/etc/shadow', '/etc/machine-id']) + attempts(os.listdir, ['/etc/ssl/private'])",
    "may gain privileges by a setuid program": "'NoNewPrivs:\\t0' in open('/proc/self/status').read()",
    "has a capability": "not all(int(line.split()[1], 16) == 0 for line in open('/proc/self/status') if line.startswith('Cap'))",
    "calls what is filtered": "[number for number in json.loads(target['calls']) if libc.syscall(number, 0, 0, 0, 0, 0) >= 0 or ctypes.get_errno() != 1]",
    "calls by foreign numbers": "libc.syscall(0x40000000 | 39) > 0 or ctypes.get_errno() != 1",
    "reads the keys of the worker's user": "libc.syscall(target['keyctl'], 0, -4, 0) > 0",
    "sees how the host was started": "'bwrap' not in open('/proc/1/cmdline').read()",
}  # fmt: skip
"""What is true, or not empty, only where the attempt succeeds: without isolation it does."""
NEEDS_ROOT = {
    "traces a process of the host", "opens the terminal or the kernel's log", "reads what the kernel keeps for root",
    "opens a setting of the kernel to write it", "has a capability",
}  # fmt: skip

UNTRIED: dict[str, str] = {
    "writes to the system's programs": "attempts(lambda path: open(path, 'w'), ['/usr/x', '/usr/bin/git', '/etc/passwd', '/bin/x', '/lib/x', '/x', '/dev/x', '/run/x', '/proc/x'])",
    "replaces the system's programs": "attempts(lambda path: os.rename(path, path + '.old') is None, ['/usr/bin/git', '/etc/hosts', '/usr', '/etc'])",
    "connects to the metadata address": "connects(socket.AF_INET, ('169.254.169.254', 80))",
    "connects to the internet": "attempts(lambda address: connects(socket.AF_INET, (address, 53)), ['1.1.1.1', '8.8.8.8'])",
    "mounts": "libc.mount(b'x', b'/tmp', b'tmpfs', 0, None) == 0",
    "unmounts what hides the kernel": "attempts(lambda path: libc.umount2(path, 2) == 0 or exec('raise OSError'), [b'/proc/kcore', b'/proc/sys', b'/tmp', b'/usr'])",
    "makes its system writable again": "libc.mount(None, b'/usr', None, 4096 | 32, None) == 0 or libc.mount(None, b'/proc', None, 4096 | 32, None) == 0",
    "makes a device": "attempts(lambda folder: os.mknod(folder + '/disk', 0o60600, os.makedev(8, 0)) is None, ['.', '/tmp', '/dev/shm'])",
    "changes root": "os.chroot('/tmp') is None",
    "becomes root": "os.setuid(0) is None",
    "enters a namespace of the host": "attempts(lambda kind: libc.setns(os.open('/proc/1/ns/' + kind, os.O_RDONLY), 0) == 0 or exec('raise OSError'), ['net', 'mnt', 'pid'])",
    "sends raw packets": "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)",
    "renames the host": "libc.sethostname(b'mine', 4) == 0",
    "sets the clock": "attempts(lambda _: __import__('time').clock_settime(0, 0) is None, [1])",
    "opens its controlling terminal": "open('/dev/tty')",
}  # fmt: skip
"""The same, but not to be tried on this machine for comparison."""


def succeeds(sandbox: Sandbox, marked: Marked, target: Target, attempt: str) -> bool:
    """Whether it does; an error that is none of the operating system's is a fault of the test."""
    lines = (
        *PREAMBLE,
        "try:",
        f"    print('succeeded' if {attempt} else 'failed')",
        "except OSError as refused: print('failed:', refused)",
    )
    command = marked.python(*lines)
    argv = (*command.argv, json.dumps(asdict(target), default=str))
    with closing(sandbox.start(replace(command, argv=argv))) as child:
        code = ended(child, within=10)
        said, complaint = os.read(child.stdout, 9999).decode(), os.read(child.stderr, 9999).decode()
    assert code == 0, complaint
    return said.startswith("succeeded")


@pytest.mark.parametrize("attempt", [*FAILING, *UNTRIED])
def test_a_program_in_a_sandbox_that_isolates_never(
    sandbox: Bubblewrap, marked: Marked, target: Target, attempt: str
) -> None:
    assert not succeeds(sandbox, marked, target, (FAILING | UNTRIED)[attempt])


@pytest.mark.parametrize("attempt", FAILING)
def test_a_program_that_nothing_isolates(marked: Marked, target: Target, attempt: str) -> None:
    """The attempts are real ones."""
    if attempt in NEEDS_ROOT and not ROOT:
        pytest.skip("only root's programs can")
    assert succeeds(ProcessSandbox(), marked, target, FAILING[attempt])


def test_who_listens_on_every_address_is_not_reached(sandbox: Bubblewrap, marked: Marked) -> None:
    program = ("import socket", "s = socket.create_server(('0.0.0.0', 0))", "print(s.getsockname()[1], flush=True)",
               "time.sleep(30)")  # fmt: skip
    with closing(sandbox.start(marked.python(*program))) as child:
        port = int(heard(child))
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=2)
    with closing(ProcessSandbox().start(marked.python(*program))) as child:
        socket.create_connection(("127.0.0.1", int(heard(child))), timeout=2).close()


def test_killing_all_that_it_sees_kills_nobody_else(sandbox: Bubblewrap, marked: Marked, target: Target) -> None:
    with closing(sandbox.start(marked.python("os.kill(-1, signal.SIGKILL)", "time.sleep(60)"))) as child:
        child.stop(timedelta(seconds=0.5))
        ended(child)
    assert Path("/proc", str(target.pid), "cmdline").read_bytes()  # empty once it is dead


BOMB = (
    UP,
    "while True:",
    "    try: os.fork()",
    "    except OSError: time.sleep(0.01)",
)


def test_a_fork_bomb_is_bounded_and_put_out(marked: Marked) -> None:
    """By RLIMIT_NPROC within the user namespace for an ordinary user; root's are counted by a control group alone."""
    if ROOT and "pids" not in cgroup.counted():
        pytest.skip("root's processes are not counted here, for no control group can be made")
    limited = isolating([marked.folder], processes=64)
    with nothing_left(marked), closing(limited.start(marked.python(*BOMB))) as child:
        assert eventually(lambda: len(marked.alive()) > 32, within=10)
        most = max(len(marked.alive()) for _ in range(20))
        assert most <= 64 + 2  # the supervisor and bubblewrap itself stand outside
        child.stop(timedelta())
        ended(child)


def test_memory_is_bounded_for_all_processes_together(marked: Marked) -> None:
    if "memory" not in cgroup.counted():
        pytest.skip("no control group can be made here")
    limited = isolating([marked.folder], memory=100 * 2**20)
    greedy = ("held = b'x' * (40 * 2**20)", "os.fork()", "os.fork()", "held += b'y' * (20 * 2**20)", "time.sleep(2)")
    with nothing_left(marked), closing(limited.start(marked.python(*greedy, "print('had it')"))) as child:
        ended(child, within=20)
        assert os.read(child.stdout, 1000).count(b"had it") < 4


def test_its_scratch_is_bounded_and_everything_else_is_read_only(sandbox: Bubblewrap, marked: Marked) -> None:
    """Else it could fill the memory of the host, where no control group bounds it."""
    program = (
        "for line in open('/proc/mounts'):",
        "    _, path, kind, options, *_ = line.split()",
        "    room = os.statvfs(path)",
        "    if 'rw' in options.split(','): print(path, kind, room.f_blocks * room.f_frsize)",
    )
    with closing(sandbox.start(marked.python(*program))) as child:
        assert ended(child) == 0
        found = [line.split() for line in os.read(child.stdout, 9999).decode().splitlines()]
    assert {path: int(size) for path, kind, size in found if kind == "tmpfs"} == {"/tmp": SCRATCH, "/dev/shm": SCRATCH}
    others = {path for path, kind, _ in found if kind not in {"tmpfs", "devtmpfs", "devpts"}}
    assert others == {str(marked.folder)}


def test_a_sparse_file_of_5_gb_is_refused_and_a_full_one_ends_it(marked: Marked) -> None:
    pumping = Pumping(sandbox=isolating([marked.folder]))
    pumping(marked.shell("truncate -s 5G sparse; sleep 0.2"), disk=10**6)
    assert (marked.folder / "sparse").stat().st_size == 0
    with nothing_left(marked), pytest.raises(LimitReached):
        pumping(marked.shell("for i in 1 2 3 4 5; do head -c 900000 /dev/zero > $i; done; sleep 60"), disk=10**6)


def test_who_ignores_signals_in_a_session_of_its_own_ends_all_the_same(sandbox: Bubblewrap, marked: Marked) -> None:
    hidden = f"if os.fork() == 0: {SETSID}; os.fork() and os._exit(0); {DEAF}; {UP}; time.sleep(60)"
    with nothing_left(marked), closing(sandbox.start(marked.python(hidden, DEAF, "time.sleep(60)"))) as child:
        heard(child)
        child.stop(timedelta(milliseconds=200))
        ended(child)


def test_when_its_supervisor_is_killed_everything_in_it_goes_too(sandbox: Bubblewrap, marked: Marked) -> None:
    """Also what made itself a daemon, which nothing of ours finds then: the namespace ends."""
    daemon = f"if os.fork() == 0: {SETSID}; os.fork() and os._exit(0); {DEAF}; time.sleep(60)"
    with closing(sandbox.start(marked.python(daemon, DEAF, UP, "time.sleep(60)"))) as child:
        heard(child)
        children = {int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}
        (supervisor,) = children & set(marked.alive())  # others serve the tests of this process
        os.kill(supervisor, signal.SIGKILL)
        assert eventually(lambda: not marked.alive())
        assert ended(child) == 128 + signal.SIGKILL
    assert not [group for home in cgroup.homes() for group in home.folder.glob(f"{cgroup.NAME}{os.getpid()}-*")]


def test_links_that_it_leaves_lead_nobody_of_the_host_out(marked: Marked, target: Target) -> None:
    """The folder is measured and removed by the host: neither follows."""
    pumping = Pumping(sandbox=isolating([marked.folder]))
    script = f"ln -s / root; ln -s {target.folder} out; ln -s . loop; ln -s /dev/zero zero; sleep 0.5"
    assert pumping(marked.shell(script), disk=10**6).returncode == 0
    workspace.remove(marked.folder)
    assert not marked.folder.exists()
    assert (target.folder / ".ssh/id_ed25519").exists()


def test_nothing_of_a_runs_environment_stands_in_the_list_of_processes(sandbox: Bubblewrap, marked: Marked) -> None:
    command = marked.shell("echo up; sleep 60")
    with closing(sandbox.start(replace(command, env={**command.env, "TOKEN": SECRET}))) as child:
        heard(child)
        lines = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in marked.alive()]
    assert len(lines) >= 4
    assert not any(SECRET.encode() in line for line in lines)
