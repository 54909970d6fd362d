"""Celery as it is, at our settings: a task that does nothing, and the program that sends it and waits for the end."""

import sys
from time import perf_counter

import redis
from celery import Celery

from worker.app import configuration
from worker.settings import required_redis, settings

DONE = "bench.done"
WAIT = 120

app = Celery("bare")
app.conf.update(configuration(settings()) | {"imports": (), "beat_schedule": {}})


@app.task(name="bench.nothing")  # type: ignore[untyped-decorator]  # Celery has no types
def nothing(number: int) -> str:
    """What a task costs that costs nothing; an argument and an answer, as ours have."""
    return f"nothing to do for {number}"


@app.task(name="bench.mark")  # type: ignore[untyped-decorator]  # as above
def mark() -> None:
    """Say that everything sent before has been taken, and all but what the other children hold is done."""
    broker().rpush(DONE, "done")


def broker() -> redis.Redis:
    """The broker, for what Celery has no word for."""
    return redis.Redis.from_url(required_redis(settings()), socket_timeout=None)


def sent_meanwhile(count: int) -> float:
    """Seconds from the first message to the end of the last task, while they are sent one after another."""
    began = perf_counter()
    send(count)
    return ended(since=began)


def sent_before(count: int) -> float:
    """Seconds from the moment that the worker may take messages; they were all sent before."""
    assert app.control.cancel_consumer("runs", reply=True)
    send(count)
    began = perf_counter()
    app.control.add_consumer("runs")
    return ended(since=began)


def send(count: int) -> None:
    """The messages, and the mark behind them."""
    for number in range(count):
        app.send_task("bench.nothing", args=(number,), queue="runs")
    app.send_task("bench.mark", queue="runs")


def ended(*, since: float) -> float:
    """Seconds until the mark was reached."""
    assert broker().blpop([DONE], timeout=WAIT)
    return perf_counter() - since


if __name__ == "__main__":
    way = {"sent-meanwhile": sent_meanwhile, "sent-before": sent_before}[sys.argv[1]]
    print(way(int(sys.argv[2])))
