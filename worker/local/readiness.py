"""Whether what `up` started is of use yet, and where it answers."""

import http.client
import socket
import time
from collections.abc import Callable

from celery import Celery
from celery.utils.nodenames import host_format

from worker.errors import CommandFailed
from worker.local.child import free_port
from worker.local.processes import NODES, Fleet

READY_WITHIN = 60.0
LOOK_EVERY = 0.05
ANSWER_WITHIN = 0.5


def address(wanted: str, *, variable: str, configured: bool) -> str:
    """
    Where a process shall answer: as it was wanted, or where nobody chose, on a free port if that one is taken.

    Raises:
        CommandFailed: the address that somebody chose is taken.
    """
    host, _, port = wanted.rpartition(":")
    if port.isdigit() and int(port) and is_free(host, int(port)):
        return wanted
    if configured and port != "0":
        raise CommandFailed(f"{variable} is {wanted}, where nothing can listen: the port is in use. Choose another.")
    return f"{host}:{free_port()}"


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now."""
    try:
        with socket.create_server((host.strip("[]"), port)):
            return True
    except OSError:
        return False


def wait(fleet: Fleet, *, health: str, flower: str, redis_url: str) -> None:
    """
    Return once tasks are offered and taken, and Flower sees it.

    Raises:
        CommandFailed: a process ended, or it took too long.
    """
    nodes = [host_format(node) for node in NODES]
    app = Celery(broker=redis_url, set_as_current=False)
    awaited: dict[str, Callable[[], bool]] = {
        "the dispatcher": lambda: answers(health, "/readyz"),
        "Flower": lambda: answers(flower, "/healthcheck"),
        "the workers": lambda: len(app.control.ping(nodes, timeout=ANSWER_WITHIN)) == len(nodes),
    }
    deadline = time.monotonic() + READY_WITHIN
    while awaited:
        fleet.all_alive()
        awaited = {name: ready for name, ready in awaited.items() if not ready()}
        if awaited and time.monotonic() > deadline:
            raise CommandFailed(
                f"Not ready after {READY_WITHIN:.0f} s: {', '.join(awaited)}. The logs are in {fleet.logs}"
            )
        time.sleep(LOOK_EVERY)
    app.close()


def answers(where: str, path: str) -> bool:
    """Whether that path is answered with 200."""
    host, _, port = where.rpartition(":")
    connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=1)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
