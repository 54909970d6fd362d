"""
A program that does one thing at E2B through its SDK, so that the worker itself never waits for a network.

    python -I e2b_program.py FD

At FD it reads a JSON object: whose account, which step of `STEPS`, and what that needs; the key stands there and
nowhere else. To FD it then writes another one: an `exit-code`, or in a sentence the `fault` that kept it from doing its
work. For a program that runs there its input is as for a supervisor: a line is how many seconds that program has to
end, and its end is the end of the whole tree.
"""

import base64
import json
import os
import select
import socket
import sys
import tarfile
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

from e2b import Sandbox
from e2b.sandbox_sync.commands.command_handle import CommandHandle

Job = Mapping[str, Any]

LIFE = 30 * 60
"""Seconds after which E2B ends a sandbox from which nobody is heard any more."""
HEARD = 5 * 60
"""Seconds between two signs of life."""
CHUNK = 48 * 1024


def main(fd: int) -> int:
    """Do what is asked; the exit code is that of the program that ran."""
    with os.fdopen(fd, "r+b", buffering=0) as file:
        job = json.loads(file.read())
        file.truncate(0)  # with the key in it
        try:
            answer: dict[str, object] = {"exit-code": STEPS[job["step"]](job)}
        except Exception as fault:  # noqa: BLE001  # whatever a network and an SDK come up with
            answer = {"fault": f"{type(fault).__name__}: {fault}"[:500]}
        os.pwrite(fd, json.dumps(answer).encode(), 0)
    return int(cast(int, answer.get("exit-code", 1)))


def create(job: Job) -> int:
    """A sandbox without a way to the internet, with folders of its own; prints its id and address as JSON."""
    made = Sandbox.create(
        job["template"], timeout=LIFE, metadata=job["metadata"], allow_internet_access=False, **job["account"]
    )
    try:
        address = f"https://{made.get_host(job['port'])}"
        sys.stdout.buffer.write(json.dumps({"id": made.sandbox_id, "url": address}).encode())
        made.commands.run(f"mkdir -p {job['ours']} && chmod 1777 {job['ours']}", user="root")
        sys.stdout.buffer.flush()
        if select.select([0], [], [], 0)[0]:
            raise InterruptedError("nobody waits for it any more")
    except BaseException:
        made.kill()
        raise
    return 0


def kill(job: Job) -> int:
    """End a sandbox; one that is no more is as good."""
    Sandbox.kill(job["id"], **job["account"])
    return 0


def fetch(job: Job) -> int:
    """Write a file of the sandbox to the same place here, if it is no larger than it may be."""
    there = Sandbox.connect(job["id"], timeout=LIFE, **job["account"])
    left = job["largest"]
    with there.files.read(job["path"], format="stream") as chunks, Path(job["to"]).open("xb") as file:
        for chunk in chunks:
            left -= len(chunk)
            if left < 0:
                raise ValueError(f"{job['path']} is larger than {job['largest']} bytes")
            file.write(chunk)
    return 0


def run(job: Job) -> int:
    """Run a program there to its end, after what it needs of this host was sent."""
    there = Sandbox.connect(job["id"], timeout=LIFE, **job["account"])
    send(there, job)
    name = f"{job['ours']}/{uuid4().hex}"
    told = {**job["program"], "stdin": f"{name}.in", "supervisor": f"{job['ours']}/supervisor.py"}
    there.files.write_files(
        [
            {"path": f"{name}.json", "data": json.dumps(told)},
            {"path": f"{name}.in", "data": base64.b64decode(job["stdin"])},
        ]
    )
    line = f"exec python3 -I -S {job['ours']}/e2b_remote.py {name}.json"
    handle = there.commands.run(line, background=True, stdin=True, timeout=0, retain_output=False)
    return Bridge(there, handle, job).carry()


