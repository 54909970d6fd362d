"""Calls that wait for a lock: what they find afterwards, and that none waits for ever."""

import pytest
from psycopg import sql

from db.url import DatabaseUrl
from tests.integration.queue_proof import scenarios
from tests.integration.queue_proof.scenarios import CHANGES, WAITERS, WRITES
from tests.support.rows import Rows
from tests.support.waiting import callers


def test_a_claim_that_waited_for_the_limit_counts_anew(shared_worker_url: DatabaseUrl, shared_rows: Rows) -> None:
    scenarios.a_claim_that_waited_for_the_limit_counts_anew(shared_worker_url, shared_rows)


def test_the_limit_is_exact_whatever_isolation_the_database_has_by_default(
    owner_url: DatabaseUrl, worker_url: DatabaseUrl, rows: Rows
) -> None:
    rows.connection.execute(
        sql.SQL("ALTER DATABASE {} SET default_transaction_isolation = 'repeatable read'").format(
            sql.Identifier(rows.connection.info.dbname)
        )
    )
    scenarios.a_claim_that_waited_for_the_limit_counts_anew(worker_url, rows)


def test_recovery_passes_over_a_row_in_its_owners_hands(shared_worker_url: DatabaseUrl, shared_rows: Rows) -> None:
    scenarios.recovery_passes_over_a_row_in_its_owners_hands(shared_worker_url, shared_rows)


def test_a_lease_renewed_during_recovery_is_kept(
    shared_worker_url: DatabaseUrl, shared_url: DatabaseUrl, shared_rows: Rows
) -> None:
    scenarios.a_lease_renewed_during_recovery_is_kept(shared_worker_url, shared_url, shared_rows)


@pytest.mark.parametrize("second", WAITERS)
@pytest.mark.parametrize("first", WAITERS)
def test_two_calls_behind_an_owner_both_get_through(
    shared_worker_url: DatabaseUrl, shared_rows: Rows, first: str, second: str
) -> None:
    scenarios.two_calls_behind_an_owner_both_get_through(shared_worker_url, shared_rows, first=first, second=second)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("write", WRITES)
def test_a_write_that_waited_for_the_owner_finds_what_the_owner_did(
    shared_worker_url: DatabaseUrl, shared_rows: Rows, write: str, change: str
) -> None:
    claim = scenarios.running(shared_worker_url, shared_rows)
    statement, refusal = CHANGES[change]
    with callers(shared_worker_url, 1) as (run,):
        with shared_rows.connection.transaction():
            shared_rows.connection.execute(statement.encode(), [claim.task_id])
            answer = run.start_and_wait(lambda database: WRITES[write](database, claim), shared_rows)
        told = answer.result(timeout=10)

    assert (told if told in {"taken", "gone"} else None) == refusal
