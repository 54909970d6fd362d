"""
A stand-in for E2B on loopback, which its real SDK speaks to: the API, and envd in each machine.

A machine is a folder, which is `/` to its programs, and the namespaces of bubblewrap: of the host it sees the system
alone, so that nothing is found there which nobody sent.
"""

import base64
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.message import Message
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

from worker.sandbox.e2b import Account

SYSTEM = ("usr", "bin", "sbin", "lib", "lib64", "etc")
LAST = 2
DOWN, KEY = "down", "key"


@dataclass
class Machine:
    """One sandbox of E2B's."""

    folder: Path
    programs: "dict[int, subprocess.Popen[bytes]]" = field(default_factory=dict)


class StandIn:
    """What is made, and what is asked for."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.machines: dict[str, Machine] = {}

    def make(self, asked: dict[str, Any]) -> str:
        name = uuid4().hex[:20]
        (self.root / f"{name}.json").write_text(json.dumps(asked))
        machine = Machine(self.root / name)
        (machine.folder / "tmp").mkdir(parents=True)
        self.machines[name] = machine
        return name

    def end(self, name: str) -> bool:
        machine = self.machines.pop(name, None)
        if machine is None:
            return False
        for program in list(machine.programs.values()):
            with suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGKILL)
        shutil.rmtree(machine.folder, ignore_errors=True)
        return True

    def start(self, machine: Machine, config: dict[str, Any]) -> "subprocess.Popen[bytes]":
        """The program, as pid 2 of namespaces of its own; what it leaves behind goes with it."""
        binds = [word for name in SYSTEM if Path("/", name).exists() for word in ("--ro-bind", f"/{name}", f"/{name}")]
        binds += ["--proc", "/proc", "--dev", "/dev"]
        argv = ("bwrap", "--unshare-pid", "--unshare-net", "--die-with-parent", "--bind", str(machine.folder), "/")
        program = subprocess.Popen(
            (*argv, *binds, "--", config["cmd"], *config.get("args", [])),
            bufsize=0,
            env={"PATH": os.defpath, "HOME": "/tmp", "E2B_SANDBOX": "true", **config.get("envs", {})},
            start_new_session=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        machine.programs[program.pid] = program
        return program


class Answering(BaseHTTPRequestHandler):
    """The API at /v2/sandboxes and below, envd at /process.Process and /files."""

    protocol_version = "HTTP/1.1"
    stand_in: ClassVar[StandIn]

    def log_message(self, *_: object) -> None:
        pass

    def do_DELETE(self) -> None:
        if self._is_let_in():
            gone = self.stand_in.end(self.path.rpartition("/")[2])
            self._json({} if gone else {"code": 404, "message": "no such sandbox"}, status=204 if gone else 404)

    def do_GET(self) -> None:
        if self.path == "/health":
            alive = self.headers["E2b-Sandbox-Id"] in self.stand_in.machines
            return self._json({}, status=204 if alive else 502)
        path = self._there(parse_qs(urlsplit(self.path).query)["path"][0])
        if path.is_file():
            return self._send(path.read_bytes(), "application/octet-stream")
        return self._json({"code": 404, "message": "no such file"}, status=404)

    def do_POST(self) -> None:
        path = urlsplit(self.path).path
        if path == "/files":
            self._store()
        elif path.startswith("/process.Process/"):
            self._process(path.rpartition("/")[2])
        elif self._is_let_in():
            self._manage(path)

    def _manage(self, path: str) -> None:
        asked = json.loads(self._body() or b"{}")
        name = self.stand_in.make(asked) if path == "/v2/sandboxes" else path.split("/")[-2]
        if name not in self.stand_in.machines:
            self._json({"code": 404, "message": "no such sandbox"}, status=404)
        elif path.endswith("/timeout"):
            self._json({}, status=204)
        else:
            ids = {"templateID": "base", "sandboxID": name, "clientID": "0"}
            self._json({**ids, "envdVersion": "0.6.7", "domain": "e2b.test"}, status=201)

    def _store(self) -> None:
        body, kind = self._body(), self.headers["Content-Type"]
        named = parse_qs(urlsplit(self.path).query).get("path")
        if kind.startswith("multipart/"):
            whole = BytesParser(policy=HTTP).parsebytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body)
            parts = [part for part in whole.walk() if not part.is_multipart()]
            files = {named[0] if named else str(part.get_filename()): content(part) for part in parts}
        else:
            files = {(named or [""])[0]: body}
        for name, body in files.items():
            path = self._there(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)
        self._json([{"name": Path(name).name, "type": "file", "path": name} for name in files])

    def _process(self, what: str) -> None:
        if what == "Start":
            return self._run(json.loads(self._body()[5:]))
        asked = json.loads(self._body())
        program = self._machine().programs.get(int(asked["process"]["pid"]))
        if program is None or program.stdin is None:
            return self._json({"code": "not_found", "message": "no such process"}, status=404)
        with suppress(OSError, ValueError):
            if what == "SendInput":
                program.stdin.write(base64.b64decode(asked["input"]["stdin"]))
            elif what == "CloseStdin":
                program.stdin.close()
        return self._json({})

    def _run(self, asked: dict[str, Any]) -> None:
        machine = self._machine()
        program = self.stand_in.start(machine, asked["process"])
        self.send_response(200)
        self.send_header("Content-Type", "application/connect+json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        lock = threading.Lock()
        self._event({"start": {"pid": program.pid}}, lock)
        readers = [threading.Thread(target=self._pass_on, args=(program, name, lock)) for name in ("stdout", "stderr")]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        code = program.wait()
        if program.stdin:
            program.stdin.close()
        machine.programs.pop(program.pid, None)
        if code >= 0:
            self._event({"end": {"exitCode": code, "exited": True, "status": f"exit status {code}"}}, lock)
            self._frame(LAST, {})
        with suppress(OSError):
            self.wfile.write(b"0\r\n\r\n" if code >= 0 else b"")
        self.close_connection = code < 0  # else the SDK goes on with it

    def _pass_on(self, program: "subprocess.Popen[bytes]", name: str, lock: threading.Lock) -> None:
        pipe = getattr(program, name)
        while chunk := os.read(pipe.fileno(), 32768):
            self._event({"data": {name: base64.b64encode(chunk).decode()}}, lock)
        pipe.close()

    def _event(self, event: dict[str, Any], lock: threading.Lock) -> None:
        with lock:
            self._frame(0, {"event": event})

    def _frame(self, flags: int, message: dict[str, Any]) -> None:
        body = json.dumps(message).encode()
        body = struct.pack(">BI", flags, len(body)) + body
        with suppress(OSError):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(body), body))

    def _machine(self) -> Machine:
        return self.stand_in.machines[self.headers["E2b-Sandbox-Id"]]

    def _there(self, path: str) -> Path:
        return self._machine().folder / path.lstrip("/")

    def _is_let_in(self) -> bool:
        if (self.stand_in.root / DOWN).exists():
            self._json({"code": 500, "message": "out of order"}, status=500)
            return False
        if self.headers["X-API-Key"] != (self.stand_in.root / KEY).read_text():
            self._json({"code": 401, "message": "this key is not known"}, status=401)
            return False
        return True

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            return b"".join(self._chunks())
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _json(self, message: object, *, status: int = 200) -> None:
        self._send(b"" if status == 204 else json.dumps(message).encode(), "application/json", status=status)

    def _send(self, body: bytes, kind: str, *, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def content(part: Message) -> bytes:
    """Of a file in a form."""
    found = part.get_payload(decode=True)
    assert isinstance(found, bytes)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """A stand-in that runs: its address, and its machines as folders."""

    root: Path
    url: str
    key: str

    @property
    def account(self) -> Account:
        """That it knows."""
        return Account(key=self.key, api_url=self.url, sandbox_url=self.url)

    def machines(self) -> list[str]:
        """The ids of those that there are."""
        return sorted(path.name for path in self.root.iterdir() if path.is_dir())

    def asked(self, machine: str = "*") -> dict[str, Any]:
        """How this one was asked for, or the only one that was ever made."""
        (path,) = self.root.glob(f"{machine}.json")
        found: dict[str, Any] = json.loads(path.read_text())
        return found

    @contextmanager
    def down(self) -> Iterator[None]:
        """Its API answers everything with an error."""
        (self.root / DOWN).touch()
        try:
            yield
        finally:
            (self.root / DOWN).unlink()


@contextmanager
def answering(root: Path) -> Iterator[Provider]:
    """The stand-in, in a process of its own."""
    (root / KEY).write_text(key := f"e2b_{uuid4().hex}")
    process = subprocess.Popen((sys.executable, "-m", __name__, str(root)), stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        yield Provider(root=root, url=process.stdout.readline().strip(), key=key)
    finally:
        process.terminate()
        process.communicate()


def main(root: Path) -> None:
    """Answer until SIGTERM; then end all machines."""
    Answering.stand_in = StandIn(root)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        server.daemon_threads = True
        sys.stdout.write(f"http://127.0.0.1:{server.server_address[1]}\n")
        sys.stdout.flush()
        try:
            server.serve_forever()
        finally:
            for name in list(Answering.stand_in.machines):
                Answering.stand_in.end(name)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
