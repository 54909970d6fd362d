"""Brings what we made in a database to what is declared, at the end of every upgrade."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import psycopg
from sqlalchemy import Connection, text

from db.declared import functions, rights, triggers
from db.declared.access import RULES
from db.declared.finding import Finding
from db.declared.functions import Function
from db.declared.rights import Policy
from db.declared.triggers import NEW_SUPABASE_USER, NEW_USER, TRIGGERS, Trigger

Made = frozenset[tuple[str, str]]
"""Kind and name of what is recorded as ours."""

SUPERSEDED = frozenset({"Users can manage their own tasks", "Users can view own user data"})
"""Policies of ours by the names that the first migrations gave them."""
MARK = "What policies and functions of codingit-worker ask about their caller."
"""The comment by which we know our schema again."""
MARKED = text("SELECT obj_description(to_regnamespace('rls'), 'pg_namespace')")
KEPT = text("SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'rls'::regnamespace")
ACCOUNT = ("user_profiles", "user_preferences", "user_security_settings", "user_chat_analytics")
"""Where every user has a row."""


def install(connection: Connection) -> None:
    """
    Make what is declared so, as far as it concerns what we made; nothing is written where it is so already.

    A transaction each, so that no lock is held for longer than one takes. Safe to repeat when it was interrupted.
    """
    connection.execute(text("SET search_path = pg_catalog"))  # every name is then read back with its schema
    make_schema(connection)
    for function, finding in differing_functions(connection):
        carry_out(connection, finding.statements, recorded=("routine", function.signature))
    for finding in differing_rights(connection):
        carry_out(connection, finding.statements)
    for trigger, finding in differing_triggers(connection):
        carry_out(connection, finding.statements, recorded=("trigger", trigger.name))
    welcome_users(connection)


def make_schema(connection: Connection) -> None:
    """
    Schema `rls`, which nobody but our own functions and policies names.

    A downgrade leaves it where something hardened asks its functions; then it is ours again, with them.
    """
    if connection.scalar(text("SELECT to_regnamespace('rls') IS NULL")):
        statements = ["CREATE SCHEMA rls", f"COMMENT ON SCHEMA rls IS '{MARK}'"]
        carry_out(connection, statements, recorded=("schema", "rls"))
    elif ("schema", "rls") not in made_by_us(connection) and connection.scalar(MARKED) == MARK:
        for signature in connection.scalars(KEPT).all():
            carry_out(connection, [], recorded=("routine", signature))
        carry_out(connection, [], recorded=("schema", "rls"))


def differing_functions(connection: Connection) -> list[tuple[Function, Finding]]:
    """Functions that are absent, or ours and not as declared; what others made by their names stays."""
    made = made_by_us(connection)
    declared = [each for each in functions.declared().values() if takes_functions(each.schema, made)]
    existing = functions.found(connection, [each.name for each in declared])
    ours = {name.partition("(")[0] for kind, name in made if kind == "routine"}
    return [
        (function, finding)
        for function in declared
        if (function.name in ours or function.name not in existing)
        and (finding := functions.difference(function, existing.get(function.name, [])))
    ]


def takes_functions(schema: str, made: Made) -> bool:
    """Whether functions may be put there: Supabase's own schemas take none."""
    return schema in {"public", "rls"} or ("schema", schema) in made


def differing_rights(connection: Connection) -> list[Finding]:
    """Tables of ours whose policies or rights are not as declared. An operator's own policies on them stay."""
    made = made_by_us(connection)
    has = rights.found(connection)
    ours = {
        table: frozenset(each for each in policies if is_ours(table, each)) for table, policies in has.policies.items()
    }
    tables = [table for table in RULES if ("table", table) in made]
    return [finding for each in tables for finding in rights.differences(replace(has, policies=ours), each)]


def is_ours(table: str, policy: Policy) -> bool:
    """Whether a policy was made by this release or an older one."""
    return policy.name in SUPERSEDED or policy.name in {rule.name for rule in RULES.get(table, ())}


def differing_triggers(connection: Connection) -> list[tuple[Trigger, Finding]]:
    """Triggers on tables of ours that are not as declared."""
    made = made_by_us(connection)
    existing = triggers.found(connection)
    return [
        (trigger, finding)
        for trigger in TRIGGERS
        if ("table", trigger.table) in made and (finding := triggers.difference(trigger, existing.get(trigger.name)))
    ]


def welcome_users(connection: Connection) -> None:
    """
    Give new users their rows by a trigger, and those their rows who were there before it.

    Only where the tables are ours. Recorded last, so that what was interrupted is done again.
    """
    trigger = welcome(connection)
    if trigger is None:
        return
    finding = triggers.difference(trigger, triggers.found(connection).get(trigger.name))
    if finding is not None:
        carry_out(connection, finding.statements)
    if ("trigger", trigger.name) in made_by_us(connection):
        return
    for table in ACCOUNT:
        there = f"INSERT INTO public.{table} (user_id) SELECT id FROM auth.users ON CONFLICT DO NOTHING"  # noqa: S608 - of constants
        carry_out(connection, ["SET LOCAL statement_timeout = 0", there])
    carry_out(connection, [], recorded=("trigger", trigger.name))


def welcome(connection: Connection) -> Trigger | None:
    """The trigger on auth.users that is for us to make; None where the accounts are not ours, or we have no right."""
    made = made_by_us(connection)
    if not {("table", f"public.{table}") for table in ACCOUNT} <= made:
        return None
    if ("table", "auth.users") in made:
        return NEW_USER
    allowed = connection.scalar(text("SELECT has_table_privilege('auth.users', 'TRIGGER')"))
    return NEW_SUPABASE_USER if allowed else None


def made_by_us(connection: Connection) -> Made:
    """What is recorded as ours."""
    rows = connection.execute(text("SELECT kind, name FROM worker.created_objects"))
    return frozenset((row.kind, row.name) for row in rows)


def carry_out(connection: Connection, statements: Iterable[str], *, recorded: tuple[str, str] | None = None) -> None:
    """Run statements in one transaction, through psycopg itself: it leaves colons and percent signs alone."""
    connection.commit()  # what was read until now
    psycopg_connection = connection.connection.driver_connection
    assert isinstance(psycopg_connection, psycopg.Connection)  # noqa: S101 - for the type checker
    with psycopg_connection.transaction():
        for statement in ("SET LOCAL check_function_bodies = off", *statements):
            psycopg_connection.execute(statement.encode())
        if recorded is not None:
            record(psycopg_connection, *recorded)


def record(connection: psycopg.Connection[Any], kind: str, name: str) -> None:
    """Note what we made, for a downgrade; a function's older signature is forgotten."""
    connection.execute(
        "DELETE FROM worker.created_objects WHERE kind = %s AND split_part(name, '(', 1) = split_part(%s, '(', 1)",
        (kind, name),
    )
    connection.execute("INSERT INTO worker.created_objects (kind, name) VALUES (%s, %s)", (kind, name))
