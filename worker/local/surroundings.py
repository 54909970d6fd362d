"""Where the processes of `up` answer, and what they are told."""

from collections.abc import Mapping
from pathlib import Path

from worker.local import readiness, state
from worker.local.access import FLOWER_USER, Access
from worker.local.demo import Remote
from worker.local.servers import Addresses
from worker.local.summary import Whereabouts
from worker.settings import Settings, inherited, settings


def answering(chosen: Settings) -> tuple[str, str]:
    """
    Where health and Flower will answer; an address that nobody chose moves to a free port if its own is taken.

    Raises:
        CommandFailed: an address that somebody chose is taken.
    """
    named = chosen.model_fields_set
    health, flower = (
        readiness.address(getattr(chosen, name), variable=f"CODINGIT_{name.upper()}", configured=name in named)
        for name in ("health_address", "flower_address")
    )
    return health, flower


def whereabouts(
    folder: Path, own: Path, chosen: Settings, *, access: Access, answering: tuple[str, str], remote: Remote | None
) -> Whereabouts:
    """Where everything will be; makes the folders that are not there yet."""
    health, flower = answering
    auth = chosen.flower_auth.get_secret_value() if chosen.flower_auth else f"{FLOWER_USER}:{access.flower_password}"
    return Whereabouts(
        folder=folder,
        by_default=folder == state.default_folder() and not (chosen.admin_database_url or chosen.database_url),
        logs=private(own / "logs"),
        state=private(own / "state"),
        health=health,
        flower=flower,
        flower_auth=auth,
        repository=remote.url if remote else None,
    )


def private(folder: Path) -> Path:
    """A folder that is there and that only we may enter."""
    with state.plainly():
        folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def environment(
    addresses: Addresses, access: Access, *, where: Whereabouts, remote: Remote | None, concurrency: int | None
) -> Mapping[str, str]:
    """What the processes are told: ours where we run it, else what this process was told."""
    worker_url = access.worker_url(addresses.database_url).libpq
    values = {
        "DATABASE_URL": worker_url,
        "LISTEN_DATABASE_URL": worker_url,
        "MAINTENANCE_DATABASE_URL": addresses.database_url.libpq,
        "REDIS_URL": addresses.redis_url,
        "CODINGIT_STATE_DIR": str(where.state),
        "CODINGIT_HEALTH_ADDRESS": where.health,
        "CODINGIT_FLOWER_ADDRESS": where.flower,
        "CODINGIT_FLOWER_AUTH": where.flower_auth,
        # As root Celery warns at length of what is a decision here.
        "PYTHONWARNINGS": "ignore:You're running the worker with superuser privileges",
    }
    if remote:
        values |= remote.env(settings().allowed_hosts)
    if concurrency:
        values["CODINGIT_CONCURRENCY"] = str(concurrency)
    hidden = ("ADMIN_DATABASE_URL", *(("CODINGIT_CREDENTIALS_HOOK",) if remote else ()))
    return inherited(values, without=hidden)
