"""Whole runs, one after another, in a process as a worker's child is: prints how many seconds the last of them took."""

import logging
import os
import shutil
import sys
from time import perf_counter

import structlog

from db.engine import Database
from db.queries import queue
from worker.run import execution
from worker.run.shutdown import Notice
from worker.settings import required, settings


def main(kept: str, *tasks: str) -> None:
    """Run these tasks, with what was fetched before or, if it is not `kept`, without; each is to end as completed."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    told, _ = os.pipe()
    with Database(required(settings().database_url, "DATABASE_URL")) as database:
        for task in tasks:
            if kept != "kept":
                shutil.rmtree(settings().mirrors_dir, ignore_errors=True)
            took = seconds(database, int(task), Notice(told))
    print(took)


def seconds(database: Database, task: int, notice: Notice) -> float:
    """How long this task takes from its claim to its end."""
    began = perf_counter()
    chosen = settings()
    claim = queue.claim(
        database,
        task,
        holder="bench",
        celery_id=None,
        ttl=chosen.lease_ttl,
        per_user=chosen.max_running_per_user,
        prompt_limit=chosen.prompt_limit,
    )
    assert claim
    ended = execution.run(claim, database=database, settings=chosen, notice=notice)
    assert ended.startswith("Completed"), ended
    return perf_counter() - began


if __name__ == "__main__":
    main(*sys.argv[1:])
