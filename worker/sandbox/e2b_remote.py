"""
A program that runs in a machine of E2B: it starts another one, and speaks with our own host about it in lines of text.

    python3 -I -S e2b_remote.py JOB

JOB is a file with a JSON object: the supervisor's path and terms; the argv, cwd, env and input of the program to run
under it; the ports of this machine's loopback at which programs of our host are to be reached. Printed are
`stdout BASE64` and `stderr BASE64`, for a port `open NUMBER PORT`, `data NUMBER BASE64` and `close NUMBER`, and at last
`exit CODE`. Heard are `data` and `close`, and `end SECONDS`, which goes to the supervisor; that ends the tree also when
nothing can be heard any more. E2B passes on text alone, hence base64. A connection whose one side has finished ends
altogether, which is enough for HTTP.
"""

import base64
import json
import os
import select
import socket
import subprocess
import sys
from contextlib import suppress
from itertools import count

CHUNK = 48 * 1024
CANNOT = 126


class Bridge:
    """Between what runs here and our host."""

    def __init__(self, process: "subprocess.Popen[bytes]", telling: int, ports: list[int]) -> None:
        assert process.stdout  # noqa: S101  # for the type checker
        assert process.stderr  # noqa: S101  # the same
        self._telling: int | None = telling
        self._outputs = {process.stdout.fileno(): "stdout", process.stderr.fileno(): "stderr"}
        self._listening = {one.fileno(): one for one in map(listening, ports)}
        self._numbers = count(1)  # never again the same: what is under way for an old one must not reach a new one
        self._named: dict[int, int] = {}
        self._open: dict[int, socket.socket] = {}
        self._unsent: dict[int, bytes] = {}
        self._ending: set[int] = set()
        self._words = b""
        self._poll = select.poll()
        for fd in (0, *self._outputs, *self._listening):
            self._poll.register(fd, select.POLLIN)

    def carry(self) -> None:
        """Pass everything on until the program can print nothing more."""
        while self._outputs:
            for fd, event in self._poll.poll():
                if fd == 0:
                    self._hear()
                elif fd in self._outputs:
                    self._print(fd)
                elif fd in self._listening:
                    self._accept(fd)
                elif fd in self._named:
                    self._move(self._named[fd], event)

    def _print(self, fd: int) -> None:
        if chunk := os.read(fd, CHUNK):
            say(self._outputs[fd], encoded(chunk))
        else:
            del self._outputs[fd]
            self._poll.unregister(fd)

    def _accept(self, fd: int) -> None:
        connection, _ = self._listening[fd].accept()
        connection.setblocking(False)
        number = next(self._numbers)
        self._named[connection.fileno()] = number
        self._open[number], self._unsent[number] = connection, b""
        self._poll.register(connection, select.POLLIN)
        say("open", str(number), str(self._listening[fd].getsockname()[1]))

    def _move(self, number: int, event: int) -> None:
        """What can be read from a connection goes to our host, what came from there into it."""
        try:
            if event & select.POLLOUT:
                self._send(number)
            if event & ~select.POLLOUT and number in self._open:
                chunk = self._open[number].recv(CHUNK)
                say(*(("data", str(number), encoded(chunk)) if chunk else ("close", str(number))))
                if not chunk:
                    self._close(number)
        except BlockingIOError:
            pass
        except OSError:
            say("close", str(number))
            self._close(number)

    def _send(self, number: int) -> None:
        unsent = self._unsent[number]
        self._unsent[number] = unsent = unsent[self._open[number].send(unsent) :] if unsent else b""
        self._poll.modify(self._open[number], select.POLLIN | (select.POLLOUT if unsent else 0))
        if not unsent and number in self._ending:
            self._close(number)

    def _close(self, number: int) -> None:
        self._ending.discard(number)
        connection = self._open.pop(number)
        del self._named[connection.fileno()], self._unsent[number]
        self._poll.unregister(connection)
        connection.close()

    def _hear(self) -> None:
        chunk = os.read(0, CHUNK)
        *lines, self._words = (self._words + chunk).split(b"\n")
        for line in lines:
            self._obey(*line.decode().split())
        if not chunk:
            self._poll.unregister(0)
            if self._telling is not None:
                os.close(self._telling)
                self._telling = None

    def _obey(self, what: str, which: str, content: str = "") -> None:
        if what == "end":
            with suppress(OSError):  # it is over already
                os.write(self._telling or -1, which.encode() + b"\n")
        elif (number := int(which)) in self._open:
            if what == "close":
                self._ending.add(number)
            self._unsent[number] += base64.b64decode(content)
            self._poll.modify(self._open[number], select.POLLIN | select.POLLOUT)


def main(path: str) -> None:
    """Run the job to its end."""
    with open(path, encoding="utf-8") as file:  # noqa: PTH123  # pathlib costs start-up time
        job = json.load(file)
    os.umask(0o077)
    told, telling = os.pipe()
    try:
        process = started(job, told)
    except OSError as error:
        say("stderr", encoded(f"{job['cwd']}: {error.strerror}\n".encode(errors="backslashreplace")))
        say("exit", str(CANNOT))
        return
    os.close(told)
    Bridge(process, telling, job["ports"]).carry()
    code = process.wait()
    say("exit", str(code if code >= 0 else 128 - code))


def started(job: dict, told: int) -> "subprocess.Popen[bytes]":  # type: ignore[type-arg]  # as JSON has it
    """The supervisor with the program."""
    with open(job["stdin"], "rb") as stdin:  # noqa: PTH123  # as above
        return subprocess.Popen(
            (sys.executable, "-I", "-S", job["supervisor"], str(told), *job["terms"], *job["argv"]),
            bufsize=0,
            cwd=job["cwd"],
            env=job["env"],
            pass_fds=(told,),
            start_new_session=True,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )


def listening(port: int) -> socket.socket:
    """A socket at that port of the loopback."""
    return socket.create_server(("127.0.0.1", port))


def encoded(chunk: bytes) -> str:
    """As text."""
    return base64.b64encode(chunk).decode()


def say(*words: str) -> None:
    """One line, whole."""
    line = " ".join(words).encode() + b"\n"
    while line:
        line = line[os.write(1, line) :]


if __name__ == "__main__":
    main(sys.argv[1])
