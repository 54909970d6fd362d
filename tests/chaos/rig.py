"""Servers that can be stopped, cut and frozen, and a fleet that works through them."""

import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

import psycopg
import redis

from db import migrate
from tests.acceptance.conftest import TOKEN, Remote
from tests.conftest import FAST, WORKER_PASSWORD
from tests.support import pooler
from tests.support.fleet import Fleet
from tests.support.proxy import proxied
from tests.support.rows import Rows
from worker.local import binaries, child, postgres, state, valkey
from worker.local.child import Child
from worker.local.git_server import serve

USERS = [UUID(int=0x1111 + n) for n in range(5)]


class Servers:
    """PostgreSQL, Valkey and, where it is installed, PgBouncer in transaction mode, each of which can be restarted."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._programs = binaries.found()
        state.prepare(folder)
        kept = state.kept(folder)
        postgres.prepare(self._programs, folder, kept, durable=False)
        self._kept = replace(kept, postgres_port=child.free_port(), redis_port=child.free_port())
        self.addresses = self._kept.addresses()
        self.pooler_port = child.free_port()
        self._postgres = self._start_postgres()
        self._valkey = self._start_valkey()
        self._pooler: Child | None = None

    def restart_postgres(self, pause: float) -> None:
        self._postgres.end()
        time.sleep(pause)
        self._postgres = self._start_postgres()

    def restart_valkey(self, pause: float) -> None:
        self._valkey.end()
        time.sleep(pause)
        self._valkey = self._start_valkey()

    def start_pooler(self) -> None:
        """Begin to pool; the role must have its password by then."""
        self._pooler = pooler.start(
            self._folder,
            postgres=self._kept.postgres_port or 0,
            port=self.pooler_port,
            role="task_worker",
            password=WORKER_PASSWORD,
            sessions=10,
        )

    def stop(self) -> None:
        for server in (self._pooler, self._valkey, self._postgres):
            if server is not None:
                server.end()

    def _start_postgres(self) -> Child:
        return postgres.start(
            self._programs, self._folder, self._kept, settings=FAST, port=self._kept.postgres_port or 0
        )

    def _start_valkey(self) -> Child:
        return valkey.start(self._programs, self._folder, self._kept, port=self._kept.redis_port or 0)


class Rig:
    """A fleet of two workers, two dispatchers and two beats, and every fault that can be done to it."""

    def __init__(self, folder: Path, servers: Servers, stack: ExitStack, chance: random.Random) -> None:
        self.chance = chance
        self.servers = servers
        self.owner_url = servers.addresses.database_url
        migrate.upgrade(self.owner_url)
        with psycopg.connect(self.owner_url.libpq, autocommit=True) as connection:
            connection.execute(f"ALTER ROLE task_worker PASSWORD '{WORKER_PASSWORD}'".encode())
        servers.start_pooler()
        self.rows = Rows(self.owner_url)
        remotes = folder / "remote"
        remotes.mkdir()
        self.remote = Remote(remotes, stack.enter_context(serve(remotes, token=TOKEN)))
        worker_url = self.owner_url.as_role("task_worker", WORKER_PASSWORD)
        self.database, direct = stack.enter_context(proxied(worker_url.libpq))
        self.broker, redis_url = stack.enter_context(proxied(servers.addresses.redis_url))
        self.pooled = direct.replace(f":{self.database.port}/", f":{servers.pooler_port}/") + "?pgbouncer=true"
        self.fleet = Fleet(folder, self._environment(folder, direct, redis_url))
        stack.callback(self.fleet.stop)
        self.workers: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """One of each through the proxies, and one through the pooler."""
        self.fleet.dispatcher()
        self.fleet.dispatcher(DATABASE_URL=self.pooled)
        for _ in range(2):
            self.fleet.start("celery", "-A", "worker.app", "beat")
        for name in ("direct", "pooled"):
            self.start_worker(name)

    def start_worker(self, name: str) -> None:
        through = {"DATABASE_URL": self.pooled} if name == "pooled" else {}
        self.workers[name] = self.fleet.start(
            *("celery", "-A", "worker.app", "worker", "-Q", "runs", "-n", f"{name}@chaos"), **through
        )

    def revive(self) -> None:
        """Start what has died, as whoever runs processes does: a worker whose first child is killed gives up."""
        for name, worker in list(self.workers.items()):
            if worker.poll() is not None:
                self.start_worker(name)

    def faults(self) -> list[Callable[[], None]]:
        """Every kind, in an order of chance."""
        kinds = [
            self.double_messages,
            self.lose_messages,
            self.forget_everything,
            self.restart_broker,
            self.silence_broker,
            self.restart_database,
            self.terminate_backends,
            self.cut_database,
            self.kill_child,
            self.kill_child,
            self.kill_worker,
            self.stop_worker,
            self.freeze_worker,
        ]
        self.chance.shuffle(kinds)
        return kinds

    def double_messages(self) -> None:
        client = redis.Redis.from_url(self.servers.addresses.redis_url)
        for message in client.lrange("runs", 0, -1):
            client.lpush("runs", message)

    def lose_messages(self) -> None:
        redis.Redis.from_url(self.servers.addresses.redis_url).delete("runs")

    def forget_everything(self) -> None:
        redis.Redis.from_url(self.servers.addresses.redis_url).flushall()

    def restart_broker(self) -> None:
        self.servers.restart_valkey(self.chance.uniform(0, 2))

    def silence_broker(self) -> None:
        self.broker.freeze()
        time.sleep(self.chance.uniform(6, 12))
        self.broker.mend()

    def restart_database(self) -> None:
        self.rows.close()
        self.servers.restart_postgres(self.chance.uniform(0, 2))
        self.rows = Rows(self.owner_url)

    def terminate_backends(self) -> None:
        self.rows.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'task_worker'")

    def cut_database(self) -> None:
        """For longer than a lease."""
        self.database.cut()
        time.sleep(self.chance.uniform(5, 8))
        self.database.mend()

    def kill_child(self) -> None:
        children = self.fleet.children(self._worker()[1])
        if children:
            _kill(self.chance.choice(children), signal.SIGKILL)

    def kill_worker(self) -> None:
        name, worker = self._worker()
        _kill(-worker.pid, signal.SIGKILL)
        worker.wait()
        self.start_worker(name)

    def stop_worker(self) -> None:
        name, worker = self._worker()
        _kill(self.chance.choice((worker.pid, -worker.pid)), signal.SIGTERM)
        worker.wait(timeout=60)
        self.start_worker(name)

    def freeze_worker(self) -> None:
        _, worker = self._worker()
        stopped = [worker.pid, *self.fleet.children(worker)]
        for pid in stopped:
            _kill(pid, signal.SIGSTOP)
        time.sleep(self.chance.uniform(5, 8))
        for pid in stopped:
            _kill(pid, signal.SIGCONT)

    def _worker(self) -> tuple[str, subprocess.Popen[bytes]]:
        return self.chance.choice(list(self.workers.items()))

    def _environment(self, folder: Path, direct: str, redis_url: str) -> dict[str, str]:
        credentials = folder / "credentials.toml"
        credentials.touch(mode=0o600)
        credentials.write_text(
            "".join(
                f'[[allow]]\nuser = "{user}"\nrepository = "{self.remote.address}/acme/*"\ntoken = "{TOKEN}"\n'
                for user in USERS
            )
        )
        return {
            "DATABASE_URL": direct,
            "REDIS_URL": redis_url,
            "LISTEN_DATABASE_URL": direct,
            "CODINGIT_ALLOWED_HOSTS": urlsplit(self.remote.address).netloc,
            "CODINGIT_CREDENTIALS_FILE": str(credentials),
            "CODINGIT_MAX_CRASHES": "1000",
            "CODINGIT_MAX_BACKOFFS": "1000",
        }


def _kill(pid: int, signum: signal.Signals) -> None:

    try:
        os.killpg(-pid, signum) if pid < 0 else os.kill(pid, signum)
    except ProcessLookupError:
        return


@contextmanager
def rigged(chance: random.Random) -> Iterator[Rig]:
    """Everything, in a folder of its own; gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="codingit-chaos-"))
    folder.chmod(0o755)
    (folder / "servers").mkdir()
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        servers = Servers(folder / "servers")
        stack.callback(servers.stop)
        rig = Rig(folder, servers, stack, chance)
        yield rig
        rig.rows.close()
