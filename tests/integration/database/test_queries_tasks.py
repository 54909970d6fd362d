"""Tasks in a user's name: the queries of the command line answer the app's users too, each with their own."""

import re
from typing import Any
from uuid import UUID

import pytest
from psycopg.types.json import Jsonb
from sqlalchemy.orm import Session

from db.models import TaskStatus
from db.queries import tasks
from tests.integration.database.conftest import As
from tests.support.rows import Rows

ENTRY = {"id": "x", "timestamp": "2026-01-01T00:00:00.000Z", "type": "info", "message": "hello"}


def test_a_task_is_created_with_its_first_entry(session: Session, me: UUID) -> None:
    made = tasks.create(session, "Do it", user_id=me, agent="claude", repo_url="https://example.org/a", branch="b")
    (entry,) = tasks.entries(session, made)

    assert (seen := tasks.get(session, made))
    assert (seen.user_id, seen.status, seen.progress, seen.prompt) == (me, "pending", 0, "Do it")
    assert (seen.repo_url, seen.branch, seen.last_message) == ("https://example.org/a", "b", tasks.CREATED)
    assert (entry.type, entry.message, len(entry.id or "")) == ("info", tasks.CREATED, 21)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", entry.timestamp or "")


def test_the_first_entry_is_such_as_the_protocol_makes(rows: Rows, as_: As, me: UUID) -> None:
    with as_(me) as session:
        made = tasks.create(session, "Do it", user_id=me, agent="claude")
    (protocols,) = rows.execute("SELECT worker.entry('info', %s) AS entry", tasks.CREATED)
    (ours,) = rows.see(made)["logs"]

    assert ours.keys() == protocols["entry"].keys()
    assert [len(ours[key]) for key in ours] == [len(protocols["entry"][key]) for key in ours]


@pytest.mark.parametrize("logs", [[ENTRY], '[{"message": "hello"}]'], ids=["as an array", "as a text"])
def test_logs_are_read_whichever_way_they_are_stored(session: Session, rows: Rows, me: UUID, logs: Any) -> None:
    made = rows.task(user=me, logs=Jsonb(logs))

    assert [entry.message for entry in tasks.entries(session, made)] == ["hello"]
    assert (seen := tasks.get(session, made))
    assert seen.last_message == "hello"


def test_tasks_are_listed_newest_first_in_pages_and_counted_by_status(session: Session, rows: Rows, me: UUID) -> None:
    made = [rows.task(user=me, status="completed" if n % 2 else "pending") for n in range(5)]
    first = tasks.newest(session, 3, user_id=me)
    rest = tasks.newest(session, 3, user_id=me, before=first[-1].id)

    assert [seen.id for seen in (*first, *rest)] == made[::-1]
    assert tasks.count(session, user_id=me) == {"pending": 3, "completed": 2}
    assert tasks.delete_in(session, [TaskStatus.COMPLETED], user_id=me) == 2
    assert tasks.count(session, user_id=me) == {"pending": 3}


def test_a_stranger_neither_sees_nor_deletes_tasks(as_: As, rows: Rows, me: UUID, stranger: UUID) -> None:
    made = rows.task(user=me)
    with as_(stranger) as session:
        assert tasks.get(session, made) is None
        assert tasks.entries(session, made) == []
        assert tasks.newest(session, 9) == []
        assert tasks.count(session) == {}
        assert tasks.delete_in(session, list(TaskStatus)) == 0
        assert tasks.delete_these(session, [made]) == []

    assert rows.status(made) == "pending"
