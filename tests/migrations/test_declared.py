"""What is declared, on databases that we made: told when it differs, mended by upgrades; an operator's own is kept."""

from typing import LiteralString

import pytest

from db import migrate
from db.declared import functions
from db.declared.access import CALLERS, RULES
from db.models import Base
from db.url import DatabaseUrl
from tests.support.rows import Rows


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ("DROP FUNCTION public.soft_delete_project", "function:public.soft_delete_project"),
        ("ALTER FUNCTION public.soft_delete_project SECURITY INVOKER", "function:public.soft_delete_project"),
        ("ALTER FUNCTION public.soft_delete_project RESET ALL", "function:public.soft_delete_project"),
        ("GRANT EXECUTE ON FUNCTION public.soft_delete_project TO PUBLIC", "function:public.soft_delete_project"),
        (
            "CREATE FUNCTION public.soft_delete_project(text) RETURNS int RETURN 1",
            "function:public.soft_delete_project",
        ),
        ("DROP POLICY select_authenticated ON public.teams", "policies:public.teams"),
        ("ALTER POLICY select_authenticated ON public.teams USING (true)", "policies:public.teams"),
        ("ALTER POLICY select_authenticated ON public.teams TO PUBLIC", "policies:public.teams"),
        ("ALTER TABLE public.teams DISABLE ROW LEVEL SECURITY", "policies:public.teams"),
        ("GRANT UPDATE (name) ON public.teams TO authenticated", "rights:public.teams"),
        ("REVOKE SELECT ON public.teams FROM authenticated", "rights:public.teams"),
        ("GRANT SELECT ON public.teams TO task_worker", "rights:public.teams"),
        (
            "DROP TRIGGER guard_processing_task ON public.tasks",
            "trigger:public.tasks.guard_processing_task",
        ),
        (
            "ALTER TABLE public.tasks DISABLE TRIGGER guard_processing_task",
            "trigger:public.tasks.guard_processing_task",
        ),
        ("DROP TRIGGER on_auth_user_created ON auth.users", "trigger:auth.users.on_auth_user_created"),
    ],
)
def test_what_differs_is_told_and_mended_by_an_upgrade(
    owner_url: DatabaseUrl, rows: Rows, change: LiteralString, name: str
) -> None:
    rows.execute(change)
    assert [finding.name for finding in migrate.differences(owner_url)] == [name]

    migrate.upgrade(owner_url)

    assert migrate.differences(owner_url) == []


def test_what_differs_is_mended_by_its_own_statements_too(owner_url: DatabaseUrl, rows: Rows) -> None:
    for change in ("DROP POLICY select_authenticated ON public.teams", "DROP FUNCTION public.soft_delete_project"):
        rows.connection.execute(change)

    assert [outcome.refusal for outcome in migrate.harden(owner_url)] == [None, None]
    assert migrate.differences(owner_url) == []


def test_a_policy_of_the_operators_own_is_told_of_and_stays(owner_url: DatabaseUrl, rows: Rows) -> None:
    rows.execute("CREATE POLICY auditors ON public.tasks FOR SELECT TO pg_read_all_data USING (true)")
    migrate.upgrade(owner_url)

    [finding] = migrate.differences(owner_url)
    assert (finding.name, list(finding.statements)) == (
        "policies:public.tasks",
        ['DROP POLICY "auditors" ON public.tasks'],
    )


def test_what_others_were_given_is_no_business_of_ours(owner_url: DatabaseUrl, rows: Rows) -> None:
    rows.execute("GRANT SELECT ON public.tasks TO pg_monitor")

    assert migrate.differences(owner_url) == []


def test_policies_of_the_first_release_are_replaced(owner_url: DatabaseUrl, rows: Rows) -> None:
    rows.execute('CREATE POLICY "Users can manage their own tasks" ON public.tasks USING (true)')
    migrate.upgrade(owner_url)

    assert migrate.differences(owner_url) == []


def test_every_table_has_its_rules_and_every_function_is_read() -> None:
    assert sorted(RULES) == sorted(
        table.fullname for table in Base.metadata.tables.values() if table.schema != "worker"
    )
    written = sum(
        (functions.FOLDER / f"{schema}.sql").read_text().count("create or replace") for schema in functions.SCHEMAS
    )
    assert len(functions.declared()) == written
    assert set(CALLERS) <= set(functions.declared())


def test_functions_are_made_where_the_applications_own_tables_have_no_enums(empty: DatabaseUrl) -> None:
    rows = Rows(empty)
    rows.execute("CREATE TABLE public.messages (id uuid PRIMARY KEY, role text)")
    migrate.upgrade(empty)

    assert rows.execute("SELECT to_regtype('public.message_role_enum') AS enum") == [{"enum": None}]
    assert rows.execute("SELECT count(*) AS n FROM pg_proc WHERE proname = 'search_project_messages'") == [{"n": 1}]
    rows.close()
