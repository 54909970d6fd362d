"""Upgrades of databases that are somebody else's: Supabase's, the application's, a role's that is no superuser."""

from datetime import timedelta
from typing import LiteralString

import psycopg
import pytest
from alembic import command
from psycopg import sql
from sqlalchemy.exc import OperationalError

from db import migrate, vector
from db.engine import Database
from db.queries import queue
from db.url import DatabaseUrl
from tests.conftest import WORKER_PASSWORD
from tests.migrations import beds
from tests.support.rows import Rows

TABLES = "SELECT oid FROM pg_class WHERE relkind = 'r' AND relnamespace = ANY(%(schemas)s::regnamespace[])"
THEIRS = f"""
SELECT 'relation', oid::regclass::text, concat_ws(' ', relkind, relowner::regrole, relacl, relrowsecurity)
FROM pg_class WHERE relnamespace = ANY(%(schemas)s::regnamespace[]) AND relkind <> 'i'
UNION ALL SELECT 'index', indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index
WHERE indrelid IN ({TABLES})
UNION ALL SELECT 'column', attrelid::regclass || '.' || attname, concat_ws(
    ' ', format_type(atttypid, atttypmod), attnotnull, attidentity, attgenerated, pg_get_expr(adbin, adrelid), attacl)
FROM pg_attribute LEFT JOIN pg_attrdef ON (adrelid, adnum) = (attrelid, attnum) WHERE attrelid IN ({TABLES})
UNION ALL SELECT 'constraint', conrelid::regclass || '.' || conname, pg_get_constraintdef(oid) FROM pg_constraint
WHERE conrelid IN ({TABLES})
UNION ALL SELECT 'policy', polrelid::regclass || '.' || polname, concat_ws(
    ' ', polcmd, polpermissive, polroles::regrole[],
    pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid))
FROM pg_policy WHERE polrelid IN ({TABLES})
UNION ALL SELECT 'trigger', tgname || ' ON ' || tgrelid::regclass, pg_get_triggerdef(oid) FROM pg_trigger
WHERE tgrelid IN ({TABLES}) AND NOT tgisinternal
UNION ALL SELECT 'function', oid::regprocedure::text, concat_ws(' ', proowner::regrole, proacl, prosecdef, md5(prosrc))
FROM pg_proc WHERE pronamespace = ANY(%(schemas)s::regnamespace[])
UNION ALL SELECT 'type', oid::regtype::text, typacl::text FROM pg_type
WHERE typnamespace = ANY(%(schemas)s::regnamespace[])
ORDER BY 1, 2, 3
"""  # noqa: S608 - of constants


def theirs(url: DatabaseUrl, *schemas: str) -> set[tuple[str, ...]]:
    """All that the catalog says of these schemas."""
    with psycopg.connect(url.libpq) as connection:
        connection.execute("SET search_path = pg_catalog")
        return set(connection.execute(THEIRS.encode(), {"schemas": list(schemas)}).fetchall())


def contents(url: DatabaseUrl) -> dict[str, str]:
    """A digest of the rows of each table in `public`."""
    with psycopg.connect(url.libpq) as connection:
        tables = connection.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        )
        return {name: digest(connection, name) for (name,) in tables.fetchall()}


def digest(connection: psycopg.Connection, table: str) -> str:
    rows = sql.SQL("SELECT md5(string_agg(t::text, ' ' ORDER BY t::text)) FROM public.{} AS t")
    return str(connection.execute(rows.format(sql.Identifier(table))).fetchone())


def serves_tasks(superuser: DatabaseUrl) -> Rows:
    """The queue takes a task of this database from pending to completed, as the role that workers have."""
    with psycopg.connect(superuser.libpq, autocommit=True) as connection:
        connection.execute(sql.SQL("ALTER ROLE task_worker PASSWORD {}").format(sql.Literal(WORKER_PASSWORD)))
    rows = Rows(superuser)
    task = rows.task()
    minute = timedelta(minutes=1)
    with Database(superuser.as_role("task_worker", WORKER_PASSWORD)) as database:
        assert task in queue.offer(database, 9, per_user=5, timeout=minute)
        claim = queue.claim(database, task, holder="w", celery_id=None, ttl=minute, per_user=5, prompt_limit=99)
        assert claim
        entries = [{"id": "x", "timestamp": "2026-01-01T00:00:00.000Z", "type": "info", "message": "done"}]
        queue.finish(database, task, fence=claim.fence, outcome="completed", entries=entries, error=None, usage={})
    assert rows.status(task) == "completed"
    return rows


def test_supabase_without_the_applications_tables(pristine: DatabaseUrl) -> None:
    owner = beds.supabase(pristine)
    before = theirs(owner, "auth", "storage")
    migrate.upgrade(owner)
    after = theirs(owner, "auth", "storage")

    assert before <= after
    assert {name for _, name, _ in after - before} == {"codingit_on_auth_user_created ON auth.users"}
    assert migrate.differences(owner) == []
    assert migrate.upgrade(owner) == migrate.newest()
    serves_tasks(pristine).close()


