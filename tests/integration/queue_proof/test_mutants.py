"""Tests of the tests: each fault that is put into the protocol is found, by histories or by its own scenario."""

import pytest
from hypothesis import Phase

from db.url import DatabaseUrl
from tests.integration.queue_proof.bench import Bench
from tests.integration.queue_proof.histories import make_histories
from tests.integration.queue_proof.mutants import MUTANTS, Mutant
from tests.support.rows import Rows

ENOUGH = range(1, 1000)
"""Seeds of histories; the first that finds the fault ends it."""
FOUND_BY_HISTORIES = [mutant for mutant in MUTANTS if mutant.found_by is None]
FOUND_BY_A_SCENARIO = [mutant for mutant in MUTANTS if mutant.found_by is not None]


@pytest.mark.parametrize("mutant", FOUND_BY_HISTORIES, ids=lambda mutant: mutant.name)
def test_histories_find_the_fault(mutant: Mutant, at_bench: Bench, shared_url: DatabaseUrl) -> None:
    mutant.install(shared_url)

    with pytest.raises(AssertionError):
        make_histories(at_bench, seeds=ENOUGH, phases=(Phase.generate,))


@pytest.mark.parametrize("mutant", FOUND_BY_A_SCENARIO, ids=lambda mutant: mutant.name)
def test_a_scenario_finds_the_fault(
    mutant: Mutant, shared_url: DatabaseUrl, shared_worker_url: DatabaseUrl, shared_rows: Rows
) -> None:
    assert mutant.found_by
    mutant.install(shared_url)

    with pytest.raises(AssertionError):
        mutant.found_by(shared_worker_url, shared_url, shared_rows)
