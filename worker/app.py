"""The Celery app: its settings, each with its reason, and the signals that tie worker processes to the queue."""

import gc
import signal
import sys
from collections.abc import Sequence
from typing import Any

import structlog
from billiard.exceptions import WorkerLostError
from celery import Celery, bootsteps, signals
from kombu import Consumer
from kombu.entity import Exchange, Queue

from worker import log as logs
from worker import workspace
from worker.errors import CommandFailed, WrongUse
from worker.maintenance import schedule
from worker.monitoring import fitness, guardian
from worker.run.shutdown import Shutdown
from worker.settings import Settings, required, required_redis, settings

log = structlog.get_logger(__name__)

RUNS, MAINTENANCE = "runs", "maintenance"
SWEEP = "maintenance.sweep"
HOSTS = Queue("maintenance.hosts", Exchange("maintenance.hosts", type="fanout"), "maintenance.hosts", no_ack=True)
"""
What every host is to do: published, so that each maintenance worker gets it that listens now, and nobody later.

One name for all, since Redis would keep the name of each that was ever bound. Not acknowledged, since what a killed
worker had not acknowledged would be put into a list of this name, which nobody reads.
"""
REAP_EVERY = 0.5
"""Seconds between two looks for children that died; Celery's own look may come only after 5."""


def configuration(chosen: Settings) -> dict[str, Any]:
    """Celery's settings."""
    return {
        "broker_url": required_redis(chosen),
        # Redis is the doorbell, the lease is the guarantee: messages are acknowledged early and never redelivered
        # because a run is long; results are not stored.
        "task_acks_late": False,
        "task_reject_on_worker_lost": False,
        "task_ignore_result": True,
        "worker_prefetch_multiplier": 1,
        "worker_disable_prefetch": True,
        "worker_concurrency": chosen.concurrency,
        "task_default_queue": RUNS,
        "task_queues": (Queue(RUNS), Queue(MAINTENANCE)),
        "task_routes": (to_every_host, {"runs.*": {"queue": RUNS}, "maintenance.*": {"queue": MAINTENANCE}}),
        "accept_content": ["json"],
        # For Flower.
        "task_track_started": True,
        "worker_send_task_events": True,
        "task_send_sent_event": True,
        # A broker that restarts, forgets or goes silent is noticed and waited for.
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_pool_acquire_timeout": 30,
        "broker_transport_options": {
            "socket_timeout": 5,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            "health_check_interval": 5,
            "retry_on_timeout": True,
            "visibility_timeout": 3600,
            "unacked_restore_throttle": 1,
        },
        "visibility_timeout": 3600,
        "result_backend_transport_options": {"visibility_timeout": 3600},
        "worker_hijack_root_logger": False,
        "beat_schedule": {name: entry(job) for name, job in schedule.jobs(chosen).items()},
        "beat_max_loop_interval": 60,
        "beat_enable_remote_control": True,
        # Without a file of its own: two beats on one host would contend for it.
        "beat_scheduler": "celery.beat:Scheduler",
        "timezone": "UTC",
        "imports": ("worker.tasks.runs", "worker.tasks.maintenance"),
    }


def entry(job: schedule.Job) -> dict[str, Any]:
    """A line of the schedule as beat reads it."""
    return {
        "task": SWEEP,
        "args": (job.name,),
        "schedule": job.when,
        "options": {"expires": job.expires},
    }


def to_every_host(name: str, args: Sequence[str] | None, *_: Any, **__: Any) -> dict[str, Queue] | None:
    """Where Celery is to send a message whose policy each host carries out by itself; None for any other."""
    if name != SWEEP:
        return None
    from worker.maintenance import policies  # the dispatcher sends no sweep, and does without its 17 MB

    each = {policy.name for policy in policies.policies(settings()) if policy.each_host}
    return {"queue": HOSTS} if each.intersection(args or ()) else None


