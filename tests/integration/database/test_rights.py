"""Who may do what with a row of whose: every table, every actor, every action, against verdicts written by hand."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import pytest
from psycopg import errors
from sqlalchemy import (
    Column,
    Connection,
    Delete,
    Executable,
    Insert,
    Select,
    Table,
    Update,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.exc import DBAPIError

from db.engine import engine
from db.models import Base, TeamMember
from tests.support.actors import ANON, SERVICE, WORKER, Actor, acting, signed_in
from tests.support.databases import copied
from tests.support.population import populate, required
from worker.local.servers import Addresses

TABLES = {table.fullname: table for table in Base.metadata.sorted_tables if table.schema != "worker"}
# What each may do with a row of the owner's, who owns the team that it hangs on: s(elect) it, i(nsert) one like it,
# u(pdate) it, d(elete) it.
VERDICTS = {
    #                                anon  owner other member worker service
    "auth.identities":               "---- s--- ---- ---- ---- ----",
    "auth.mfa_amr_claims":           "---- ---- ---- ---- ---- ----",
    "auth.mfa_challenges":           "---- s--- ---- ---- ---- ----",
    "auth.mfa_factors":              "---- s--- ---- ---- ---- ----",
    "auth.one_time_tokens":          "---- ---- ---- ---- ---- ----",
    "auth.refresh_tokens":           "---- ---- ---- ---- ---- ----",
    "auth.sessions":                 "---- s--- ---- ---- ---- ----",
    "auth.users":                    "---- s-u- ---- ---- ---- ----",
    "public.api_keys":               "---- siud ---- ---- ---- siud",
    "public.billing_info":           "---- siu- ---- ---- ---- siud",
    "public.chat_export_requests":   "---- si-- ---- ---- ---- siud",
    "public.chat_message_cache":     "---- siud ---- ---- ---- siud",
    "public.chat_session_tags":      "---- si-d ---- ---- ---- siud",
    "public.chat_sessions":          "---- siud ---- ---- ---- siud",
    "public.code_embeddings":        "---- siud ---- ---- ---- siud",
    "public.conversation_threads":   "---- siud ---- ---- ---- siud",
    "public.file_uploads":           "---- siud ---- ---- ---- siud",
    "public.fragment_executions":    "---- siu- ---- ---- ---- siud",
    "public.fragments":              "---- siud ---- ---- ---- siud",
    "public.messages":               "---- si-d ---- s--- ---- siud",
    "public.profiles":               "---- siu- ---- ---- ---- siud",
    "public.projects":               "---- siud ---- s--- ---- siud",
    "public.subscription_events":    "---- ---- ---- ---- ---- siud",
    "public.tasks":                  "---- siud ---- ---- ---- siud",
    "public.team_members":           "---- s--- ---- s--- ---- siud",
    "public.team_usage_limits":      "---- s--- ---- s--- ---- siud",
    "public.teams":                  "---- s--- ---- s--- ---- siud",
    "public.thread_messages":        "---- siud ---- ---- ---- siud",
    "public.thread_summaries":       "---- s--- ---- ---- ---- siud",
    "public.user_chat_analytics":    "---- s--- ---- ---- ---- siud",
    "public.user_integrations":      "---- siud ---- ---- ---- siud",
    "public.user_preferences":       "---- siud ---- ---- ---- siud",
    "public.user_profiles":          "---- siu- ---- ---- ---- siud",
    "public.user_security_settings": "---- siu- ---- ---- ---- siud",
    "public.user_usage":             "---- s--- ---- ---- ---- siud",
    "public.users_teams":            "---- s-u- ---- ---- ---- siud",
    "public.workflow_executions":    "---- siu- ---- s--- ---- siud",
    "public.workflow_templates":     "---- siud ---- ---- ---- siud",
    "public.workflows":              "---- siud ---- siu- ---- siud",
    "public.workspace_files":        "---- siud ---- ---- ---- siud",
    "storage.buckets":               "---- siud ---- ---- ---- siud",
    "storage.objects":               "---- siud ---- ---- ---- siud",
    "storage.s3_multipart_uploads":  "---- ---- ---- ---- ---- siud",
    "storage.s3_multipart_uploads_parts": "---- ---- ---- ---- ---- siud",
}  # fmt: skip
WRITABLE = {
    "auth.users": "raw_user_meta_data",
    "public.users_teams": "is_default",
}
"""The column that an update tries, where the first that no key holds is not meant to be written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A database in which the owner has a row in every table, and others look at it."""

    connection: Connection
    rows: dict[str, Any]
    owner: UUID
    other: UUID
    member: UUID

    @property
    def actors(self) -> list[Actor]:
        return [ANON, signed_in(self.owner), signed_in(self.other), signed_in(self.member), WORKER, SERVICE]


@pytest.fixture(scope="module")
def world(stack: Addresses, template: str) -> Iterator[World]:
    owner, other, member = uuid4(), uuid4(), uuid4()
    with copied(stack.database_url, template) as url:
        database = engine(url)
        with database.connect() as connection:
            rows = populate(connection, owner)
            for each in (other, member):
                connection.execute(insert(TABLES["auth.users"]).values(id=each))
            team = rows["public.teams"]
            connection.execute(insert(TeamMember).values(team_id=team, user_id=member, role="member"))
            yield World(connection=connection, rows=rows, owner=owner, other=other, member=member)
        database.dispose()


def test_every_table_has_a_verdict() -> None:
    assert sorted(VERDICTS) == sorted(TABLES)


@pytest.mark.parametrize("name", VERDICTS)
def test_rights(world: World, name: str) -> None:
    if name not in world.rows:
        pytest.skip("no pgvector on this server")
    found = " ".join(verdict(world, TABLES[name], actor) for actor in world.actors)

    assert found == VERDICTS[name]


def verdict(world: World, table: Table, actor: Actor) -> str:
    """What an actor may do with the owner's row, a letter an action."""
    actions = (selecting(world, table), inserting(world, table), updating(world, table), deleting(world, table))
    return "".join(
        letter if allowed(world.connection, actor, action) else "-"
        for letter, action in zip("siud", actions, strict=True)
    )