def send(there: Sandbox, job: Job) -> None:
    """Copy files and folders of this host to the same places there."""
    if not (job["reads"] or job["writable"]):
        return
    who = there.commands.run("id -u; id -g").stdout.split()
    with tempfile.TemporaryFile() as file:
        with tarfile.open(fileobj=file, mode="w", dereference=False) as tar:
            for path in job["reads"]:
                tar.add(path, arcname=job["places"].get(path, path).lstrip("/"), filter=readable)
            for path in job["writable"]:
                tar.add(path, arcname=path.lstrip("/"), filter=lambda entry: owned(entry, *map(int, who)))
        file.seek(0)
        name = f"{job['ours']}/{uuid4().hex}.tar"
        there.files.write(name, file, user="root")
    there.commands.run(f"tar -xpf {name} -C / && rm {name}", user="root", timeout=0)


def readable(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """As everybody may read it and nobody write."""
    entry.mode = entry.mode & 0o555 | (0o555 if entry.isdir() else 0o444)
    return owned(entry, 0, 0)


def owned(entry: tarfile.TarInfo, uid: int, gid: int) -> tarfile.TarInfo:
    """As somebody's there."""
    entry.uid, entry.gid, entry.uname, entry.gname = uid, gid, "", ""
    return entry


class Bridge:
    """Between a program there and what runs here: the caller, and the sockets of this host that it may reach."""

    def __init__(self, there: Sandbox, handle: "CommandHandle[Any]", job: Job) -> None:
        self._there = there
        self._handle = handle
        self._job = job
        self._open: dict[str, socket.socket] = {}
        self._telling = threading.Lock()

    def carry(self) -> int:
        """Pass everything on until the program has ended; its exit code."""
        threading.Thread(target=self._obey, daemon=True).start()
        rest, complaints = "", ""
        for out, err, _ in self._handle:
            *lines, rest = (rest + (out or "")).split("\n")
            complaints = (complaints + (err or ""))[-500:]
            for name, *words in (line.split() for line in lines):
                if name == "exit":
                    return int(words[0])
                self._hear(name, *words)
        raise RuntimeError(f"the program in the sandbox was lost: {complaints}")

    def _hear(self, name: str, which: str, content: str = "") -> None:
        if name in {"stdout", "stderr"}:
            output = sys.stdout.buffer if name == "stdout" else sys.stderr.buffer
            output.write(base64.b64decode(which))
            output.flush()
        elif name == "open":
            self._connect(which, self._job["sockets"][content])
        elif connection := self._open.get(which):
            with suppress(OSError):
                if name == "data":
                    connection.sendall(base64.b64decode(content))
                else:
                    connection.shutdown(socket.SHUT_RDWR)

    def _connect(self, number: str, path: str) -> None:
        connection = socket.socket(socket.AF_UNIX)
        self._open[number] = connection
        with suppress(OSError):  # then there is nothing to read either
            folder, name = os.path.split(path)
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:  # an address holds no more than 107 bytes
                connection.connect(f"/proc/self/fd/{descriptor}/{name}" if sys.platform == "linux" else path)
            finally:
                os.close(descriptor)
        threading.Thread(target=self._answer, args=(number, connection), daemon=True).start()

    def _answer(self, number: str, connection: socket.socket) -> None:
        """What comes from this host, until there is no more of it."""
        with suppress(OSError):
            while chunk := connection.recv(CHUNK):
                self._tell(f"data {number} {base64.b64encode(chunk).decode()}")
        if self._open.get(number) is connection:
            del self._open[number]
            self._tell(f"close {number}")
        connection.close()

    def _tell(self, line: str) -> None:
        with self._telling, suppress(Exception):  # the program's own stream tells what is wrong
            self._handle.send_stdin(f"{line}\n")

    def _obey(self) -> None:
        """Pass on what our caller says, and let E2B hear of us, for as long as this program lasts."""
        while True:
            if not select.select([0], [], [], HEARD)[0]:
                with suppress(Exception):  # as above
                    Sandbox.set_timeout(self._there.sandbox_id, LIFE, **self._job["account"])
            elif words := os.read(0, 4096):
                self._tell(f"end {float(words.split()[-1])}")
            else:
                with suppress(Exception):  # as above
                    self._handle.close_stdin()
                return


STEPS: Mapping[str, Callable[[Job], int]] = {"create": create, "kill": kill, "fetch": fetch, "run": run}

if __name__ == "__main__":
    os._exit(main(int(sys.argv[1])))  # a thread may wait at our input
