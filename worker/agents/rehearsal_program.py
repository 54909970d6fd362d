"""
The program behind agent `rehearsal`: it reads a prompt on stdin, edits files in its folder, and prints events.

It has no model and needs no network. By itself it does what a small coding agent would be seen doing, in about
three seconds: it says what it is up to, adds the prompt's first line to REHEARSAL.md, shows a command or two, and
ends with an answer. Lines of the prompt of the form `rehearse: DIRECTIVE` steer it; they are obeyed in order:

    pause 0.5             how long it pauses before each step from here on (default 0.5 s)
    steps 5               how many steps of its usual work it shows (default 5)
    sleep 30              says nothing for so many seconds
    edit PATH TEXT        writes TEXT to a file below its folder
    commit MESSAGE        commits by itself what has changed
    change nothing        leaves every file as it is
    print 10000 lines     prints so many events
    bytes 10MB            prints one line of that size
    secret TEXT           prints TEXT plain, split over two events, JSON-escaped, URL-quoted and as base64
    garbage               prints what no parser likes: invalid UTF-8, NUL, lone surrogates, escapes, deep nesting
    env                   prints the names and values of its environment
    spawn 3               leaves so many processes behind that call setsid, ignore SIGTERM and sleep; one forked twice
    fail MESSAGE          ends with a result that is not ok
    overloaded            ends with a result that says its provider is overloaded
    exit 3                ends with that exit code and no result
    hang                  ignores SIGTERM and says nothing any more
    crash                 ends by SIGSEGV

Unless it was told to edit, to commit or to change nothing, its usual work follows, and then the result. A directive
that it does not know ends it at once with a result that is not ok and names those that it knows.

It runs without a sandbox that isolates, on prompts and repositories of anybody: it writes below its folder alone,
follows no symbolic link, stays out of .git, runs nothing but git, and leaves nothing that outlives a minute.
"""

import base64
import errno
import json
import os
import signal
import subprocess
import sys
import time
import urllib.parse
from contextlib import suppress
from pathlib import PurePosixPath

MARK = "rehearse:"
DIRECTIVES = (
    *("pause", "steps", "sleep", "edit", "commit", "change", "print", "bytes", "secret", "garbage", "env"),
    *("spawn", "fail", "overloaded", "exit", "hang", "crash"),
)
NOTES = "REHEARSAL.md"
GIT = (
    *("git", "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "commit.gpgSign=false"),
    *("-c", "user.name=Rehearsal", "-c", "user.email=rehearsal@codingit.invalid"),
    *("--git-dir=.git", "--work-tree=."),
)
"""Told where its repository is, git neither looks in the folders above nor takes a prompt's files for one."""
OUTLIVE = 60
"""Seconds after which those end by themselves."""
SIZES = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}
RUBBISH = (
    b"\xff\xfe\x80 not UTF-8 \xc3",
    b"NUL \x00 in plain text",
    b'{"type": "say", "text": "NUL \\u0000, a lone surrogate \\ud800, and another \\udfff"}',
    b'{"type": "say", "text": "\\u001b[31mred\\u001b[0m \\u001b]0;title\\u0007 \\u202egnorw"}',
    b'{"type": "say", "text": "bytes \xff\xfe in JSON"}',
    b"\x1b[2J\x1b[Hescapes \x1b]52;c;aGk=\x07",
    b"  0%\r 50%\r100%\r",
    b"Warning: this is not JSON {",
    b'{"type": "result", "ok": tru',
    b"[" * 100_000,
    b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    b'{"type": ["result"], "ok": "yes"}',
    b'{"type": "say", "text": {"not": "text"}}',
    b'{"type": "command", "command": 7, "exit": NaN}',
)
"""Lines of all kinds that agents have been seen to print, and worse."""


