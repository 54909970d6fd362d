"""The protocol's functions with a test's usual arguments."""

from collections.abc import Callable, Sequence
from datetime import timedelta

import pytest

from db.engine import Database
from db.queries import queue

TTL = timedelta(seconds=30)
TIMEOUT = timedelta(seconds=60)


@pytest.fixture
def claim(database: Database) -> Callable[..., queue.Claim]:
    """Claim a task that must be there to be had."""

    def claim(
        task_id: int, *, holder: str = "worker@test 1", per_user: int = 5, celery_id: str = "celery-1"
    ) -> queue.Claim:
        claimed = try_claim(database, task_id, holder=holder, per_user=per_user, celery_id=celery_id)
        assert claimed is not None
        return claimed

    return claim


def try_claim(
    database: Database, task_id: int, *, holder: str = "worker@test 1", per_user: int = 5, celery_id: str = "celery-1"
) -> queue.Claim | None:
    return queue.claim(
        database, task_id, holder=holder, celery_id=celery_id, ttl=TTL, per_user=per_user, prompt_limit=1000
    )


def offer(database: Database, room: int = 100, *, per_user: int = 5, waiting: Sequence[int] = ()) -> list[int]:
    return queue.offer(database, room, per_user=per_user, timeout=TIMEOUT, waiting=waiting)


def finish(database: Database, claim: queue.Claim, *, outcome: str = "completed") -> str:
    return queue.finish(
        database,
        claim.task_id,
        fence=claim.fence,
        outcome=outcome,  # type: ignore[arg-type]  # tests pass wrong ones on purpose
        entries=[entry("done")],
        error=None,
        usage={},
    )


def append(
    database: Database, claim: queue.Claim, *messages: str, flush: int = 1, progress: int = 20
) -> queue.Appended:
    entries = [entry(message) for message in messages]
    return queue.append(database, claim.task_id, fence=claim.fence, flush=flush, entries=entries, progress=progress)


def entry(message: str) -> dict[str, str]:
    return {"id": "x" * 21, "timestamp": "2026-01-01T00:00:00.000Z", "type": "info", "message": message}


def recover(database: Database) -> list[queue.Recovered]:
    """Recover as a dispatcher does that has watched for long."""
    now = database.call("SELECT now() AS now")[0]["now"]
    found = queue.recover(database, max_crashes=3, seen=now, quiet=timedelta(seconds=10))
    assert found.awake
    return list(found.recovered)
