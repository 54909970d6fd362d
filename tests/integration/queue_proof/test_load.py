"""Everybody at once on the same few rows: nobody waits for somebody who waits for them."""

import os

import pytest

from db.engine import Database
from db.url import DatabaseUrl
from tests.integration.queue.conftest import recover
from tests.integration.queue_proof.invariants import LEFT_BEHIND, check_runs_and_leases, see
from tests.integration.queue_proof.load import everybody_at_once
from tests.support.rows import Rows

SECONDS = float(os.environ.get("PROOF_SECONDS", "20"))
"""Every order of two calls that wait for one row is tried in test_waiting.py; this is for what nobody thought of, so
that CI can do with less than a minute."""
SEED = int(os.environ.get("PROOF_SEED", "1"))
EVERYTHING = {
    "append",
    "finish",
    "give_back",
    "refusal",
    "offer",
    "recover",
    "cancel",
    "retry",
    "edit",
    "delete",
    "hour",
}


@pytest.mark.timeout(SECONDS + 60)
def test_nothing_deadlocks_and_nothing_fails_under_load(
    owner_url: DatabaseUrl, worker_url: DatabaseUrl, rows: Rows, database: Database
) -> None:
    done = everybody_at_once(owner_url, worker_url, seconds=SECONDS, seed=SEED)

    assert min(done[name] for name in EVERYTHING) >= SECONDS, done
    assert done.total() >= 50 * SECONDS, done
    deadlocks = rows.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    assert deadlocks == [{"deadlocks": 0}]
    check_runs_and_leases(see(rows))
    recover(database)
    assert rows.execute(LEFT_BEHIND) == []
