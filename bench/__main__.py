"""`make bench`: runs the benchmarks on throwaway servers and prints a table, or one JSON object a row."""

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from bench import growth, lifecycle, logs, memory, output, pickup, recovery, rls, runs, search, throughput
from bench.measure import Bench, Row
from worker import log
from worker.local.servers import servers

BENCHES: Mapping[str, Callable[[Bench], Iterable[Row]]] = {
    "throughput": throughput.measure,
    "pickup": pickup.measure,
    "growth": growth.measure,
    "lifecycle": lifecycle.measure,
    "rls": rls.measure,
    "search": search.measure,
    "logs": logs.measure,
    "output": output.measure,
    "runs": runs.measure,
    "memory": memory.measure,
    "recovery": recovery.measure,
}
POSTGRES = {"max_wal_size": "8GB", "min_wal_size": "4GB", "shared_buffers": "4GB"}
"""Durable as a real server is, with as much memory as one of that size has, and files of its log to use again."""


def main() -> None:
    """Run what was asked for."""
    asked = arguments()
    log.configure(level="INFO", form="console")  # to stderr: what is printed is the figures
    rows = found(asked)
    for_programs(rows) if asked.json else for_documents(rows) if asked.markdown else for_people(rows)


def arguments() -> argparse.Namespace:
    """What was typed."""
    parser = argparse.ArgumentParser(prog="make bench ARGS=…", description=__doc__)
    parser.add_argument("--only", choices=BENCHES, help="one benchmark instead of all")
    parser.add_argument("--repeats", type=int, default=3, help="how often each is measured (default 3)")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object a row")
    form.add_argument("--markdown", action="store_true", help="the table as docs/benchmarks.md holds it")
    return parser.parse_args()


def found(asked: argparse.Namespace) -> Iterator[Row]:
    """The rows of each benchmark, each on a fresh copy of the database."""
    with prepared(asked.repeats) as bench:
        for name, measure in BENCHES.items():
            if asked.only in (None, name):
                began = time.monotonic()
                with bench.copied() as fresh:
                    yield from measure(fresh)
                load = os.getloadavg()[0]
                print(f"{name}: {time.monotonic() - began:.0f} s, load {load:.1f}", file=sys.stderr, flush=True)


@contextmanager
def prepared(repeats: int) -> Iterator[Bench]:
    """A migrated database on servers of its own."""
    folder = Path(tempfile.mkdtemp(prefix="codingit-bench-"))
    folder.chmod(0o755)
    try:
        with servers(folder, postgres_settings=POSTGRES) as addresses:
            yield Bench.on(addresses, folder, repeats=repeats)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def for_programs(rows: Iterable[Row]) -> None:
    """One JSON object a row, as soon as it is known."""
    for row in rows:
        print(json.dumps(asdict(row)), flush=True)


def for_documents(rows: Iterable[Row]) -> None:
    """A table in Markdown."""
    print("| Benchmark | Case | Median | Min … max | Unit | Against | Ratio |\n|---|---|--:|--:|---|---|--:|")
    for row in rows:
        print("|", " | ".join(cells(row)), "|", flush=True)


def for_people(rows: Iterable[Row]) -> None:
    """A table, and the machine it was measured on."""
    from rich.console import Console
    from rich.table import Table

    machine = f"{platform.platform()}, {os.cpu_count()} cores, one run"
    table = Table("bench", "case", "median", "min … max", "unit", "against", "ratio", caption=machine)
    for row in rows:
        table.add_row(*cells(row))
    Console(width=150).print(table)


def cells(row: Row) -> tuple[str, ...]:
    """A row as people read it."""
    spread = f"{shown(row.low)} … {shown(row.high)}" if row.repeats > 1 else "-"
    ratio = "-" if row.ratio is None else f"{row.ratio:.2f} ×"
    return row.bench, row.case, shown(row.value), spread, row.unit, row.against or "-", ratio


def shown(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


if __name__ == "__main__":
    main()
