"""How the worker logs: one line an event, for a program or a person, also what other libraries say."""

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any, Literal

import pytest
import structlog

from worker import log

SECRET = "s3cret-word"

Lines = Callable[[], list[str]]


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """Leaves pytest's own logging, and structlog, as they were."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    root.handlers[:] = []  # `force` would close them
    yield
    root.handlers[:], root.level = before
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Lines:
    """What was logged since the last look, a string a line."""

    def said() -> list[str]:
        return capsys.readouterr().err.splitlines()

    return said


@pytest.fixture
def events(lines: Lines) -> Callable[[], list[dict[str, Any]]]:
    """The same as objects."""
    return lambda: [json.loads(line) for line in lines()]


def failing() -> None:
    password = SECRET  # noqa: F841 - a local variable, as a traceback may show it
    raise RuntimeError("first line\nsecond line")


def test_an_event_is_one_object_a_line_with_its_facts_as_keys(events: Callable[[], list[dict[str, Any]]]) -> None:
    log.configure(level="info", form="json")

    structlog.get_logger("a").info("run.finished", outcome="completed", seconds=1.5, said="two\nlines")

    (event,) = events()
    assert event.pop("timestamp").endswith("Z")
    assert event == {
        "event": "run.finished",
        "level": "info",
        "outcome": "completed",
        "seconds": 1.5,
        "said": "two\nlines",
    }


def test_what_is_bound_once_stands_in_every_event_also_in_those_of_others(
    events: Callable[[], list[dict[str, Any]]],
) -> None:
    log.configure(level="info", form="json")

    with structlog.contextvars.bound_contextvars(task_id=42):
        structlog.get_logger("a").info("task.claimed")
        logging.getLogger("celery.worker").warning("lost %s", "the broker")

    ours, theirs = events()
    assert ours["task_id"] == theirs["task_id"] == 42
    assert (theirs["event"], theirs["level"], theirs["logger"]) == ("lost the broker", "warning", "celery.worker")


def test_an_exception_stays_within_its_line(events: Callable[[], list[dict[str, Any]]]) -> None:
    log.configure(level="info", form="json")

    try:
        failing()
    except RuntimeError:
        structlog.get_logger("a").exception("run.failed")
        logging.getLogger("celery").exception("Task raised")

    ours, theirs = events()
    assert ours["exception"].endswith("RuntimeError: first line\nsecond line")
    assert theirs["exception"] == ours["exception"]


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_traceback_shows_no_values_of_variables(form: Literal["json", "console"], lines: Lines) -> None:
    log.configure(level="info", form=form)

    try:
        failing()
    except RuntimeError:
        structlog.get_logger("a").exception("run.failed")

    printed = "\n".join(lines()).replace("password = SECRET", "")
    assert "RuntimeError: first line" in printed
    assert SECRET not in printed


def test_lines_for_a_person_hold_an_event_and_its_facts(lines: Lines) -> None:
    log.configure(level="info", form="console")

    structlog.get_logger("a").warning("lease.recovered", task_id=42)
    logging.getLogger("celery.beat").info("beat: Starting...")

    ours, theirs = lines()
    assert "lease.recovered" in ours
    assert "task_id=42" in ours
    assert "beat: Starting..." in theirs
    assert "celery.beat" in theirs
    assert "\x1b" not in ours + theirs


def test_what_is_less_severe_than_the_level_is_dropped(lines: Lines) -> None:
    log.configure(level="warning", form="json")

    structlog.get_logger("a").info("tasks.offered")
    logging.getLogger("celery").info("mingle: all alone")

    assert lines() == []


def test_chatty_libraries_are_heard_from_a_warning_on_at_every_level(
    events: Callable[[], list[dict[str, Any]]],
) -> None:
    log.configure(level="debug", form="json")

    for name in ("alembic.runtime", "kombu.pidbox", "tornado.access"):
        logging.getLogger(name).info("chatter")
        logging.getLogger(name).warning("trouble")

    assert [event["event"] for event in events()] == ["trouble"] * 3


def test_what_json_does_not_know_is_logged_all_the_same(events: Callable[[], list[dict[str, Any]]]) -> None:
    log.configure(level="info", form="json")

    structlog.get_logger("a").info("odd.seen", thing={1, 2}, text="\ud800\0")

    (event,) = events()
    assert event["thing"] == "{1, 2}"


def test_configured_twice_an_event_is_still_logged_once(lines: Lines) -> None:
    log.configure(level="info", form="json")
    log.configure(level="info", form="json")

    structlog.get_logger("a").info("dispatcher.started")

    assert len(lines()) == 1
