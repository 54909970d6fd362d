"""`codingit-worker dispatch`: ring for pending tasks, recover lapsed leases, answer /healthz and /readyz."""

from typing import Annotated

import typer


def dispatch(*, json: Annotated[bool, typer.Option("--json", help="Log one JSON object a line.")] = False) -> None:
    """Ring for pending tasks and recover lapsed leases, until SIGTERM or Ctrl-C."""
    import structlog

    from worker import log
    from worker.app import app
    from worker.dispatcher import Dispatcher
    from worker.monitoring.health import Pulse, served
    from worker.settings import settings

    log.configure(level=settings().log_level, form="json" if json else settings().log_format)
    pulse = Pulse()
    with served(pulse, settings().health_address) as address:
        structlog.get_logger(__name__).info("health.served", address=address)
        Dispatcher(settings(), app, pulse).run()
