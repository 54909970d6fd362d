"""A small loopback HTTP server around `git http-backend`, with a token, for the demo and for tests."""

import hmac
import shutil
import subprocess
import tempfile
from base64 import b64decode
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from pathlib import Path
from threading import Thread
from typing import IO, BinaryIO
from urllib.parse import unquote

from worker.errors import CommandFailed
from worker.git.host import path as git_path

CHUNK = 64 * 1024
SERVICES = ("/info/refs", "/git-upload-pack", "/git-receive-pack", "/HEAD", "/objects/")
WRITING = "git-receive-pack"


class Server(ThreadingHTTPServer):
    """Serves until it is shut down; requests under way are ended then."""

    daemon_threads = True

    def __init__(self, root: Path, *, token: str | None, public: Collection[str], port: int) -> None:
        super().__init__(("127.0.0.1", port), Request)
        self.root = root.resolve()
        self.token = token
        self.public = frozenset(public)
        self.backends: set[subprocess.Popen[bytes]] = set()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no news."""


class Request(BaseHTTPRequestHandler):
    """One request of a git client, handed to `git http-backend` if its token allows it."""

    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class names it so
        """Print nothing."""

    def do_GET(self) -> None:  # the base class finds it by this name
        """Refs, and objects for dumb clients."""
        self.respond()

    def do_POST(self) -> None:  # as above
        """Packs, in either direction."""
        self.respond()

    def respond(self) -> None:
        """Read the whole request, then answer it: no backend ever waits for a client that waits for it."""
        with tempfile.TemporaryFile() as body:
            self.receive(body)
            path, _, query = self.path.partition("?")
            if ".." in unquote(path).split("/"):
                self.send_plain(404)
            elif not self.may(path, query):
                self.send_plain(401)
            else:
                self.run_backend(path, query, body)

    def receive(self, body: IO[bytes]) -> None:
        """Write the request's body, of known length or chunked, to a file and rewind that."""
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            while length := int(self.rfile.readline().partition(b";")[0] or b"0", 16):
                copy(self.rfile, body, length)
                self.rfile.readline()
            self.rfile.readline()
        else:
            copy(self.rfile, body, int(self.headers.get("Content-Length") or 0))
        body.seek(0)

    def may(self, path: str, query: str) -> bool:
        """Whether the request may be answered: public repositories are read by anyone, all else takes the token."""
        writes = path.endswith(f"/{WRITING}") or query == f"service={WRITING}"
        reads_public = not writes and self.repository(path) in self.server.public
        return self.server.token is None or self.knows_token() or reads_public

    def knows_token(self) -> bool:
        """Whether the client sent the token as password; any user name will do."""
        scheme, _, sent = self.headers.get("Authorization", "").partition(" ")
        try:
            password = b64decode(sent, validate=True).partition(b":")[2] if scheme.lower() == "basic" else b""
        except ValueError:
            return False
        return hmac.compare_digest(password, (self.server.token or "").encode())

    def repository(self, path: str) -> str:
        """The repository that a path is in, as in `public`: relative to the root, with its `.git`."""
        start = min((at for service in SERVICES if (at := path.find(service)) > 0), default=len(path))
        return unquote(path[:start]).strip("/")

    def run_backend(self, path: str, query: str, body: IO[bytes]) -> None:
        """Answer with what `git http-backend` prints."""
        command = (shutil.which("git", path=git_path()) or "git", "http-backend")
        env = self.environment(path, query)
        with subprocess.Popen(command, stdin=body, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env) as git:
            self.server.backends.add(git)
            try:
                self.relay(git)
            finally:
                git.kill()
                self.server.backends.discard(git)

    def relay(self, git: "subprocess.Popen[bytes]") -> None:
        """Send the backend's headers, then its body in chunks."""
        assert git.stdout  # noqa: S101  # it was asked for
        headers = dict(self.cgi_headers(git.stdout))
        self.send_response(int(headers.pop("Status", "200" if headers else "500").split()[0]))
        for name, value in (headers | {"Transfer-Encoding": "chunked"}).items():
            if name.lower() != "content-length":
                self.send_header(name, value)
        self.end_headers()
        while part := git.stdout.read1(CHUNK):  # type: ignore[attr-defined]  # a pipe is a BufferedReader
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
        self.wfile.write(b"0\r\n\r\n")

    def cgi_headers(self, stdout: IO[bytes]) -> Iterator[tuple[str, str]]:
        """The headers that a CGI program prints before an empty line."""
        while line := stdout.readline().decode("latin-1").strip():
            name, _, value = line.partition(":")
            yield name, value.strip()

    def environment(self, path: str, query: str) -> dict[str, str]:
        """What the backend is told, and nothing of our own environment but where git is."""
        sent = {"CONTENT_TYPE": "Content-Type", "HTTP_CONTENT_ENCODING": "Content-Encoding"}
        sent |= {"GIT_PROTOCOL": "Git-Protocol"}
        told = {name: value for name, header in sent.items() if (value := self.headers.get(header))}
        writer = {"REMOTE_USER": "token"} if self.server.token is None or self.knows_token() else {}
        return FIXED | told | writer | {
            "PATH": git_path(),
            "GIT_PROJECT_ROOT": str(self.server.root),
            "PATH_INFO": unquote(path),
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "REMOTE_ADDR": self.client_address[0],
        }  # fmt: skip

    def send_plain(self, status: int) -> None:
        """Answer without a body; 401 asks for the token."""
        self.send_response(status)
        if status == 401:
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
        self.send_header("Content-Length", "0")
        self.end_headers()


FIXED = {
    "GIT_HTTP_EXPORT_ALL": "1",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "safe.directory",
    "GIT_CONFIG_VALUE_0": "*",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "GATEWAY_INTERFACE": "CGI/1.1",
    "LC_ALL": "C",
}


def copy(source: BinaryIO | BufferedIOBase, target: IO[bytes], length: int) -> None:
    """Copy that many bytes, or as many as come."""
    while length > 0 and (part := source.read(min(length, CHUNK))):
        target.write(part)
        length -= len(part)


@contextmanager
def serve(root: Path, *, token: str | None, public: Collection[str] = (), port: int = 0) -> Iterator[str]:
    """
    Serve the bare repositories under `root`, and yield the address that they are under: on `port` if it is free.

    With a token, writing takes it, and reading too but for the repositories named in `public` (`acme/site.git`).
    Without, everyone on this machine may read and write.
    """
    if shutil.which("git", path=git_path()) is None:
        raise CommandFailed("git is not installed here: install git 2.37 or newer.")
    with listening(partial(Server, root, token=token, public=public), port) as server:
        thread = Thread(target=partial(server.serve_forever, poll_interval=0.05), name="git-server", daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
            for git in tuple(server.backends):
                git.kill()


def listening(server: Callable[..., Server], port: int) -> Server:
    """The server on that port, or on another if it is taken."""
    try:
        return server(port=port)
    except OSError:
        return server(port=0)
