"""The loop that rings for pending tasks and recovers lapsed leases; any number of them may run."""

import json
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from time import monotonic, sleep
from typing import Any
from uuid import uuid4

import structlog
from celery import Celery
from kombu.exceptions import OperationalError

from db.engine import Database
from db.errors import DatabaseUnavailable
from db.queries import queue
from worker.monitoring.health import Pulse
from worker.settings import Settings, required

log = structlog.get_logger(__name__)

BACKOFF, LONGEST_BACKOFF = 0.5, 5.0
"""Seconds to wait after a failed round: the first time, and at most."""
CELERY_ID = re.compile(r"task-([0-9]{1,18})-")
CHECK = 0.1
"""Seconds within which SIGTERM ends a wait."""


class BrokerUnreachable(Exception):
    """Redis does not answer; nothing was offered, or what was is offered again later."""


class Bell:
    """The broker's side: how many messages wait, and how to send one."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._connection: Any = None

    def waiting(self) -> list[int | None]:
        """
        The task of each message that waits to be taken, None for a message of somebody else's.

        Looks at the list that a queue of Celery is in Redis.
        """
        with self._reachable():
            return [_task_of(message) for message in self._client().lrange("runs", 0, -1)]

    def count(self) -> int:
        """How many messages wait; also the proof that the broker answers."""
        with self._reachable():
            return int(self._client().llen("runs"))

    def ring(self, task_id: int) -> None:
        """Send the message for one task. Its Celery id begins with the task's, so that Flower and `waiting` find it."""
        with self._reachable():
            celery_id = f"task-{task_id}-{uuid4().hex[:12]}"
            self._app.send_task("runs.execute", args=(task_id,), task_id=celery_id, queue="runs", retry=False)

    def close(self) -> None:
        """Let go of the connection; the next call opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _client(self) -> Any:
        if self._connection is None:
            self._connection = self._app.connection_for_write()
        return self._connection.default_channel.client

    @contextmanager
    def _reachable(self) -> Iterator[None]:
        try:
            yield
        except (OperationalError, OSError, *self._app.connection_for_write().transport.connection_errors) as fault:
            self._connection = None
            raise BrokerUnreachable(str(fault) or type(fault).__name__) from fault


def _task_of(message: bytes) -> int | None:
    try:
        found = CELERY_ID.match(json.loads(message)["headers"]["id"])
    except (ValueError, TypeError, KeyError):
        return None
    return int(found[1]) if found else None


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
        except DatabaseUnavailable:
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

    An outage of the database or the broker is waited out with growing pauses. Nothing is recovered until the database
    has answered without a gap for one lease_ttl: during an outage no run could renew its lease. Time is the database's,
    so that neither a server that freezes nor a host that sleeps is taken for a worker that died.
    """

    def __init__(self, settings: Settings, app: Celery, pulse: Pulse) -> None:
        self._settings = settings
        self._pulse = pulse
        self._database = Database(required(settings.database_url, "DATABASE_URL"))
        self._bell = Bell(app)
        self._ear = Ear(settings)
        self._seen: datetime | None = None
        """The database's time at its last answer."""
        self._since: datetime | None = None
        """Since when it has answered without a gap."""
        self._recover_at = 0.0
        """On the clock of `time.monotonic`."""
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
            except (DatabaseUnavailable, BrokerUnreachable) as outage:
                log.warning("dispatcher.waiting", what=type(outage).__name__, reason=str(outage), seconds=backoff)
                self._pause(backoff)
                backoff = min(backoff * 2, LONGEST_BACKOFF)
        self._ear.close()
        self._bell.close()
        self._database.close()
        log.info("dispatcher.stopped")

    def _round(self) -> None:
        # Recovering every so often is enough, and never so seldom that it would look like an outage.
        patience = min(self._settings.poll_interval, self._settings.lease_ttl / 6)
        if monotonic() >= self._recover_at:
            self._recover()
            self._recover_at = monotonic() + patience.total_seconds()
        if not self._offer():
            self._ear.wait(patience)

    def _recover(self) -> None:
        quiet = self._settings.lease_ttl / 3
        watched = (
            self._seen is not None and self._since is not None and self._seen - self._since >= self._settings.lease_ttl
        )
        try:
            found = queue.recover(
                self._database,
                max_crashes=self._settings.max_crashes,
                seen=self._seen if watched else None,
                quiet=quiet,
            )
        except DatabaseUnavailable:
            self._seen = None
            raise
        if self._seen is None or found.at - self._seen > quiet:
            self._since = found.at
        self._seen = found.at
        self._pulse.beat("database")
        for each in found.recovered:
            log.warning("lease.recovered", task_id=each.task_id, became=each.became)

    def _offer(self) -> bool:
        """Offer and ring; whether there may be more to offer at once."""
        room = self._settings.window - self._bell.count()
        self._pulse.beat("broker")
        if room < max(1, self._settings.window // 4):
            return False  # enough waits for the workers to go on with, and whoever came now would queue behind it
        waiting = self._bell.waiting()
        offered = queue.offer(
            self._database,
            room,
            per_user=self._settings.max_running_per_user,
            timeout=self._settings.offer_timeout,
            waiting=[task for task in waiting if task is not None],
        )
        for task_id in offered:
            self._bell.ring(task_id)
        if offered:
            log.info("tasks.offered", count=len(offered))
        return len(offered) == room

    def _pause(self, seconds: float) -> None:
        until = monotonic() + seconds
        while not self._stopping and monotonic() < until:
            self._pulse.beat("loop")
            sleep(CHECK)

    def _stop(self, *_: Any) -> None:
        self._stopping = True
