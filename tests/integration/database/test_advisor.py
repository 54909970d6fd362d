"""
What Supabase's database advisor looks for, by queries of our own: nothing of it is in a database that we made.

Each query is shown to find the fault that it is for. What the advisor tells of definer functions that signed-in users
may call (its 0029) is on purpose, and the list of them is here.
"""
# ruff: noqa: S608 - of the constants of this file

from collections.abc import Mapping
from dataclasses import dataclass
from typing import LiteralString

import pytest

from db.declared.access import CALLERS
from db.declared.functions import declared
from tests.support.rows import Rows

EXPOSED: LiteralString = "'public', 'auth', 'storage'"
OURS: LiteralString = "'public', 'auth', 'storage', 'rls', 'worker', 'extensions'"
TABLES: LiteralString = """
    SELECT c.oid, c.oid::regclass::text AS name, c.relrowsecurity AS secured, n.nspname AS schema
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p')
"""
POLICIES: LiteralString = """
    SELECT p.polrelid::regclass::text || ': ' || p.polname AS name, p.polrelid AS relation, p.polcmd AS action,
        concat(pg_get_expr(p.polqual, p.polrelid), ' ', pg_get_expr(p.polwithcheck, p.polrelid)) AS condition,
        pg_get_expr(p.polqual, p.polrelid) AS rows, pg_get_expr(p.polwithcheck, p.polrelid) AS written,
        ARRAY(SELECT CASE r WHEN 0 THEN 'PUBLIC' ELSE r::regrole::text END FROM unnest(p.polroles) r) AS roles
    FROM pg_policy p WHERE p.polpermissive
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """One thing that is not to be: a query for the names of what is wrong, and how to make it so."""

    query: LiteralString
    fault: LiteralString


ADVICE: Mapping[str, Advice] = {
    "a foreign key that no index begins with": Advice(
        query=f"""
            SELECT conrelid::regclass::text || '.' || conname AS name FROM pg_constraint f
            WHERE contype = 'f' AND connamespace::regnamespace::text IN ({OURS}) AND NOT EXISTS (
                SELECT FROM pg_index i WHERE i.indrelid = f.conrelid AND i.indisvalid AND i.indpred IS NULL
                    AND (i.indkey::int2[])[0:cardinality(f.conkey) - 1] @> f.conkey)""",
        fault="ALTER TABLE public.messages ADD COLUMN reader uuid REFERENCES auth.users",
    ),
    "a policy that asks who calls once a row": Advice(
        query=f"""
            SELECT name FROM ({POLICIES}) p
            WHERE regexp_replace(condition, 'SELECT (auth|rls)\\.', '', 'g')
                ~ '(auth\\.(uid|jwt|role|email)|rls\\.\\w+|current_setting)\\('""",
        fault="CREATE POLICY p ON public.tasks FOR SELECT TO authenticated USING (auth.uid() = user_id)",
    ),
    "several permissive policies for one role and action": Advice(
        query=f"""
            SELECT relation::regclass::text || ' ' || role || ' ' || one AS name
            FROM ({POLICIES}) p, unnest(roles) role,
                unnest(CASE action WHEN '*' THEN ARRAY['r', 'a', 'w', 'd'] ELSE ARRAY[action::text] END) one
            GROUP BY relation, role, one HAVING count(*) > 1""",
        fault="CREATE POLICY p ON public.tasks TO authenticated USING (( SELECT auth.uid()) = user_id)",
    ),
    "policies that are idle, for row level security is off": Advice(
        query=f"SELECT p.name FROM ({POLICIES}) p JOIN ({TABLES}) t ON t.oid = p.relation WHERE NOT t.secured",
        fault="ALTER TABLE public.tasks DISABLE ROW LEVEL SECURITY",
    ),
    "a table without row level security": Advice(
        query=f"SELECT name FROM ({TABLES}) t WHERE schema IN ({EXPOSED}) AND NOT secured",
        fault="CREATE TABLE public.open (id int PRIMARY KEY)",
    ),
    "row level security without a policy": Advice(
        query=f"""
            SELECT name FROM ({TABLES}) t
            WHERE schema = 'public' AND secured AND NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = t.oid)""",
        fault="DROP POLICY all_service_role ON public.subscription_events",
    ),
    "a policy that lets users write everything": Advice(
        query=f"""
            SELECT name FROM ({POLICIES}) p
            WHERE roles && '{{PUBLIC,anon,authenticated}}' AND action <> 'r' AND 'true' IN (rows, written)""",
        fault="CREATE POLICY p ON public.tasks FOR INSERT TO authenticated WITH CHECK (true)",
    ),
    "a policy that trusts what users say of themselves": Advice(
        query=f"SELECT name FROM ({POLICIES}) p WHERE condition ~ 'user_meta_?data'",
        fault="""CREATE POLICY p ON public.tasks FOR SELECT TO authenticated
            USING ((( SELECT auth.jwt()) -> 'user_metadata' ->> 'admin') IS NOT NULL)""",
    ),
    "two indexes for one thing": Advice(
        query=f"""
            SELECT string_agg(i.indexrelid::regclass::text, ', ') AS name FROM pg_index i
            JOIN pg_class c ON c.oid = i.indexrelid WHERE c.relnamespace::regnamespace::text IN ({OURS})
            GROUP BY indrelid, relam, indkey::text, indclass::text, indcollation::text, indoption::text,
                pg_get_expr(indpred, indrelid), pg_get_expr(indexprs, indrelid) HAVING count(*) > 1""",
        fault="CREATE INDEX again ON public.api_keys (key_hash)",
    ),
    "an invalid index": Advice(
        query="SELECT indexrelid::regclass::text AS name FROM pg_index WHERE NOT indisvalid",
        fault="UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'public.idx_tasks_status'::regclass",
    ),
    "a table without a primary key": Advice(
        query=f"""
            SELECT name FROM ({TABLES}) t WHERE schema IN ({OURS})
                AND NOT EXISTS (SELECT FROM pg_index WHERE indrelid = t.oid AND indisprimary)""",
        fault="CREATE TABLE public.keyless (id int)",
    ),
    "a view with its owner's rights": Advice(
        query=f"""
            SELECT oid::regclass::text AS name FROM pg_class
            WHERE relkind = 'v' AND relnamespace::regnamespace::text IN ({EXPOSED})
                AND NOT coalesce(reloptions::text[] && '{{security_invoker=true,security_invoker=on}}', false)""",
        fault="CREATE VIEW public.everybody AS SELECT id, email FROM auth.users",
    ),
    "a materialized view or a foreign table, which know no policies": Advice(
        query=f"""
            SELECT oid::regclass::text AS name FROM pg_class
            WHERE relkind IN ('m', 'f') AND relnamespace::regnamespace::text IN ({EXPOSED})""",
        fault="CREATE MATERIALIZED VIEW public.everybody AS SELECT id, email FROM auth.users",
    ),
    "a function that follows its caller's search path": Advice(
        query=f"""
            SELECT oid::regprocedure::text AS name FROM pg_proc p
            WHERE pronamespace::regnamespace::text IN ({OURS})
                AND NOT EXISTS (SELECT FROM unnest(proconfig) setting WHERE setting LIKE 'search_path=%')
                AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = p.oid AND deptype = 'e')""",
        fault="CREATE FUNCTION public.loose() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    ),
    "a definer function that anybody may call": Advice(
        query=f"""
            SELECT oid::regprocedure::text AS name FROM pg_proc
            WHERE prosecdef AND pronamespace::regnamespace::text IN ({OURS})
                AND has_function_privilege('anon', oid, 'EXECUTE')""",
        fault="GRANT EXECUTE ON FUNCTION public.soft_delete_project TO anon",
    ),
    "an extension in public": Advice(
        query="SELECT extname AS name FROM pg_extension WHERE extnamespace = 'public'::regnamespace",
        fault="CREATE EXTENSION pg_trgm SCHEMA public",
    ),
    "a column whose type stops an upgrade of PostgreSQL": Advice(
        query=f"""
            SELECT a.attrelid::regclass::text || '.' || a.attname AS name
            FROM pg_attribute a JOIN ({TABLES}) t ON t.oid = a.attrelid
            WHERE t.schema IN ({OURS}) AND a.attnum > 0 AND a.atttypid IN (
                'regcollation'::regtype, 'regconfig'::regtype, 'regdictionary'::regtype, 'regnamespace'::regtype,
                'regoper'::regtype, 'regoperator'::regtype, 'regproc'::regtype, 'regprocedure'::regtype)""",
        fault="ALTER TABLE public.teams ADD COLUMN kind regproc",
    ),
}


@pytest.mark.parametrize("advice", ADVICE.values(), ids=ADVICE)
def test_a_database_that_we_made_needs_no_advice(rows: Rows, advice: Advice) -> None:
    assert rows.execute(advice.query) == []


@pytest.mark.parametrize("advice", ADVICE.values(), ids=ADVICE)
def test_the_advice_would_be_given(rows: Rows, advice: Advice) -> None:
    rows.execute(advice.fault)

    assert rows.execute(advice.query)


def test_signed_in_users_call_those_definer_functions_that_ask_who_they_are(rows: Rows) -> None:
    """The advisor warns of every one of them; each begins with a check of its caller, or answers for them alone."""
    callable_ = rows.execute(
        """SELECT p.pronamespace::regnamespace || '.' || p.proname AS name FROM pg_proc p
        WHERE p.prosecdef AND has_function_privilege('authenticated', p.oid, 'EXECUTE')"""
    )
    names = {row["name"] for row in callable_}

    assert names == {
        name
        for name, function in declared().items()
        if function.body.definer and "authenticated" in CALLERS.get(name, ())
    }
    for name in names - {"rls.my_teams", "public.task_log"}:  # the latter reads nothing but its argument
        assert "perform rls.require(" in declared()[name].body.source
    assert "auth.uid()" in declared()["rls.my_teams"].body.source