def allowed(connection: Connection, actor: Actor, action: Executable) -> bool:
    """
    Whether an action reaches its row.

    Rights and policies are asked before unique keys, so that to be stopped by one of those is to be allowed.
    """
    try:
        with acting(connection, actor):
            result = connection.execute(action)
            return bool(result.first() if result.returns_rows else result.rowcount)
    except DBAPIError as fault:
        if not isinstance(fault.orig, errors.InsufficientPrivilege | errors.UniqueViolation):
            raise
        return isinstance(fault.orig, errors.UniqueViolation)


def key(table: Table) -> Column[Any]:
    return table.primary_key.columns[0]


def selecting(world: World, table: Table) -> Select[Any]:
    return select(key(table)).where(key(table) == world.rows[table.fullname])


def inserting(world: World, table: Table) -> Insert:
    """A row with the same owner, hanging on the same rows."""
    columns = [column for column in table.columns if required(column)]
    row = world.connection.execute(select(*columns).where(key(table) == world.rows[table.fullname])).one()
    return insert(table).values(dict(zip((column.name for column in columns), row, strict=True))).inline()


def updating(world: World, table: Table) -> Update:
    plain = (each.name for each in table.columns if not (each.primary_key or each.foreign_keys or each.computed))
    name = WRITABLE.get(table.fullname) or next(plain)
    return update(table).values({name: table.c[name]}).where(key(table) == world.rows[table.fullname])


def deleting(world: World, table: Table) -> Delete:
    return delete(table).where(key(table) == world.rows[table.fullname])


