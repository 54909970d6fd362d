"""What row level security costs a user among a million rows: our policies against those of the app's own SQL."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from time import perf_counter
from typing import Any, LiteralString

import psycopg
from sqlalchemy import Connection
from sqlalchemy.orm import Session

from bench import crowd
from bench.measure import Bench, Row
from db.engine import engine
from db.rls import acting_as

USERS = 1_000_000 // crowd.EACH
LONG_ENOUGH = 0.5
"""Seconds that a question is asked again for, in a repeat."""
OURS, THE_APPS = "ours", "the app's"
ASKED: Mapping[str, LiteralString] = {
    "50 newest tasks": "SELECT id, prompt FROM public.tasks ORDER BY created_at DESC LIMIT 50",
    "number of tasks": "SELECT count(*) FROM public.tasks",
    "active projects": """SELECT id, title FROM public.projects WHERE user_id = '00000000-0000-0000-0000-000000000001'
        AND deleted_at IS NULL AND status = 'active' ORDER BY updated_at DESC""",
    "number of projects": "SELECT count(*) FROM public.projects",
    "messages of a project": """SELECT id, content FROM public.messages
        WHERE project_id = '00000000-0000-0000-0000-000000000001' ORDER BY sequence_number""",
    "number of messages": "SELECT count(*) FROM public.messages",
}
"""What the app asks, and leaves to the policies whose rows they are."""
POLICIES: LiteralString = """
DO $$ DECLARE it record; BEGIN
    FOR it IN SELECT * FROM pg_policies WHERE schemaname = 'public' AND tablename IN ('tasks', 'projects', 'messages')
    LOOP EXECUTE format('DROP POLICY %I ON public.%I', it.policyname, it.tablename); END LOOP;
END $$;
CREATE POLICY "Users can manage their own tasks" ON public.tasks USING (auth.uid() = user_id);
CREATE POLICY "Users can view their own projects" ON public.projects FOR SELECT
    USING (auth.uid() = user_id OR is_public = true);
CREATE POLICY "Users can insert their own projects" ON public.projects FOR INSERT WITH CHECK (auth.uid() = user_id);
CREATE POLICY "Users can update their own projects" ON public.projects FOR UPDATE USING (auth.uid() = user_id);
CREATE POLICY "Users can delete their own projects" ON public.projects FOR DELETE USING (auth.uid() = user_id);
CREATE POLICY "Users can view messages from their projects" ON public.messages FOR SELECT USING (EXISTS (
    SELECT 1 FROM public.projects
    WHERE projects.id = messages.project_id AND (projects.user_id = auth.uid() OR projects.is_public = true)));
"""
"""In place of ours, as the app's own SQL makes them."""


def measure(bench: Bench) -> Iterator[Row]:
    """Both take turns at each question."""
    with ExitStack() as stack:
        connections = prepared(bench, stack)
        for what, statement in ASKED.items():
            taken: dict[str, list[float]] = {whose: [] for whose in connections}
            found = {whose: ask(connection, statement) for whose, connection in connections.items()}
            assert found[OURS] == found[THE_APPS]
            for _ in range(bench.repeats):
                for whose, connection in connections.items():
                    taken[whose].append(milliseconds(connection, statement))
            yield from compared(what, taken, {whose: plan(each, statement) for whose, each in connections.items()})


def compared(what: str, taken: Mapping[str, list[float]], plans: Mapping[str, str]) -> tuple[Row, Row]:
    """The same question under both, each with the way that was taken to the table."""
    first = Row.of("rls", f"{what}, {OURS} ({plans[OURS]})", taken[OURS], "ms")
    theirs = Row.of("rls", f"{what}, {THE_APPS} ({plans[THE_APPS]})", taken[THE_APPS], "ms", against=first)
    return first, replace(theirs, against=OURS)


def prepared(bench: Bench, stack: ExitStack) -> dict[str, Connection]:
    """Two equal databases with a million rows in each of the three tables, under the one and the other policies."""
    ours = stack.enter_context(bench.copied())
    with ours.connect() as owner:
        crowd.fill(owner, users=USERS, projects=crowd.EACH)
    apps = stack.enter_context(replace(ours, template=ours.url).copied())
    with apps.connect() as owner:
        owner.execute(POLICIES)
        owner.execute("CHECKPOINT")
    return {OURS: connected(ours, stack), THE_APPS: connected(apps, stack)}


def connected(bench: Bench, stack: ExitStack) -> Connection:
    """A connection of the owner, who acts as the user."""
    database = engine(bench.url)
    stack.callback(database.dispose)
    return stack.enter_context(database.connect())


def ask(connection: Connection, statement: LiteralString) -> list[Any]:
    """What the first user is answered."""
    with acting_as(connection, crowd.FIRST) as session:
        return list(cursor(session).execute(statement).fetchall())


def milliseconds(connection: Connection, statement: LiteralString) -> float:
    """Of one answer to the user, the mean of as many as go into the time that there is."""
    with acting_as(connection, crowd.FIRST) as session:
        asking, count, began = cursor(session), 0, perf_counter()
        while count == 0 or perf_counter() - began < LONG_ENOUGH:
            asking.execute(statement).fetchall()
            count += 1
        return 1000 * (perf_counter() - began) / count


def plan(connection: Connection, statement: LiteralString) -> str:
    """How the rows of the table that is asked for are come by."""
    with acting_as(connection, crowd.FIRST) as session:
        explained = cursor(session).execute(b"EXPLAIN (FORMAT JSON) " + statement.encode()).fetchone()
    assert explained
    return scan(explained[0][0]["Plan"])


def scan(node: Mapping[str, Any]) -> str:
    """The first step of a plan that reads a table, and the indexes that it goes along."""
    while "Relation Name" not in node:
        node = next(step for step in node["Plans"] if step["Parent Relationship"] == "Outer")
    along = " and ".join(sorted(set(indexes(node))))
    return f"{node['Node Type']}, {along}" if along else str(node["Node Type"])


def indexes(node: Mapping[str, Any]) -> Iterator[str]:
    """Those of a step and of what it is made of, other queries left out."""
    if "Index Name" in node:
        yield node["Index Name"]
    for step in node.get("Plans", ()):
        if step["Parent Relationship"] in {"Outer", "Member"}:
            yield from indexes(step)


def cursor(session: Session) -> psycopg.Cursor[Any]:
    """psycopg's own, for statements as they are."""
    driver = session.connection().connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    return driver.cursor()
