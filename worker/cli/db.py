"""`codingit-worker db`: migrations, and how a database differs from what this release needs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from textwrap import indent
from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli.addresses import owners_database
from worker.cli.output import Json, report
from worker.errors import CommandFailed, WrongUse

if TYPE_CHECKING:
    from db.declared.finding import Finding
    from db.declared.harden import Outcome

KINDS = {
    "version": "Version",
    "protocol": "The queue's functions",
    "worker": "The queue's own",
    "policies": "Row level security: which rows users reach",
    "rights": "Rights: what users may do at all",
    "function": "Functions",
    "view": "Views",
    "trigger": "Triggers: the guard of running tasks, and times of change",
    "table": "Tables",
    "column": "Columns",
    "constraint": "Constraints",
    "index": "Indexes",
    "needless": "Indexes that repeat others",
}
"""What names of findings begin with, in the order in which people are told."""

app = typer.Typer(no_args_is_help=True, help="Bring the database to this release's version, and check it.")


@app.command()
def upgrade(*, json: Json = False) -> None:
    """Migrate to this release's version; safe to repeat, and to run twice at once."""
    from db import migrate

    with explained():
        version = migrate.upgrade(owners_database())
        missing = migrate.left_out(owners_database())
    words = "\n".join([f"The database is at version {version}.{next_step()}", *missing])
    report({"version": version, "left_out": missing}, words, json=json)


def next_step() -> str:
    """What is left to do after a first upgrade, while no worker has an address to log in with."""
    from worker.settings import settings

    if settings().database_url:
        return ""
    return (
        "\nRole task_worker has no password until you set one (in psql, as the owner: \\password task_worker). "
        "Then set DATABASE_URL to the address of the database with that role."
    )


@app.command()
def downgrade(
    revision: Annotated[str, typer.Argument(help="A version, or `base` to remove all that we made.")],
    *,
    json: Json = False,
) -> None:
    """Go back to an older version; removes what we made and nothing else."""
    from db import migrate

    with explained():
        migrate.downgrade(owners_database(), revision)
    report({"version": revision}, f"The database is at version {revision}.", json=json)


@app.command()
def current(*, json: Json = False) -> None:
    """The version that the database is at."""
    from db import migrate

    with explained():
        version = migrate.current(owners_database())
    words = f"{version or 'none'} (this release needs {migrate.newest()})"
    report({"version": version, "needed": migrate.newest()}, words, json=json)


@app.command()
def check(*, json: Json = False) -> None:
    """Exit with 1 and say what differs, if the database is not what this release needs, with what would mend it."""
    from db import migrate

    with explained():
        found = migrate.differences(owners_database())
        missing = migrate.left_out(owners_database())
    words = [*grouped(found), advice(found)]
    differences = [asdict(finding) for finding in found]
    report({"differences": differences, "left_out": missing}, "\n".join([*words, *missing]), json=json)
    if found:
        raise typer.Exit(1)


@app.command()
def harden(
    names: Annotated[list[str] | None, typer.Argument(help="What `db check` calls them.", metavar="NAME…")] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="All that `db check` finds.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would be done.")] = False,
    json: Json = False,
) -> None:
    """Apply chosen statements of `db check`, each by itself; exit with 1 if one was refused."""
    from db import migrate

    with explained():
        chosen = picked(migrate.differences(owners_database()), names or [], everything=everything)
        if dry_run:
            report({"chosen": [asdict(each) for each in chosen]}, "\n".join(map(described, chosen)), json=json)
            return
        outcomes = []
        for outcome in migrate.harden(owners_database(), None if everything else names):
            outcomes.append(outcome)
            if not json:
                typer.echo(ended(outcome))  # as it is done: an index on a large table takes its time
    refused = sum(outcome.refusal is not None for outcome in outcomes)
    words = f"{len(outcomes) - refused} mended, {refused} refused."
    report({"outcomes": [asdict(each) for each in outcomes]}, words, json=json)
    if refused:
        raise typer.Exit(1)


def picked(found: Sequence["Finding"], names: Sequence[str], *, everything: bool) -> list["Finding"]:
    """Those findings that were named, in the order in which they can be mended. Raises WrongUse."""
    if everything == bool(names):
        raise WrongUse("Name what is to be mended, as `codingit-worker db check` does, or say --all.")
    if unknown := sorted(set(names) - {finding.name for finding in found}):
        raise WrongUse(f"Nothing of that name differs: {', '.join(unknown)}. See: codingit-worker db check")
    return [finding for finding in found if everything or finding.name in names]


def grouped(found: Sequence["Finding"]) -> Iterator[str]:
    """Findings under what they concern, what concerns security first."""
    kinds = {kind: [each for each in found if each.name.partition(":")[0] == kind] for kind in KINDS}
    for kind, those in kinds.items():
        if those:
            yield typer.style(f"{KINDS[kind]} ({len(those)})", bold=True) + "\n"
            yield from (f"{described(each)}\n" for each in those)


def advice(found: Sequence["Finding"]) -> str:
    """What there is to do."""
    if not found:
        return "The database is what this release needs."
    words = "1 difference." if len(found) == 1 else f"{len(found)} differences."
    if any(finding.statements for finding in found):
        words += (
            "\nTo mend what you choose: codingit-worker db harden NAME…, or --all; --dry-run only prints."
            "\nWhat policies and rights do to your app, try on a copy first."
            "\nNothing else changes what is yours; what is ours, the next codingit-worker db upgrade mends too."
        )
    return words


def described(finding: "Finding") -> str:
    """A finding for a person: its name and sentence, and the statements beneath."""
    return "\n".join(
        [f"{finding.name}: {finding.sentence}", *(indent(f"{each};", "    ") for each in finding.statements)]
    )


def ended(outcome: "Outcome") -> str:
    """What became of a finding, in a line."""
    return f"{outcome.finding.name}: {'mended' if outcome.refusal is None else f'refused. {outcome.refusal}'}"


@contextmanager
def explained() -> Iterator[None]:
    """Faults of migrations as sentences that say what to do."""
    from alembic.util.exc import CommandError
    from sqlalchemy.exc import DBAPIError

    from db.errors import PoolerRefused, UpgradeBusy

    try:
        yield
    except PoolerRefused as fault:
        raise WrongUse(
            "Migrations need a session, and this address is a transaction pooler's. Set ADMIN_DATABASE_URL to the "
            "database itself, or to the pooler's session port (5432)."
        ) from fault
    except UpgradeBusy as fault:
        raise CommandFailed(
            "Another upgrade of this database has been going on for 5 minutes. Try again later."
        ) from fault
    except CommandError as fault:
        raise WrongUse(f"{fault}.") from fault
    except DBAPIError as fault:
        raise CommandFailed(f"The database refused: {str(fault.orig).strip().splitlines()[0]}") from fault
