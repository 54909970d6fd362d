"""Machine-made histories of the queue: whatever happens in whatever order, what must hold holds after each step."""

import os

import pytest

from tests.integration.queue_proof.bench import Bench
from tests.integration.queue_proof.histories import make_histories

COUNT = int(os.environ.get("PROOF_SEEDS", "15"))
SEED = int(os.environ.get("PROOF_SEED", "1"))
"""The same histories each time; others, or more of them, when these are set."""


@pytest.mark.timeout(2 * COUNT + 600)  # less than a second each; a failure is made as short as it can be
def test_every_history_keeps_what_the_queue_promises(at_bench: Bench) -> None:
    make_histories(at_bench, seeds=range(SEED, SEED + COUNT))
