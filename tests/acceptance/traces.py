"""What runs leave behind: processes, workspaces, mounts, and whatever a secret could be read in."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from psycopg import sql

from tests.acceptance.conftest import Remote
from tests.support.fleet import Fleet, until
from tests.support.rows import Rows


def ended(rows: Rows, task: int) -> Callable[[], bool]:
    return lambda: rows.status(task) in {"completed", "error"}


def at_work(fleet: Fleet) -> list[int]:
    """Every process of a run: what has a workspace of this fleet in its command or its environment."""
    mark, found = str(fleet.state / "workspaces").encode(), []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark in (process / "cmdline").read_bytes() + (process / "environ").read_bytes():
                found.append(int(process.name))
    return found


def nothing_is_left(fleet: Fleet) -> None:
    until(lambda: not at_work(fleet), within=10, what=f"processes {at_work(fleet)}")
    until(lambda: not list((fleet.state / "workspaces").iterdir()), within=10, what="a workspace")
    assert str(fleet.state) not in Path("/proc/self/mountinfo").read_text()


def usage(rows: Rows, task: int) -> dict[str, Any]:
    found: dict[str, Any] = rows.runs(task)[-1]["usage"]
    return found


def found_anywhere(fleet: Fleet, rows: Rows, remote: Remote, secrets: tuple[str, ...]) -> list[str]:
    """Where any of these is to be read after a run: the whole database, transcripts, logs, git objects."""
    transcripts = list((fleet.state / "transcripts").rglob("*.gz"))
    assert transcripts
    places = {str(path): unpacked(path) for path in transcripts} | {"logs": fleet.text()}
    for table, content in tables(rows):
        places[table] = "\n".join(leaves(content))
    assert "Write a greeting." in places["public.tasks"]
    places["git"] = remote.everything()
    assert "greeting" in places["git"]
    return [place for place, text in places.items() for secret in secrets if secret in text]


def tables(rows: Rows) -> Iterator[tuple[str, Any]]:
    """Every table of the database with all its rows."""
    named = "SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
    for table in rows.execute(named):
        place = sql.Identifier(table["schemaname"], table["tablename"])
        content = rows.connection.execute(sql.SQL("SELECT to_jsonb(t) AS it FROM {} t").format(place))
        yield f"{table['schemaname']}.{table['tablename']}", [row["it"] for row in content]


def leaves(value: Any) -> Iterator[str]:
    """Every string in it, as it is."""
    match value:
        case dict():
            for each in (*value.keys(), *value.values()):
                yield from leaves(each)
        case list():
            yield "".join(message for each in value for message in leaves(each))  # also what is split over entries
            for each in value:
                yield from leaves(each)
        case str():
            yield value


def unpacked(path: Path) -> str:
    return subprocess.run(("gzip", "-dc", path), capture_output=True, check=True).stdout.decode(errors="replace")