class Actor:
    """One performance: what it was told so far, and every directive that it knows."""

    def __init__(self, subject: str) -> None:
        self.subject = subject
        self.changes_are_told = False
        self._pause = 0.5
        self._steps = 5
        self._edits = 0

    def perform(self, directives: list[str]) -> None:
        """Obey, do the usual work, and say how it went."""
        say(f"I will work on: {self.subject}")
        for directive in directives:
            self.obey(directive)
        if not self.changes_are_told:
            self.work()
        self.end(ok=True, answer=f"Done: {self.subject}")

    def obey(self, directive: str) -> None:
        """Do one thing that was told; what cannot be understood is the end."""
        word, _, rest = directive.partition(" ")
        try:
            {name: getattr(self, name) for name in DIRECTIVES}[word](rest.strip())
        except (ValueError, KeyError, OverflowError):
            known = ", ".join(DIRECTIVES)
            self.end(ok=False, answer=f"I cannot do this: {directive[:80]!r}. The directives are: {known}.")

    def work(self) -> None:
        """The usual: look, edit, check; more steps mean more looking."""
        for number in range(self._steps - 3):
            self.step()
            emit("command", command=("git status --short", "ls", f"grep -rn {self.subject.split()[0]!r} .")[number % 3])
        self.step()
        self.write(NOTES, f"- {self.subject}\n", os.O_APPEND)
        self.step()
        emit("command", command=f"cat {NOTES}", exit=0)
        self.step()
        say("Everything looks as it should.")

    def step(self) -> None:
        """The time that one thing takes."""
        time.sleep(self._pause)

    def write(self, path: str, text: str, how: int) -> None:
        """Write to a file, and tell; one that cannot be written is told too."""
        try:
            with os.fdopen(opened(path, how), "w", encoding="utf-8", errors="replace") as file:
                file.write(text)
            self._edits += 1
            emit("edit", path=path)
        except OSError as fault:
            emit("error", text=f"{path} cannot be written: {fault.strerror}")

    def end(self, *, ok: bool, answer: str, overloaded: bool = False) -> None:
        """The terminal event, and the end."""
        emit("result", ok=ok, answer=answer, usage={"steps": self._steps, "edits": self._edits}, overloaded=overloaded)
        sys.exit(0 if ok else 1)

    def pause(self, rest: str) -> None:
        self._pause = seconds(rest)

    def steps(self, rest: str) -> None:
        self._steps = int(rest)

    def sleep(self, rest: str) -> None:
        time.sleep(seconds(rest))

    def edit(self, rest: str) -> None:
        path, _, text = rest.partition(" ")
        self.changes_are_told = True
        self.step()
        self.write(path, text + "\n", os.O_TRUNC)

    def commit(self, rest: str) -> None:
        self.changes_are_told = True
        self.step()
        git("add", "--all")
        if git("diff", "--cached", "--quiet") == 0:
            self.write(NOTES, f"- {self.subject}\n", os.O_APPEND)
            git("add", "--all")
        git("commit", "--quiet", "--no-verify", "-m", rest or self.subject)

    def change(self, rest: str) -> None:
        if rest != "nothing":
            raise ValueError(rest)
        self.changes_are_told = True

    def print(self, rest: str) -> None:
        for number in range(int(rest.partition(" ")[0])):
            say(f"line {number + 1}")

    def bytes(self, rest: str) -> None:
        digits = rest.rstrip("kKMGBb")
        left = int(digits) * SIZES[rest[len(digits) :].upper()]
        while left > 0:
            sys.stdout.buffer.write(b"x" * min(left, 2**16))
            left -= 2**16
        sys.stdout.buffer.write(b"\n")
        sys.stdout.flush()

    def secret(self, rest: str) -> None:
        say(f"plain: {rest}")
        say(f"first half: {rest[: len(rest) // 2]}")
        say(f"{rest[len(rest) // 2 :]} was the second half")
        say(f"as JSON: {json.dumps(rest)}")
        say(f"quoted: {urllib.parse.quote(rest, safe='')}")
        say(f"encoded: {base64.b64encode(rest.encode(errors='replace')).decode()}")

    def garbage(self, _: str) -> None:
        sys.stdout.buffer.write(b"\n".join(RUBBISH) + b"\n")
        sys.stdout.flush()

    def env(self, _: str) -> None:
        for name, value in sorted(os.environ.items()):
            say(f"{name}={value}")

    def spawn(self, rest: str) -> None:
        pids = [spawned(twice=number == 0) for number in range(min(int(rest), 50))]
        say(f"left behind: {' '.join(map(str, pids))}")

    def fail(self, rest: str) -> None:
        self.end(ok=False, answer=rest or "It failed, as it was told to.")

    def overloaded(self, _: str) -> None:
        self.end(ok=False, answer="The provider is overloaded.", overloaded=True)

    def exit(self, rest: str) -> None:
        sys.exit(int(rest))

    def hang(self, _: str) -> None:
        ignore_endings()
        while True:
            time.sleep(OUTLIVE)

    def crash(self, _: str) -> None:
        os.kill(os.getpid(), signal.SIGSEGV)


def emit(kind: str, **fields: object) -> None:
    """One event, one line, at once."""
    sys.stdout.buffer.write(json.dumps({"type": kind, **fields}).encode() + b"\n")
    sys.stdout.flush()


def say(text: str) -> None:
    """An event that is only words."""
    emit("say", text=text)


def seconds(told: str) -> float:
    """A duration of at most a day, ValueError for anything else."""
    value = float(told)
    if not 0 <= value <= 86400:
        raise ValueError(told)
    return value


def git(*argv: str) -> int:
    """Run git on what has changed, and tell; nothing in the repository can make it run anything else."""
    code = subprocess.run((*GIT, *argv), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False).returncode
    emit("command", command=" ".join(("git", *argv)), exit=code)
    return code


def opened(path: str, how: int) -> int:
    """A file below this folder, opened to write, its folders made; through no symbolic link, and not in .git."""
    parts = PurePosixPath(path).parts
    if not parts or any(is_forbidden(part) for part in parts):
        raise PermissionError(errno.EACCES, "it is not mine to write")
    folder = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in parts[:-1]:
            above, folder = folder, entered(folder, part)
            os.close(above)
        return os.open(parts[-1], os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | how, 0o666, dir_fd=folder)
    finally:
        os.close(folder)


def is_forbidden(part: str) -> bool:
    """`/`, `..`, and whatever some file system takes for `.git`: cased, or with characters that it ignores."""
    letters = "".join(letter for letter in part if letter.isascii()).lower().rstrip(". ")
    return part in {"/", "//", ".."} or letters in {".git", "git~1"}


def entered(folder: int, name: str) -> int:
    """That folder in the folder, made if it is missing."""
    with suppress(FileExistsError):
        os.mkdir(name, dir_fd=folder)
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)


def ignore_endings() -> None:
    """Be deaf to every polite request to end."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def spawned(*, twice: bool) -> int:
    """A process in a session of its own that will not end when asked; forked `twice` its parent is gone too."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if not twice or os.fork() == 0:
            ignore_endings()
            os.write(writing, str(os.getpid()).encode())
            time.sleep(OUTLIVE)
        os._exit(0)
    pid = int(os.read(reading, 32))
    os.close(reading)
    os.close(writing)
    return pid


def main() -> None:
    """Read the prompt, and perform."""
    lines = [line.strip() for line in sys.stdin.buffer.read().decode("utf-8", "replace").splitlines()]
    directives = [line.removeprefix(MARK).strip() for line in lines if line.startswith(MARK)]
    spoken = [line for line in lines if line and not line.startswith(MARK)]
    Actor(spoken[0][:200] if spoken else "a rehearsal").perform(directives)


if __name__ == "__main__":
    main()
