"""
A program that runs another one and, however that ends, leaves no descendant of it behind.

    python -I -S supervisor.py CONTROL LC_CTYPE MEMORY LARGEST WRAPPED CGROUPS PROGRAM [ARGUMENT…]

It is started in a session, a folder and an environment that are PROGRAM's own, and imports next to nothing: it
starts with every command of every run. It ends PROGRAM and all its descendants, also those that called setsid or
forked twice, when PROGRAM exits, when the pipe CONTROL closes (the worker died, be it by SIGKILL), or when a
line arrives there: how many seconds the tree has between SIGTERM and SIGKILL. Its exit code is PROGRAM's, or
128 + N where signal N ended that; 127 and 126 say, as in a shell, that there was nothing to start.

LC_CTYPE is PROGRAM's (empty: unset), because Python sets a value of its own at start (PEP 538). MEMORY is how many
bytes of data each of PROGRAM's processes may have on Linux, LARGEST how many each file that they write (empty: any
number). WRAPPED, where not empty, says that PROGRAM only sets up a PID namespace for what it runs: polite signals pass
it over, since they would end it with everything in there. CGROUPS are the control groups that PROGRAM is put into,
with colons between them; they are removed in the end.

On Linux it is a child subreaper: whatever loses its parent becomes its child, so that "no child left" means "no
descendant left". Elsewhere it is best effort: the process group of PROGRAM, which setsid escapes. Nowhere is it
isolation: PROGRAM runs as the same user and could kill its supervisor; PROGRAM itself then dies with it (Linux).
"""

import ctypes
import os
import resource
import select
import signal
import sys
from contextlib import suppress
from time import monotonic

LINUX = sys.platform == "linux"
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

GRACE = 0.5
"""Seconds between SIGTERM and SIGKILL where nobody says otherwise."""
PATIENCE = 10.0
"""Seconds after which what cannot be killed (another user's by setuid, stuck in the kernel) is left behind."""
ROUND = 0.01
"""Seconds to wait for the killed to be gone before looking for more."""
FREEZES = 100
"""How often at most a tree that grows while it is being stopped is read again before the killing begins."""
ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Bells:
    """What wakes the supervisor: a child that ended, a word on the control pipe, or a signal that asks it to end."""

    def __init__(self, control: int) -> None:
        self.grace: float | None = None
        """Seconds that the tree was given when its end was asked for; None while it was not."""
        self._control = control
        self._signals, ringing = os.pipe()
        os.set_inheritable(control, False)
        os.set_blocking(ringing, False)
        for number in (signal.SIGCHLD, *ENDING):
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(ringing, warn_on_full_buffer=False)
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)
        self._poll.register(self._signals, select.POLLIN)

    def wait(self, until: float | None = None) -> None:
        """Sleep until one rings, or until that time of the monotonic clock."""
        left = None if until is None else max(0.0, until - monotonic()) * 1000
        for fd, _ in self._poll.poll(left):
            heard = os.read(fd, 4096)
            if fd == self._control:
                self._told(heard)
            elif any(number in ENDING for number in heard):
                self.grace = GRACE

    def _told(self, words: bytes) -> None:
        if words:
            self.grace = float(words.split()[-1])
        else:
            self._poll.unregister(self._control)
            self.grace = GRACE if self.grace is None else min(GRACE, self.grace)


class Tree:
    """The program and everything that descends from it."""

    def __init__(self, program: int, *, wrapped: bool) -> None:
        self.code: int | None = None
        """The program's exit code as a shell gives it; None while it runs."""
        self._program = program
        self._wrapped = wrapped

    def lives(self) -> bool:
        """Whether any is left, after all that ended were reaped."""
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG)) != (0, 0):
                if ended[0] == self._program:
                    code = os.waitstatus_to_exitcode(ended[1])
                    self.code = code if code >= 0 else 128 - code
            return True
        return False

    def send(self, number: int) -> None:
        """Signal all that are there now."""
        if LINUX:
            for pid in descendants(os.getpid()):
                if number == signal.SIGKILL or not self._wrapped or is_within(pid):
                    send(pid, number)
        else:
            with suppress(OSError):
                os.killpg(self._program, number)

    def freeze(self) -> None:
        """
        Stop all, until none is found that was not stopped before: what is stopped forks no more.

        A PID namespace needs none of it: when its first process is killed, the kernel kills all others.
        """
        if self._wrapped or not LINUX:
            return
        stopped: set[int] = set()
        for _ in range(FREEZES):
            running = descendants(os.getpid()) - stopped
            if not running:
                return
            for pid in running:
                send(pid, signal.SIGSTOP)
            stopped |= running


class Terms:
    """Under which PROGRAM runs, as the command line told them."""

    def __init__(self, memory: str, largest: str, wrapped: str, cgroups: str) -> None:
        self.memory = int(memory or -1)
        self.largest = int(largest or -1)
        self.is_wrapped = bool(wrapped)
        self.cgroups = [group for group in cgroups.split(":") if group]


