"""The plans that PostgreSQL really used inside the protocol's functions, as auto_explain reports them."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import psycopg

from db.engine import Database
from db.url import DatabaseUrl

SETTINGS = {
    "session_preload_libraries": "auto_explain",
    "auto_explain.log_min_duration": "0",
    "auto_explain.log_nested_statements": "on",
    "auto_explain.log_analyze": "on",
    "auto_explain.log_buffers": "on",
    "auto_explain.log_timing": "off",
    "auto_explain.log_format": "json",
    "client_min_messages": "log",
}
"""For the sessions of one role in one database; only a superuser may set them."""
SCANS = frozenset({"Seq Scan", "Tid Scan", "Index Scan", "Index Only Scan", "Bitmap Heap Scan"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One step of a plan, with what it really read."""

    statement: str
    kind: str
    table: str | None
    index: str | None
    rows: float
    """How many rows it answered or filtered away, over all loops."""

    def __str__(self) -> str:
        return f"{self.kind} on {self.table}, {self.rows:.0f} rows, in: {self.statement}"


@dataclass(frozen=True, slots=True)
class Plans:
    """The plans of some calls, inner statements included."""

    nodes: tuple[Node, ...]
    pages: int
    """How many pages of 8 kB were touched."""

    def scans(self, *tables: str) -> list[str]:
        """Sequential scans of these tables."""
        return [str(node) for node in self.nodes if node.kind == "Seq Scan" and node.table in tables]

    def sorts(self, *, above: int) -> list[str]:
        """Sorts and hashes of more rows than that."""
        return [str(node) for node in self.nodes if node.kind in {"Sort", "Hash"} and node.rows > above]

    def indexes(self) -> set[str]:
        """The indexes that were used."""
        return {node.index for node in self.nodes if node.index}

    def rows_of(self, *tables: str) -> float:
        """How many rows of these tables were read."""
        return sum(node.rows for node in self.nodes if node.kind in SCANS and node.table in tables)


class Watched:
    """A worker's connection whose plans are read."""

    def __init__(self, url: DatabaseUrl) -> None:
        self.database = Database(url)
        self._reports: list[Mapping[str, Any]] = []
        self.database.connection().add_notice_handler(self._hear)

    def plans(self, call: Callable[[Database], object]) -> Plans:
        """Those of one call; the statement that makes it is reported last, and counts what the inner ones touched."""
        self._reports.clear()
        call(self.database)
        nodes = tuple(node for report in self._reports for node in nodes_of(report["Query Text"], report["Plan"]))
        outermost = self._reports[-1]["Plan"]
        return Plans(nodes, int(outermost["Shared Hit Blocks"]) + int(outermost["Shared Read Blocks"]))

    def close(self) -> None:
        self.database.close()

    def _hear(self, notice: psycopg.errors.Diagnostic) -> None:
        _, found, plan = (notice.message_primary or "").partition("plan:\n")
        if found:
            self._reports.append(json.loads(plan))


def nodes_of(statement: str, plan: Mapping[str, Any]) -> Iterator[Node]:
    """Every step of a plan, as auto_explain reports it."""
    filtered = plan.get("Rows Removed by Filter", 0) + plan.get("Rows Removed by Index Recheck", 0)
    yield Node(
        statement=" ".join(statement.split())[:120],
        kind=plan["Node Type"],
        table=plan.get("Relation Name"),
        index=plan.get("Index Name"),
        rows=(plan["Actual Rows"] + filtered) * plan["Actual Loops"],
    )
    for inner in plan.get("Plans", ()):
        yield from nodes_of(statement, inner)