def test_no_sequence_is_open_to_users_for_the_defaults_that_supabase_gives(pristine: DatabaseUrl) -> None:
    """One who may call setval makes every insert of everybody fail."""
    owner = beds.supabase(pristine)
    migrate.upgrade(owner)
    with psycopg.connect(owner.libpq) as connection:
        drawn = connection.execute(
            """SELECT oid::regclass::text, role FROM pg_class, unnest(ARRAY['anon', 'authenticated']) AS role
            WHERE relkind = 'S' AND relnamespace = 'public'::regnamespace
            AND has_sequence_privilege(role, oid, 'UPDATE, SELECT')"""
        )
        assert drawn.fetchall() == []


def test_what_was_made_on_supabase_goes_again(pristine: DatabaseUrl) -> None:
    owner = beds.supabase(pristine)
    before = theirs(owner, "auth", "storage", "public"), roles(owner)
    migrate.upgrade(owner)
    migrate.downgrade(owner, "base")

    assert (theirs(owner, "auth", "storage", "public"), roles(owner)) == before


def roles(url: DatabaseUrl) -> set[str]:
    with psycopg.connect(url.libpq) as connection:
        return {name for (name,) in connection.execute("SELECT rolname FROM pg_roles").fetchall()}


def test_new_tables_are_closed_until_rights_are_declared(pristine: DatabaseUrl) -> None:
    owner = beds.supabase(pristine)
    with migrate._exclusive(owner) as connection:
        command.upgrade(migrate._config(connection), "0006")
    with psycopg.connect(owner.libpq) as connection:
        open_ones = """
            SELECT relname, role FROM pg_class, unnest(ARRAY['anon', 'authenticated']) AS role
            WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname <> 'tasks'
            AND (NOT relrowsecurity OR has_table_privilege(role, oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE'))"""

        assert connection.execute(open_ones).fetchall() == []


def on_supabase(superuser: DatabaseUrl) -> DatabaseUrl:
    owner = beds.supabase(superuser)
    beds.original(superuser, owner, schemas=["public"])
    return owner


def on_a_plain_server(superuser: DatabaseUrl) -> DatabaseUrl:
    beds.run(superuser, "original_platform")
    beds.original(superuser, superuser, schemas=["auth", "storage", "public"])
    return superuser


def with_a_status_of_text(superuser: DatabaseUrl) -> DatabaseUrl:
    beds.run(superuser, "original_platform")
    beds.original(superuser, superuser, schemas=["auth", "storage", "public"], also=["original_text_status"])
    return superuser


@pytest.fixture(params=[on_supabase, on_a_plain_server, with_a_status_of_text], ids=lambda bed: bed.__name__)
def adopted(request: pytest.FixtureRequest, pristine: DatabaseUrl) -> DatabaseUrl:
    """A database that holds the application's tables, made by its own SQL, with rows; as whoever upgrades it."""
    owner: DatabaseUrl = request.param(pristine)
    return owner


def test_tables_of_the_applications_own_are_adopted_and_left_as_they_are(
    adopted: DatabaseUrl, pristine: DatabaseUrl
) -> None:
    before, rows = theirs(adopted, "auth", "storage", "public"), contents(adopted)
    migrate.upgrade(adopted)
    after = theirs(adopted, "auth", "storage", "public")

    assert before <= after
    assert {name for _, name, _ in after - before if "worker_" not in name} <= made(adopted)
    assert contents(adopted) == rows
    assert not made(adopted, "table")
    serves_tasks(pristine).close()

    migrate.upgrade(adopted)
    assert theirs(adopted, "auth", "storage", "public") == after
    migrate.downgrade(adopted, "base")
    assert theirs(adopted, "auth", "storage", "public") == before


def test_what_was_hardened_works_on_after_a_downgrade(adopted: DatabaseUrl, pristine: DatabaseUrl) -> None:
    migrate.upgrade(adopted)
    list(migrate.harden(adopted, [finding.name for finding in migrate.differences(adopted)]))
    migrate.downgrade(adopted, "base")

    rows = Rows(pristine)
    [owner] = rows.execute("SELECT user_id::text AS id FROM public.projects LIMIT 1")
    rows.execute(
        "SELECT set_config('request.jwt.claims', jsonb_build_object('sub', %s::text)::text, false)", owner["id"]
    )
    rows.execute("SET ROLE authenticated")
    assert rows.execute("SELECT public.soft_delete_project(id) FROM public.projects") != []
    assert rows.execute("SELECT count(*) AS teams FROM public.teams") == [{"teams": 1}]
    rows.close()


