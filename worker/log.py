"""How the worker logs: structlog over the standard library, one line an event, facts as keys."""

import logging
import sys
from typing import Literal

import structlog
from structlog.dev import plain_traceback
from structlog.typing import Processor

SHARED: tuple[Processor, ...] = (
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
)


def configure(*, level: str, form: Literal["console", "json"]) -> None:
    """Send our events and everybody else's through one formatter to stderr; called once a process."""
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *SHARED,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter(form))
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    for chatty in ("alembic", "kombu", "amqp", "celery.utils.functional", "tornado", "httpx"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, getattr(logging, level.upper())))


def formatter(form: Literal["console", "json"]) -> structlog.stdlib.ProcessorFormatter:
    """
    One object a line, or lines for a person; what others log carries the name of its logger.

    Tracebacks are plain: the ones with local variables, structlog's default, show passwords.
    """
    shape: list[Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if form == "json"
        else [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain_traceback)]
    )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*SHARED, structlog.stdlib.add_logger_name],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *shape],
    )
