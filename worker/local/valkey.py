"""The local Valkey: a broker that keeps nothing on disk, since tasks are in PostgreSQL."""

import signal
from pathlib import Path

import redis

from worker.local import child, state
from worker.local.binaries import Binaries
from worker.local.child import Child

NAME = "Valkey"
ANSWER_TIMEOUT = 1.0
CONFIGURATION = """\
bind 127.0.0.1
port {port}
requirepass {password}
dir {folder}
save ""
appendonly no
"""


def start(binaries: Binaries, folder: Path, kept: state.Kept, *, port: int) -> Child:
    """A server that answers; its password reaches it by a pipe. Raises as `Child.wait_until`."""
    own = folder / "valkey"
    if not own.is_dir():
        state.private_folder(own)
    configuration = CONFIGURATION.format(port=port, password=kept.redis_password, folder=quoted(own))
    server = child.spawn(
        NAME,
        (binaries.valkey, "-"),
        log=folder / "valkey.log",
        cwd=own,
        farewell=signal.SIGTERM,
        stdin=configuration.encode(),
    )
    try:
        server.wait_until(lambda: answers(port, kept.redis_password))
    except BaseException:
        server.end()
        raise
    return server


def quoted(path: Path) -> str:
    """A path as Valkey's configuration reads it, spaces and all."""
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'


def answers(port: int, password: str) -> bool:
    """Whether a server with this password answers."""
    try:
        with redis.Redis(
            port=port, password=password, socket_timeout=ANSWER_TIMEOUT, socket_connect_timeout=ANSWER_TIMEOUT
        ) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False
