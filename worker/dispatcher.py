"""The loop that rings for pending tasks and recovers lapsed leases; any number of them may run."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from time import monotonic, sleep
from typing import Any
from uuid import uuid4

import structlog
from celery import Celery
from kombu.exceptions import OperationalError

from db.engine import Database
from db.errors import DatabaseUnreachable
from db.queries import queue
from worker.monitoring.health import Pulse
from worker.settings import Settings, required

log = structlog.get_logger(__name__)

BACKOFF, LONGEST_BACKOFF = 0.5, 10.0
"""Seconds to wait after a failed round: the first time, and at most."""
CHECK = 0.1
"""Seconds within which SIGTERM ends a wait."""


class BrokerUnreachable(Exception):
    """Redis does not answer; nothing was offered, or what was is offered again later."""


class Bell:
    """The broker's side: how many messages wait, and how to send one."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._connection: Any = None

    def waiting(self) -> int:
        """How many offers wait to be taken; also the proof that the broker answers."""
        with self._reachable():
            if self._connection is None:
                self._connection = self._app.connection_for_write()
            return int(self._connection.default_channel.queue_declare(queue="runs").message_count)

    def ring(self, task_id: int) -> None:
        """Send the message for one task. Its Celery id begins with the task's, so that Flower finds it."""
        with self._reachable():
            celery_id = f"task-{task_id}-{uuid4().hex[:12]}"
            self._app.send_task("runs.execute", args=(task_id,), task_id=celery_id, queue="runs", retry=False)

    def close(self) -> None:
        """Let go of the connection; the next call opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    @contextmanager
    def _reachable(self) -> Iterator[None]:
        try:
            yield
        except (OperationalError, OSError, *self._app.connection_for_write().transport.connection_errors) as fault:
            self._connection = None
            raise BrokerUnreachable(str(fault) or type(fault).__name__) from fault


class Ear:
    """The database's side: LISTEN, where there is an address that can, and else only the clock."""

    def __init__(self, settings: Settings) -> None:
        url = settings.listen_database_url or required(settings.database_url, "DATABASE_URL")
        self._database = None if url.pooled else Database(url)
        self._listening = False

    def wait(self, patience: timedelta) -> None:
        """Return when the bell in the database rings, or after `patience`."""
        if self._database is None:
            sleep(patience.total_seconds())
            return
        try:
            self._hear(self._database, patience)
        except DatabaseUnreachable:
            self._listening = False
            sleep(min(patience.total_seconds(), BACKOFF))

    def _hear(self, database: Database, patience: timedelta) -> None:
        if not self._listening:
            database.call("LISTEN codingit_worker")
            self._listening = True
            return  # whatever rang before we listened is found by looking
        database.wait_for_notification(patience)

    def close(self) -> None:
        """Let go of the connection."""
        if self._database is not None:
            self._database.close()


class Dispatcher:
    """
    Offers what is due, rings for it, and puts back what nobody renewed.

    An outage of the database or the broker is waited out with growing pauses. Nothing is recovered until one lease_ttl
    after the database was reached (again): during an outage no run could renew its lease.
    """

    def __init__(self, settings: Settings, app: Celery, pulse: Pulse) -> None:
        self._settings = settings
        self._pulse = pulse
        self._database = Database(required(settings.database_url, "DATABASE_URL"))
        self._bell = Bell(app)
        self._ear = Ear(settings)
        self._reached: float | None = None
        self._stopping = False

    def run(self) -> None:
        """Go round until SIGTERM or SIGINT."""
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, self._stop)
        log.info("dispatcher.started")
        backoff = BACKOFF
        while not self._stopping:
            self._pulse.beat("loop")
            try:
                self._round()
                backoff = BACKOFF
            except (DatabaseUnreachable, BrokerUnreachable) as outage:
                log.warning("dispatcher.waiting", what=type(outage).__name__, reason=str(outage), seconds=backoff)
                self._pause(backoff)
                backoff = min(backoff * 2, LONGEST_BACKOFF)
        self._ear.close()
        self._database.close()
        log.info("dispatcher.stopped")

    def _round(self) -> None:
        self._recover()
        if not self._offer():
            self._ear.wait(self._settings.poll_interval)

    def _recover(self) -> None:
        try:
            if self._reached is None:
                self._database.call("SELECT 1")
                self._reached = monotonic()
            if monotonic() - self._reached >= self._settings.lease_ttl.total_seconds():
                for found in queue.recover(self._database, max_crashes=self._settings.max_crashes):
                    log.warning("lease.recovered", task_id=found.task_id, became=found.became)
        except DatabaseUnreachable:
            self._reached = None
            raise
        self._pulse.beat("database")

    def _offer(self) -> bool:
        """Offer and ring; whether there may be more to offer at once."""
        room = self._settings.window - self._bell.waiting()
        self._pulse.beat("broker")
        if room <= 0:
            return False
        offered = self._due(room)
        for task_id in offered:
            self._bell.ring(task_id)
        if offered:
            log.info("tasks.offered", count=len(offered))
        return len(offered) == room

    def _due(self, room: int) -> list[int]:
        try:
            return queue.offer(
                self._database,
                room,
                per_user=self._settings.max_running_per_user,
                timeout=self._settings.offer_timeout,
            )
        except DatabaseUnreachable:
            self._reached = None
            raise

    def _pause(self, seconds: float) -> None:
        until = monotonic() + seconds
        while not self._stopping and monotonic() < until:
            self._pulse.beat("loop")
            sleep(CHECK)

    def _stop(self, *_: Any) -> None:
        self._stopping = True