def made(url: DatabaseUrl, *kinds: str) -> set[str]:
    """What is recorded as ours, of these kinds or of all."""
    with psycopg.connect(url.libpq) as connection:
        found = connection.execute("SELECT kind, name FROM worker.created_objects").fetchall()
        return {name.replace(", ", ",") for kind, name in found if not kinds or kind in kinds}


def test_logs_that_are_a_string_of_json_stay_one(pristine: DatabaseUrl) -> None:
    migrate.upgrade(with_a_status_of_text(pristine))
    rows = serves_tasks(pristine)

    assert rows.execute("SELECT DISTINCT jsonb_typeof(logs) AS kind FROM public.tasks") == [{"kind": "string"}]
    rows.close()


def test_only_what_is_absent_is_made_beside_tables_of_the_applications_own(pristine: DatabaseUrl) -> None:
    owner = with_a_status_of_text(pristine)
    rows = Rows(pristine)
    rows.execute("DROP TABLE public.messages, public.workflow_templates")
    migrate.upgrade(owner)

    assert made(owner, "table") == {"public.messages", "public.workflow_templates"}
    assert "public.message_role_enum" not in made(owner, "type")
    rows.close()


@pytest.mark.parametrize("attributes", ["BYPASSRLS", "NOBYPASSRLS"])
def test_an_owner_who_is_no_superuser_makes_all_and_removes_it_again(
    pristine: DatabaseUrl, attributes: LiteralString
) -> None:
    owner = beds.owned(pristine, attributes=attributes)
    before = theirs(owner, "public"), roles(owner)
    migrate.upgrade(owner)

    assert migrate.differences(owner) == []
    assert (vector.TABLE in made(owner, "table")) == (migrate.left_out(owner) == [])
    assert bypassing(owner) == (attributes == "BYPASSRLS" and version_of(owner) >= 16)
    serves_tasks(pristine).close()

    migrate.downgrade(owner, "base")
    assert (theirs(owner, "public"), roles(owner)) == before


def bypassing(url: DatabaseUrl) -> bool:
    with psycopg.connect(url.libpq) as connection:
        asked = connection.execute("SELECT rolbypassrls FROM pg_roles WHERE rolname = 'service_role'")
        return asked.fetchall() == [(True,)]


def version_of(url: DatabaseUrl) -> int:
    with psycopg.connect(url.libpq) as connection:
        return connection.info.server_version // 10000


def test_a_superuser_lets_the_service_bypass_row_level_security(pristine: DatabaseUrl) -> None:
    migrate.upgrade(pristine)

    assert bypassing(pristine)


def test_embeddings_are_made_by_the_first_upgrade_that_finds_pgvector(pristine: DatabaseUrl) -> None:
    owner = beds.owned(pristine)
    migrate.upgrade(owner)
    [advice] = migrate.left_out(owner)
    assert "CREATE EXTENSION vector SCHEMA extensions" in advice
    assert migrate.differences(owner) == []
    if not beds.has_pgvector(owner):
        pytest.skip("there is no pgvector here")

    beds.install_pgvector(pristine)
    migrate.upgrade(owner)

    assert migrate.left_out(owner) == []
    assert migrate.differences(owner) == []
    assert vector.TABLE in made(owner, "table")


def test_an_upgrade_that_met_a_lock_can_be_repeated(owner_url: DatabaseUrl) -> None:
    migrate.downgrade(owner_url, "0005")
    with psycopg.connect(owner_url.libpq) as signing_up:
        signing_up.execute("INSERT INTO auth.users (id) VALUES (gen_random_uuid())")
        with pytest.raises(OperationalError, match="lock timeout"):
            migrate.upgrade(owner_url)
    assert migrate.current(owner_url) == "0005"
    assert "public.teams" not in made(owner_url, "table")

    migrate.upgrade(owner_url)
    assert migrate.differences(owner_url) == []


def test_the_previous_release_is_brought_along_with_its_rows(owner_url: DatabaseUrl, rows: Rows) -> None:
    migrate.downgrade(owner_url, "0004")
    task = rows.task()
    migrate.upgrade(owner_url)

    assert migrate.differences(owner_url) == []
    assert rows.status(task) == "pending"


def test_pgvector_in_another_schema_is_told_to_move(pristine: DatabaseUrl) -> None:
    if not beds.has_pgvector(pristine):
        pytest.skip("there is no pgvector here")
    with psycopg.connect(pristine.libpq) as connection:
        connection.execute("CREATE EXTENSION vector SCHEMA public")
    migrate.upgrade(pristine)
    [advice] = migrate.left_out(pristine)
    assert "ALTER EXTENSION vector SET SCHEMA extensions" in advice

    with psycopg.connect(pristine.libpq) as connection:
        connection.execute("ALTER EXTENSION vector SET SCHEMA extensions")
    migrate.upgrade(pristine)
    assert migrate.left_out(pristine) == []
