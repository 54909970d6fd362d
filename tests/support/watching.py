"""The plans of whatever a connection of SQLAlchemy's runs, in whosever name."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
from sqlalchemy import Connection, text

from tests.support.plans import SETTINGS, Plans, nodes_of


@contextmanager
def watching(connection: Connection) -> Iterator[Callable[[], Plans]]:
    """What is yielded answers the plans of all that ran since it was last called. Needs a superuser's connection."""
    reports: list[Mapping[str, Any]] = []

    def hear(notice: psycopg.errors.Diagnostic) -> None:
        _, found, plan = (notice.message_primary or "").partition("plan:\n")
        if found:
            reports.append(json.loads(plan))

    def plans() -> Plans:
        heard, pages = reports.copy(), 0
        reports.clear()
        for report in heard:
            pages += int(report["Plan"]["Shared Hit Blocks"]) + int(report["Plan"]["Shared Read Blocks"])
        return Plans(tuple(node for each in heard for node in nodes_of(each["Query Text"], each["Plan"])), pages)

    connection.execute(text("LOAD 'auto_explain'"))
    for name, value in SETTINGS.items():
        if name != "session_preload_libraries":
            connection.execute(text("SELECT set_config(:name, :value, false)"), {"name": name, "value": value})
    connection.commit()
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    driver.add_notice_handler(hear)
    reports.clear()
    yield plans
    driver.remove_notice_handler(hear)
