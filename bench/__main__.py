"""`make bench`: runs the benchmarks on throwaway servers and prints a table, or one JSON object a row."""

import argparse
import json
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from bench import logs
from bench.measure import Bench, Row
from db import migrate
from worker.local.servers import servers

BENCHES: Mapping[str, Callable[[Bench], Iterable[Row]]] = {"logs": logs.measure}


def main() -> None:
    """Run what was asked for."""
    asked = arguments()
    chosen = {name: bench for name, bench in BENCHES.items() if asked.only in (None, name)}
    with prepared() as bench:
        rows = [row for name, measure in chosen.items() for row in measure(bench)]
    for_programs(rows) if asked.json else for_people(rows)


def arguments() -> argparse.Namespace:
    """What was typed."""
    parser = argparse.ArgumentParser(prog="make bench ARGS=…", description=__doc__)
    parser.add_argument("--only", choices=BENCHES, help="one benchmark instead of all")
    parser.add_argument("--json", action="store_true", help="one JSON object a row")
    return parser.parse_args()


@contextmanager
def prepared() -> Iterator[Bench]:
    """A migrated database on servers of its own, with the durability that a real one has."""
    folder = Path(tempfile.mkdtemp(prefix="codingit-bench-"))
    folder.chmod(0o755)
    try:
        with servers(folder, postgres_settings={"max_wal_size": "8GB"}) as addresses:
            migrate.upgrade(addresses.database_url)
            yield Bench(url=addresses.database_url)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def for_programs(rows: Iterable[Row]) -> None:
    """One JSON object a row."""
    for row in rows:
        print(json.dumps(asdict(row)))


def for_people(rows: Iterable[Row]) -> None:
    """A table, and the machine it was measured on."""
    from rich.console import Console
    from rich.table import Table

    table = Table("bench", "case", "value", "unit", "against", "ratio", caption=f"{platform.platform()}, one run")
    for row in rows:
        ratio = "-" if row.ratio is None else f"{row.ratio:.2f} ×"
        table.add_row(row.bench, row.case, f"{row.value:,.1f}", row.unit, row.against or "-", ratio)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
