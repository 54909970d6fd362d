"""Whether an agent is done: its last event and its exit code must agree."""

from datetime import timedelta

from worker.agents import Verdict
from worker.errors import Cause, RunInterrupted, TaskFailed
from worker.sandbox.command import Completed

BACKOFF, LONGEST_BACKOFF = timedelta(seconds=15), timedelta(minutes=15)
COMPLAINT = 300
"""How many characters are told of what a program complained about."""


def judged(verdict: Verdict | None, completed: Completed, *, backoffs: int) -> str:
    """
    The agent's answer, if it is done.

    Raises:
        RunInterrupted: its provider was overloaded; the more `backoffs` there were, the later it is tried again.
        TaskFailed: it failed, with a sentence for the task's owner, which holds no key.
    """
    if verdict is None:
        raise TaskFailed(f"The agent ended without a result (exit code {completed.returncode}){complaint(completed)}")
    if verdict.overloaded:
        raise RunInterrupted(Cause.OVERLOADED, delay=min(BACKOFF * 2 ** min(backoffs, 10), LONGEST_BACKOFF))
    if verdict.denied:
        raise TaskFailed(
            "The model's provider refused the key. Ask whoever runs the worker to renew it, "
            "or to get it the right to the model that was selected."
        )
    if not verdict.ok:
        raise TaskFailed(f"The agent gave up: {verdict.answer}" if verdict.answer else "The agent gave up.")
    if completed.returncode != 0:
        raise TaskFailed(f"The agent said that it was done, and ended with exit code {completed.returncode}.")
    if verdict.turns == 0:
        raise TaskFailed("The agent ended without asking its model anything.")
    return verdict.answer or "Done."


def complaint(completed: Completed) -> str:
    """The last line that a program printed to stderr, as the end of a sentence."""
    lines = completed.stderr.decode(errors="replace").strip().splitlines()
    return f": {lines[-1][:COMPLAINT]}" if lines else "."
