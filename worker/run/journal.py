"""What a task's owner sees of a run while it goes on: entries and progress, written through the lease."""

from time import monotonic

from worker.run.lease import Lease
from worker.run.transcript import Batch, EntryType, Transcript

AGENT_BEGINS, AGENT_ENDS = 40, 85
EAGERNESS = 0.08
"""The share of the way that is left which each event of an agent goes: it is not known how many there will be."""


class Journal:
    """Joins the transcript, which decides when to write, to the lease, which may."""

    def __init__(self, transcript: Transcript, lease: Lease) -> None:
        self.transcript = transcript
        self._lease = lease
        self._progress = 10.0
        self.entries = 0
        """How many were added."""

    def step(self, progress: int, message: str) -> None:
        """The run has come so far, in percent."""
        self._progress = max(self._progress, progress)
        self.say("info", message)

    def say(self, kind: EntryType, message: str) -> None:
        """An entry of the run's own."""
        self.entries += 1
        self.transcript.add(kind, message)

    def heard(self, kind: EntryType, message: str) -> None:
        """An event of the agent: an entry, and a small step."""
        begun = max(self._progress, AGENT_BEGINS)
        self._progress = begun + max(0.0, AGENT_ENDS - begun) * EAGERNESS
        self.say(kind, message)

    def write_if_due(self) -> None:
        """
        Write what is worth its cost by now; what gets no answer is written later, once.

        Raises:
            LeaseLost: nothing may be written.
        """
        if self.transcript.due(monotonic()) and (batch := self.transcript.batch(monotonic())):
            stored = self._lease.append(batch, progress=int(self._progress))
            if stored is not None:
                self.transcript.written(batch, stored=stored)

    def last(self, kind: EntryType, message: str) -> Batch | None:
        """Add the closing entry, and answer the batch to end the task with."""
        self.say(kind, message)
        return self.rest()

    def rest(self) -> Batch | None:
        """
        All that is not written yet, for the write that ends the attempt.

        A batch whose outcome is unknown is settled first: within the end, its repeat would not be known as one.

        Raises:
            LeaseLost: nothing may be written.
        """
        if batch := self.transcript.unsettled:
            self.transcript.written(batch, stored=self._lease.must_append(batch, progress=int(self._progress)))
        return self.transcript.batch(monotonic())