@pytest.mark.parametrize(
    "name",
    [
        "public.chat_message_cache.session_id",
        "public.chat_session_tags.session_id",
        "public.chat_sessions.team_id",
        "public.file_uploads.project_id",
        "public.fragment_executions.fragment_id",
        "public.fragments.project_id",
        "public.messages.project_id",
        "public.projects.team_id",
        "public.thread_messages.thread_id",
        "public.workflow_executions.workflow_id",
        "public.workspace_files.project_id",
    ],
)
def test_nobody_hangs_a_row_of_theirs_on_what_is_somebody_elses(world: World, name: str) -> None:
    table, column = TABLES[name.rpartition(".")[0]], name.rpartition(".")[2]
    theirs = {each.name: world.other for each in table.columns if each.name in {"user_id", "created_by", "sender_id"}}
    added = inserting(world, table).values(**theirs)
    stranger = signed_in(world.other)

    assert not allowed(world.connection, stranger, added)
    if table.c[column].nullable:
        assert allowed(world.connection, stranger, added.values({column: None}))


@pytest.mark.parametrize(
    "action",
    [
        select(TABLES["auth.users"].c.encrypted_password),
        select(TABLES["auth.users"].c.recovery_token),
        select(TABLES["auth.mfa_factors"].c.secret),
        select(TABLES["auth.mfa_challenges"].c.otp_code),
        update(TABLES["auth.users"]).values(raw_app_meta_data={"role": "admin"}),
        update(TABLES["auth.users"]).values(email="another@example.com"),
        update(TABLES["public.users_teams"]).values(team_id=uuid4()),
        update(TABLES["public.thread_messages"]).values(sender_id=uuid4()),
        insert(TABLES["public.chat_export_requests"]).values(export_type="json", s3_export_key="theirs").inline(),
        insert(TABLES["public.chat_export_requests"]).values(export_type="json", status="completed").inline(),
        update(TABLES["public.messages"]).values(content={}),
    ],
    ids=str,
)
def test_what_is_ones_own_is_not_all_open(world: World, action: Executable) -> None:
    own = action.values(user_id=world.owner) if isinstance(action, Insert) else action

    assert not allowed(world.connection, signed_in(world.owner), own)


@pytest.mark.parametrize(
    "table",
    [
        "public.projects",
        "public.messages",
        "public.fragments",
        "public.workflow_templates",
        "storage.buckets",
        "storage.objects",
    ],
)
def test_what_is_public_is_there_to_be_seen_and_no_more(world: World, table: str) -> None:
    with published(world):
        may = {actor.role: verdict(world, TABLES[table], actor) for actor in (ANON, signed_in(world.other))}

    assert may == {"anon": "----" if table == "public.workflow_templates" else "s---", "authenticated": "s---"}


def test_a_deleted_project_is_no_longer_public(world: World) -> None:
    with published(world):
        world.connection.execute(update(TABLES["public.projects"]).values(deleted_at=func.now()))
        for table in ("public.projects", "public.messages"):
            assert not allowed(world.connection, ANON, selecting(world, TABLES[table]))
            assert not allowed(world.connection, signed_in(world.other), selecting(world, TABLES[table]))
        assert allowed(world.connection, signed_in(world.owner), selecting(world, TABLES["public.projects"]))


@pytest.mark.parametrize(("role", "may"), [("owner", "siu-"), ("admin", "siu-"), ("member", "----")])
def test_what_a_team_pays_is_for_those_who_run_it(world: World, role: str, may: str) -> None:
    with world.connection.begin_nested() as savepoint:
        theirs = update(TeamMember).where(TeamMember.user_id == world.member)
        world.connection.execute(theirs.values(role=role))
        assert verdict(world, TABLES["public.billing_info"], signed_in(world.member)) == may
        savepoint.rollback()


def test_someone_who_is_signed_in_as_nobody_sees_nothing(world: World) -> None:
    """A token without a subject, as a hand-made one might be."""
    nobody = Actor(role="authenticated")

    assert {verdict(world, TABLES[name], nobody) for name in world.rows} == {"----"}


@contextmanager
def published(world: World) -> Iterator[None]:
    """Within the block, what can be public is."""
    with world.connection.begin_nested() as savepoint:
        for table in TABLES.values():
            for column in (table.c.get("is_public"), table.c.get("public")):
                if column is not None and table.fullname in world.rows:
                    world.connection.execute(update(table).values({column: True}))
        yield
        savepoint.rollback()
