"""A connection's patience: no server can make its client wait for ever, and none is cut off too soon."""

import pytest

from db.engine import ANSWER_WITHIN, Database
from db.errors import DatabaseBusy, DatabaseUnfit, DatabaseUnreachable
from tests.support.rows import Rows


def test_an_answer_is_waited_for_as_long_as_the_patience_lasts(database: Database) -> None:
    with database.waiting(lambda: 0.3):
        with pytest.raises(DatabaseUnreachable, match="no answer"):
            database.call("SELECT pg_sleep(20)")
        assert database.call("SELECT 1 AS one, pg_sleep(0.1)::text AS slept")[0]["one"] == 1

    assert database.patience() == ANSWER_WITHIN


def test_patience_that_shortens_meanwhile_shortens_the_call_under_way(database: Database) -> None:
    asked: list[float] = []

    def patience() -> float:
        asked.append(0.0)
        return 60.0 if len(asked) < 4 else 0.0

    with database.waiting(patience), pytest.raises(DatabaseUnreachable):
        database.call("SELECT pg_sleep(20)")

    assert len(asked) >= 4


def test_a_call_that_waited_for_a_lock_took_no_effect_and_leaves_the_connection_be(database: Database) -> None:
    connection = database.connection()
    connection.execute("SET statement_timeout = 50")
    with pytest.raises(DatabaseBusy):
        database.call("SELECT pg_sleep(2)")

    assert database.connection() is connection


def test_what_was_not_migrated_is_told_apart(database: Database) -> None:
    with pytest.raises(DatabaseUnfit):
        database.call("SELECT worker.no_such_function()")
    with pytest.raises(DatabaseUnfit):
        database.call("SELECT FROM public.tasks")


def test_a_connection_that_was_cut_while_idle_is_replaced_before_the_next_call(database: Database, rows: Rows) -> None:
    """A claim whose answer is lost costs its task a minute; a restart of the database must not cost that."""
    first = database.call("SELECT pg_backend_pid() AS pid")[0]["pid"]
    rows.execute("SELECT pg_terminate_backend(%s, 5000)", first)

    assert database.call("SELECT pg_backend_pid() AS pid")[0]["pid"] != first
