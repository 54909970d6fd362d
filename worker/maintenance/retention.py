"""What a retention policy is: a name, a reason, how gently it goes about it, and the batch that does the work."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol, runtime_checkable

from sqlalchemy.orm import Session

from db.queries.maintenance import Expired, Removed, Right


class Refused(Exception):
    """A batch may not go on until somebody mends something; the message says what. A sweep ends with it, reported."""


class Batch(Protocol):
    """
    The one thing in which policies differ: what is expired, and how some of it is removed.

    A batch that talks to a server over the network commits first: no transaction is open meanwhile. One that needs
    no database leaves the session alone, and none is then asked for.
    """

    @property
    def rights(self) -> Sequence[Right]:
        """What the database's role must be allowed to do; empty where no database is needed."""

    def remove(self, session: Session, size: int, after: Any) -> Removed:
        """
        Remove up to `size` of what is expired beyond the cursor `after`, which is None at first.

        The caller commits. Whether a thing is expired is checked again by the statement that deletes it.

        Raises:
            Refused: it may not be done, and no other batch of this sweep may be.
        """

    def expired(self, session: Session) -> Expired:
        """What there is to remove; changes nothing."""


@runtime_checkable
class Passing(Protocol):
    """A batch whose things have rows hanging on them that others may hold, and which can go on beyond such a thing."""

    def pass_over(self, session: Session, after: Any) -> Removed:
        """Remove nothing, and answer the place of the first thing beyond `after`, told as skipped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionPolicy:
    """What is not kept for ever, and why."""

    name: str
    why: str
    batch: Batch | None
    """None where the settings switch it off."""
    kept: str
    """How long, as people say it; or how to switch it on."""
    transaction: timedelta = timedelta(milliseconds=100)
    """How long one transaction may take: batches are made smaller or larger for it."""
    first: int = 100
    """The size of the first batch."""
    largest: int = 10_000
    """No batch is larger, however quick."""
    pause: timedelta = timedelta(milliseconds=50)
    """Between two batches, so that live traffic has its turn."""
    budget: timedelta = timedelta(minutes=10)
    """After so long a sweep stops; the next one goes on from there."""
    each_host: bool = False
    """Whether every host does it for itself, as what is on its disk."""
