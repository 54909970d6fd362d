"""Mends chosen differences, each by itself: one that cannot be mended does not stop the others."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import psycopg
from sqlalchemy import Connection

from db.declared.finding import Finding
from db.migrations.created import TIMEOUTS

PATIENT = ("SET lock_timeout = 0", "SET statement_timeout = 0")
"""For what reads a whole table while others write it: it may take as long as it takes."""
LEFTOVER = "DROP INDEX CONCURRENTLY IF EXISTS "


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one finding."""

    finding: Finding
    refusal: str | None
    """Why it is as it was; None when it was mended."""


def mended(connection: Connection, chosen: Iterable[Finding]) -> Iterator[Outcome]:
    """Mend one after the other, and tell of each when it is done. No transaction is to be open."""
    for finding in chosen:
        yield Outcome(finding=finding, refusal=refusal(connection, finding))


def refusal(connection: Connection, finding: Finding) -> str | None:
    """Mend one; why it could not be done."""
    if not finding.statements:
        return f"No statement mends this. {finding.sentence}"
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)  # noqa: S101 - for the type checker
    driver.autocommit = True
    try:
        for statements in steps(finding.statements):
            step(driver, statements)
    except psycopg.Error as fault:
        clear_up(driver, finding.statements)
        return told(fault)
    finally:
        driver.autocommit = False
    return None


def steps(statements: Sequence[str]) -> Iterator[list[str]]:
    """Statements that take effect together; what takes its time beside live traffic stands alone."""
    for alone, group in groupby(statements, key=takes_its_time):
        together = list(group)
        yield from ([each] for each in together) if alone else [together]


def takes_its_time(statement: str) -> bool:
    """Whether a statement reads a whole table, and holds up nobody meanwhile."""
    return "CONCURRENTLY" in statement or "VALIDATE CONSTRAINT" in statement


def step(driver: psycopg.Connection, statements: Sequence[str]) -> None:
    """Carry out statements that take effect together, with the patience that is due to them."""
    limits = PATIENT if takes_its_time(statements[0]) else TIMEOUTS
    for limit in limits:
        driver.execute(limit.encode())
    if limits is PATIENT:
        driver.execute(statements[0].encode())
        return
    with driver.transaction():
        for statement in statements:
            driver.execute(statement.encode())


def clear_up(driver: psycopg.Connection, statements: Sequence[str]) -> None:
    """Remove the invalid index that a build leaves behind when it fails."""
    for statement in statements:
        if statement.startswith(LEFTOVER) and not driver.closed:
            driver.execute(statement.encode())


def told(fault: psycopg.Error) -> str:
    """What PostgreSQL said, with the row that is in the way, if one is."""
    words = fault.diag.message_primary or str(fault).strip().splitlines()[0]
    detail = f" {fault.diag.message_detail}" if fault.diag.message_detail else ""
    if isinstance(fault, psycopg.errors.UniqueViolation):
        return f"{words}.{detail} Of rows that are alike in this, remove all but one, and try again."
    return f"{words}.{detail}"
