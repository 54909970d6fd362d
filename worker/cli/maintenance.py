"""`codingit-worker maintenance`: what is kept for how long, what would go, letting it go, and what went."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from worker.cli import output
from worker.cli.addresses import maintenance_database
from worker.cli.output import Json
from worker.errors import CommandFailed, WrongUse

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from db.queries.maintenance import Expired
    from worker.maintenance.retention import RetentionPolicy
    from worker.maintenance.sweep import Report

app = typer.Typer(no_args_is_help=True, help="See, rehearse and carry out what is cleaned up when.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="The policy's name.", show_default=False)]


@app.command("list")
def list_(*, json: Json = False) -> None:
    """Every policy: how long it keeps what, when it is carried out (if at all), and why."""
    from worker.maintenance import policies, schedule
    from worker.settings import settings

    times = {name: schedule.shown(job.when) for name, job in schedule.jobs(settings()).items()}
    columns = ("name", "kept", "when", "why")
    rows = [
        (each.name, each.kept, times.get(each.name) if each.batch else None, each.why)
        for each in policies.policies(settings())
    ]
    if json:
        output.as_json([dict(zip(columns, row, strict=True)) for row in rows])
    else:
        output.table(("Policy", "Kept", "When (UTC)", "Why"), rows)


@app.command()
def preview(name: Name, *, json: Json = False) -> None:
    """What would be removed now, and the first few by name; removes nothing."""
    policy = switched_on(name)
    with connected(policy) as engine:
        show_preview(policy, looked_at(policy, engine), json=json)


@app.command()
def run(
    name: Name,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Remove nothing; the same as preview.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="How many to remove at most.")] = None,
    json: Json = False,
) -> None:
    """Carry a policy out now; Ctrl-C ends it between two batches. Exit code 1 if it could not be done."""
    policy = switched_on(name)
    with connected(policy) as engine:
        found = looked_at(policy, engine)
        if dry_run:
            show_preview(policy, found, json=json)
            return
        report = carried_out(policy, engine, found=found, limit=limit, quiet=json)
    show_report(report, json=json)


@app.command()
def history(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="One policy alone.", show_default=False)] = None,
    *,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many.")] = 20,
    json: Json = False,
) -> None:
    """What was carried out, the latest first."""
    from dataclasses import asdict

    from db.queries import slots
    from worker.cli import sessions
    from worker.maintenance import policies
    from worker.settings import settings

    if name:
        policies.named(settings(), name.partition("@")[0])
    with sessions.opened(maintenance_database()) as session:
        found = slots.history(session, limit, name=name)
    if json:
        output.as_json([asdict(slot) for slot in found])
    elif not found:
        typer.echo("Nothing was carried out yet.")
    else:
        columns = ("Due (UTC)", "Policy", "Ended", "Removed", "Left", "Seconds", "By")
        output.table(columns, [cells(slot) for slot in found])


def cells(slot: Any) -> tuple[object, ...]:
    """A period as people read it."""
    from datetime import UTC

    report = slot.report or {}
    due = slot.scheduled_for.astimezone(UTC).strftime("%Y-%m-%d %H:%M")
    ended = report.get("ended") or "not finished"
    counts = (report.get("removed"), report.get("remaining"), report.get("seconds"))
    return (due, slot.name, ended, *counts, slot.holder.partition(" ")[0])


def switched_on(name: str) -> "RetentionPolicy":
    """The policy of this name. Raises WrongUse where there is none, or it is off."""
    from worker.maintenance import policies
    from worker.settings import settings

    policy = policies.named(settings(), name)
    if policy.batch is None:
        raise WrongUse(f"{name} removes nothing: kept {policy.kept}.")
    return policy


@contextmanager
def connected(policy: "RetentionPolicy") -> "Iterator[Engine | None]":
    """Connections for the policy, None where it needs no database; faults are sentences."""
    from db.engine import engine
    from worker.cli import sessions

    output.events_to_stderr()
    if policy.batch is None or not policy.batch.rights:
        yield None
        return
    url = maintenance_database()
    made = engine(url)
    try:
        with sessions.explained(url):
            yield made
    finally:
        made.dispose()


def looked_at(policy: "RetentionPolicy", engine: "Engine | None") -> "Expired":
    """What would be removed. Raises CommandFailed where the role may not, with what would help."""
    from worker.maintenance import sweep

    if advice := sweep.lacking(policy, engine):
        raise CommandFailed("\n  ".join([f"The role may not carry out {policy.name}. What would help:", *advice]))
    return sweep.preview(policy, engine)


def carried_out(
    policy: "RetentionPolicy", engine: "Engine | None", *, found: "Expired", limit: int | None, quiet: bool
) -> "Report":
    """Sweep, showing how far it is where somebody looks on, and put it into the history."""
    from worker.maintenance import periods, sweep

    total = found.count if limit is None else min(limit, found.count)
    with told_to_stop() as stop, progress(policy.name, total, quiet=quiet) as advance:
        report = sweep.carry_out(policy, engine, sweep.Bounds(limit=limit, stop=stop, progress=advance))
    if engine is not None:
        periods.note(report, engine)
    return report


@contextmanager
def told_to_stop() -> Iterator[Callable[[], bool]]:
    """Within the block SIGINT and SIGTERM are only noted: a sweep ends between two batches. A second one ends us."""
    told: list[int] = []

    def note(number: int, _frame: object) -> None:
        told.append(number)
        signal.signal(number, signal.SIG_DFL)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(told)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def progress(name: str, total: int, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """A bar on stderr, where that is a terminal and nobody wants JSON; yields what to tell how many are removed."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(name), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=Console(stderr=True), transient=True, disable=quiet or not sys.stderr.isatty())
    with bar:
        task = bar.add_task(name, total=total)
        yield lambda removed: bar.update(task, completed=removed)