def main(control: int, locale: str, terms: Terms, argv: list[str]) -> int:
    """Run `argv` to its end, or to the end that is asked for; the exit code."""
    if LINUX:
        prctl(PR_SET_CHILD_SUBREAPER, 1)
    bells = Bells(control)
    tree = Tree(start(argv, environment(locale), terms), wrapped=terms.is_wrapped)
    while tree.lives() and tree.code is None and bells.grace is None:
        bells.wait()
    end(tree, bells)
    for group in terms.cgroups:
        with suppress(OSError):
            os.rmdir(group)  # noqa: PTH106  # pathlib costs start-up time
    return 128 + signal.SIGKILL if tree.code is None else tree.code


def end(tree: Tree, bells: Bells) -> None:
    """SIGTERM, a grace, SIGKILL until nothing is left; back at once where nothing is."""
    if tree.lives():
        tree.send(signal.SIGTERM)
        tree.send(signal.SIGCONT)
    asked = monotonic()
    while tree.lives() and monotonic() < (until := asked + (GRACE if bells.grace is None else bells.grace)):
        bells.wait(until)
    given_up = monotonic() + PATIENCE
    while tree.lives() and monotonic() < given_up:
        tree.freeze()
        tree.send(signal.SIGKILL)
        bells.wait(monotonic() + ROUND)
    if not LINUX:
        tree.send(signal.SIGKILL)


def start(argv: list[str], env: dict[bytes, bytes], terms: Terms) -> int:
    """Start the program in a process group of its own; the answer is its pid."""
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    supervisor = os.getpid()
    pid = os.fork()
    if pid == 0:
        join(terms.cgroups)
        become(argv, env, terms, supervisor)
    return pid


def join(cgroups: list[str]) -> None:
    """Put this process, and with it all that it starts, into these control groups."""
    for group in cgroups:
        try:
            with open(f"{group}/cgroup.procs", "wb", buffering=0) as file:  # noqa: PTH123  # pathlib costs start-up time
                file.write(b"0")
        except OSError as error:
            os.write(2, f"{group}: {error.strerror}\n".encode(errors="backslashreplace"))
            os._exit(126)


def become(argv: list[str], env: dict[bytes, bytes], terms: Terms, supervisor: int) -> None:
    """In the new process: drop what was inherited, then be the program; never come back."""
    try:
        os.setpgid(0, 0)
        if LINUX:
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == supervisor:
            forget_signals()
            bound(terms)
            os.execvpe(argv[0], argv, env)  # noqa: S606  # the program itself, without a shell
    except OSError as error:
        os.write(2, f"{argv[0]}: {error.strerror}\n".encode(errors="backslashreplace"))
        os._exit(127 if isinstance(error, FileNotFoundError) else 126)
    finally:
        os._exit(126)


def forget_signals() -> None:
    """Ignored and blocked signals survive exec; a worker ignores some (SIGINT under Celery), the program must not."""
    signal.set_wakeup_fd(-1)
    for number in range(1, signal.NSIG):
        with suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def bound(terms: Terms) -> None:
    """Bound this process and all that it starts; elsewhere than on Linux a bound of memory means little."""
    if LINUX and terms.memory >= 0:
        lower(resource.RLIMIT_DATA, terms.memory)
    if terms.largest >= 0:
        lower(resource.RLIMIT_FSIZE, terms.largest)


def lower(limit: int, to: int) -> None:
    """Set a limit to this, or leave it where it is lower already: nobody but root may raise one."""
    _, hard = resource.getrlimit(limit)
    to = to if hard == resource.RLIM_INFINITY else min(to, hard)
    resource.setrlimit(limit, (to, to))


def environment(locale: str) -> dict[bytes, bytes]:
    """The environment that this process was given, without what Python put there."""
    env = {name: value for name, value in os.environb.items() if name != b"LC_CTYPE"}
    return env | {b"LC_CTYPE": os.fsencode(locale)} if locale else env


def descendants(ancestor: int) -> set[int]:
    """All processes below that one, by /proc; those that end meanwhile may be among them or not."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208  # pathlib costs start-up time
        if name.isdigit() and (parent := parent_of(name)):
            children.setdefault(parent, []).append(int(name))
    found: set[int] = set()
    front = children.get(ancestor, [])
    while front:
        found.update(front)
        front = [pid for parent in front for pid in children.get(parent, ()) if pid not in found]
    return found


def parent_of(pid: str) -> int | None:
    """The parent in /proc/PID/stat, which stands after a name that may hold anything, brackets and newlines too."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:  # noqa: PTH123  # pathlib costs start-up time
            stat = file.read(4096)
        return int(stat[stat.rindex(b")") + 2 :].split()[1])
    except (OSError, ValueError, IndexError):
        return None


def is_within(pid: int) -> bool:
    """Whether the process is in a PID namespace below ours."""
    with suppress(OSError), open(f"/proc/{pid}/status", "rb", buffering=0) as file:  # noqa: PTH123  # as above
        for line in file.read(65536).split(b"\n"):
            if line.startswith(b"NSpid:"):
                return len(line.split()) > 2
    return False


def send(pid: int, number: int) -> None:
    """Signal one process; one that is gone or not ours is passed over."""
    with suppress(OSError):
        os.kill(pid, number)


def prctl(option: int, value: int) -> None:
    """Set an attribute of this process, on Linux."""
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl was refused")


if __name__ == "__main__":
    number, ctype, *rest = sys.argv[1:]
    os._exit(main(int(number), ctype, Terms(*rest[:4]), rest[4:]))  # nothing to flush, so no tidy exit
