"""What a run may use of its model: its own caps, and no more than its user has left for the day."""

from db.queries.queue import Spent
from worker.errors import TaskFailed
from worker.gateway.config import Caps
from worker.settings import Settings

RENEWED = "It is renewed at 00:00 UTC."


def caps_for(spent: Spent, *, settings: Settings) -> Caps:
    """
    The caps of a run that is about to begin, of a user whose runs have `spent` so much today.

    Runs that go on at the same time each have what was left when they began.

    Raises:
        TaskFailed: nothing is left of the user's day.
    """
    tokens, cost = settings.user_daily_tokens, settings.user_daily_cost
    if tokens is not None and spent.tokens >= tokens:
        raise TaskFailed(f"Your tasks have used their {tokens:,} tokens for today. {RENEWED}")
    if cost is not None and spent.cost >= cost:
        raise TaskFailed(f"Your tasks have used their {cost:.2f} US dollars for today. {RENEWED}")
    return Caps(
        requests=settings.run_requests,
        tokens=settings.run_tokens if tokens is None else min(settings.run_tokens, tokens - spent.tokens),
        cost=least(settings.run_cost, None if cost is None else cost - spent.cost),
    )


def least(*limits: float | None) -> float | None:
    """The smallest limit, where None is none."""
    return min((limit for limit in limits if limit is not None), default=None)
