"""The warning before a run's time is over."""

from datetime import timedelta
from time import monotonic

import pytest

from worker.run.limits import Deadline, Foretold


def left(seconds: float, *, of: timedelta) -> Foretold:
    """The warning of a deadline of which so much is left."""
    return Foretold(Deadline(at=monotonic() + seconds, wall=of))


@pytest.mark.parametrize(
    ("wall", "words"),
    [
        (timedelta(hours=1), "1 hour, of which no more than 1 minute is left"),
        (timedelta(seconds=90), "90 seconds, of which no more than 45 seconds is left"),
    ],
)
def test_it_comes_once_a_minute_before_or_at_half_time(wall: timedelta, words: str) -> None:
    ahead = min(60, wall.total_seconds() / 2)
    near = left(ahead - 0.1, of=wall)

    assert left(ahead + 20, of=wall).sentence() is None
    assert words in str(near.sentence())
    assert near.sentence() is None