def show_preview(policy: "RetentionPolicy", found: "Expired", *, json: bool) -> None:
    """What there is to remove."""
    from dataclasses import asdict

    if json:
        output.as_json({"policy": policy.name, **asdict(found)})
        return
    since = f", the oldest since {found.oldest}" if found.oldest else ""
    typer.echo(f"{policy.name} would remove {found.count:,}{since}.")
    for each in found.sample:
        typer.echo(f"  {output.plain(each)}")
    if found.count > len(found.sample) > 0:
        typer.echo("  …")
    for why, count in found.staying.items():
        typer.echo(f"But {count:,} of these would stay: {output.plain(why)}")


def show_report(report: "Report", *, json: bool) -> None:
    """What was done; ends with 1 where it could not be."""
    if json:
        output.as_json(report.as_dict())
    else:
        for line in sentences(report):
            typer.echo(line)
    if report.ended in {"refused", "busy"}:
        raise typer.Exit(1)
    if report.ended == "stopped":
        raise typer.Exit(130)


def sentences(report: "Report") -> Iterator[str]:
    """A report as people read it."""
    batches = "1 batch" if report.batches == 1 else f"{report.batches:,} batches"
    pace = f"{batches}, {report.seconds:.1f} s, the longest transaction {report.longest:.2f} s"
    yield f"{report.policy} removed {report.removed:,} ({pace})."
    for why, count in report.skipped.items():
        yield f"  {count:,} skipped: {output.plain(why)}"
    if report.remaining:
        yield f"  {report.remaining:,} are left, the oldest since {report.oldest}."
    if report.ended != "done":
        yield f"  It ended because: {ENDINGS[report.ended]}"
    if report.refused:
        yield f"  {output.plain(report.refused)}"
    for line in report.advice:
        yield f"    {line}"


ENDINGS = {
    "limit": "as many were removed as were asked for.",
    "budget": "its time was over (CODINGIT_SWEEP_BUDGET). Run it again to go on.",
    "stopped": "it was told to stop. Run it again to go on.",
    "busy": "others held what it needed. Run it again later.",
    "refused": "somebody has to mend something first.",
    "off": "the settings switch it off.",
}
