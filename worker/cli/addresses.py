"""Which database a command talks to: the one of the settings, else the one that runs for this checkout."""

from typing import TYPE_CHECKING

import typer

from worker.errors import WrongUse

if TYPE_CHECKING:
    from db.url import DatabaseUrl
    from worker.settings import Settings


def owners_database(chosen: "Settings | None" = None) -> "DatabaseUrl":
    """
    The database as its owner: ADMIN_DATABASE_URL, else DATABASE_URL, else the local servers'.

    Raises:
        WrongUse: there is none.
    """
    from worker.local import state
    from worker.settings import settings

    chosen = chosen or settings()
    found = configured(chosen)
    if found:
        if chosen.admin_database_url is None:
            typer.echo("ADMIN_DATABASE_URL is not set, so DATABASE_URL serves for this as well.", err=True)
        return found
    running = state.running(state.default_folder())
    if running and running.addresses:
        return running.addresses.database_url
    raise WrongUse(
        "There is no database to talk to. Set ADMIN_DATABASE_URL, or start one for this checkout: "
        "make run, or codingit-worker local start."
    )


def maintenance_database() -> "DatabaseUrl":
    """
    The database as the role that cleans up: MAINTENANCE_DATABASE_URL, else as its owner.

    Raises:
        WrongUse: there is none.
    """
    from worker.settings import settings

    return settings().maintenance_database_url or owners_database()


def configured(chosen: "Settings | None" = None) -> "DatabaseUrl | None":
    """The address that the settings name; None where the local servers are meant."""
    from worker.settings import settings

    chosen = chosen or settings()
    return chosen.admin_database_url or chosen.database_url