class HostListener(bootsteps.ConsumerStep):  # type: ignore[misc]  # Celery has no types
    """
    Lets every maintenance worker take what each host is to do, besides what is in its queue.

    On a channel of its own, as Celery's remote control: that of the queue is not read while a sweep goes on, and a
    message that waited there would keep the worker looking at it without a pause.
    """

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def include_if(self, parent: Any) -> bool:
        """Whether it is a maintenance worker."""
        return MAINTENANCE in parent.app.amqp.queues.consume_from

    def start(self, parent: Any) -> None:
        """Begin to listen."""
        self.take = parent.create_task_handler()
        super().start(parent)

    def get_consumers(self, channel: Any) -> list[Consumer]:
        """The one who listens."""
        return [Consumer(channel, queues=[HOSTS], on_message=self.take, accept=["json"])]


class Reaper(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery has no types
    """Looks for dead children often, so that their parent gives their tasks back at once."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, parent: Any) -> None:
        """Begin to look; a pool of threads or none has nothing to look for."""
        look = getattr(parent.pool, "maintain_pool", None)
        if look is not None and getattr(parent, "hub", None) is not None:
            parent.hub.call_repeatedly(REAP_EVERY, look)


def created() -> Celery:
    """The app, or the end of the process with a sentence when its settings have faults."""
    try:
        made = Celery("codingit")
        made.conf.update(configuration(settings()))
    except WrongUse as fault:
        sys.exit(f"Error: {fault}")
    made.steps["consumer"].update((Reaper, HostListener))
    return made


app = created()
shutdown = Shutdown()
"""Made before the fork: what main announces, every child's run hears."""


@signals.setup_logging.connect  # type: ignore[untyped-decorator]  # Celery has no types
def _configure_logging(**_: Any) -> None:
    logs.configure(level=settings().log_level, form=settings().log_format)


@signals.celeryd_after_setup.connect  # type: ignore[untyped-decorator]  # as above
def _check_host(instance: Any, **_: Any) -> None:
    if RUNS not in instance.app.amqp.queues.consume_from:
        return
    try:
        required(settings().database_url, "DATABASE_URL")
        if settings().admin_database_url is None and settings().maintenance_database_url is None:
            log.warning(
                "settings.shared", reason="DATABASE_URL is the only address of the database, so it serves for all"
            )
        fitness.check(settings())
        workspace.sweep(settings().workspaces_dir)
    except (WrongUse, CommandFailed, OSError) as fault:
        sys.exit(f"Error: {fault}")


@signals.worker_init.connect  # type: ignore[untyped-decorator]  # as above
def _share_memory(**_: Any) -> None:
    # What main has loaded stays shared with its children: without this, their first collection copies all of it.
    gc.collect()
    gc.freeze()


@signals.beat_init.connect  # type: ignore[untyped-decorator]  # as above
def _catch_up(**_: Any) -> None:
    # What came due while no beat was there is asked for once; what was done is recorded as such, and not done again.
    for job in schedule.jobs(settings()).values():
        app.send_task(SWEEP, args=(job.name,), expires=job.expires)


@signals.worker_shutting_down.connect  # type: ignore[untyped-decorator]  # as above
def _announce_shutdown(**_: Any) -> None:
    shutdown.announce()


@signals.task_failure.connect  # type: ignore[untyped-decorator]  # as above
def _child_died(sender: Any, task_id: str, exception: BaseException, args: Any, **_: Any) -> None:
    if sender.name == "runs.execute" and isinstance(exception, WorkerLostError):
        guardian.give_back(settings(), task_id=int(args[0]), celery_id=task_id)


@signals.task_revoked.connect  # type: ignore[untyped-decorator]  # as above
def _child_killed(request: Any, *, signum: int | None, **_: Any) -> None:
    # With any gentler signal the child gives the task back by itself.
    if signum == signal.SIGKILL and request.task == "runs.execute":
        guardian.give_back(settings(), task_id=int(request.args[0]), celery_id=request.id)
