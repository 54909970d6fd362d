"""Hardening a database that holds the application's own tables, with all their faults, by choice and bit by bit."""

import json
from collections.abc import Callable, Iterator
from uuid import UUID, uuid4

import psycopg
import pytest
from sqlalchemy import text
from typer.testing import CliRunner, Result

from db import migrate
from db.declared import functions
from db.engine import engine
from db.url import DatabaseUrl
from tests.migrations.test_adoption import contents, on_a_plain_server, on_supabase, theirs, with_a_status_of_text
from tests.support.population import populate
from tests.support.rows import Rows
from worker.cli import app
from worker.cli.db import KINDS
from worker.settings import settings

DUPLICATE = """
    INSERT INTO public.messages (project_id, role, content, sequence_number)
    SELECT project_id, role, content, sequence_number FROM public.messages
"""
UNIQUE = "constraint:public.messages.messages_project_id_sequence_number_key"
Typed = Callable[..., Result]


@pytest.fixture
def adopted(pristine: DatabaseUrl) -> DatabaseUrl:
    """A Supabase project with the application's own tables, as its owner, who is no superuser."""
    owner = on_supabase(pristine)
    migrate.upgrade(owner)
    return owner


@pytest.fixture
def rows(adopted: DatabaseUrl, pristine: DatabaseUrl) -> Iterator[Rows]:
    opened = Rows(pristine)
    yield opened
    opened.close()


@pytest.fixture
def typed(owner_url: DatabaseUrl, monkeypatch: pytest.MonkeyPatch) -> Iterator[Typed]:
    """What a person types after `codingit-worker db`, for a database of ours with a few of those faults."""
    with psycopg.connect(owner_url.libpq) as connection:
        connection.execute("CREATE INDEX idx_api_keys_hash ON public.api_keys (key_hash)")
        connection.execute("ALTER TABLE public.messages DROP CONSTRAINT messages_project_id_sequence_number_key")
        connection.execute("GRANT ALL ON public.profiles TO authenticated")
    monkeypatch.setenv("ADMIN_DATABASE_URL", owner_url.libpq)
    settings.cache_clear()
    yield lambda *words: CliRunner().invoke(app, ["db", *words])
    settings.cache_clear()


def names(url: DatabaseUrl) -> set[str]:
    return {finding.name for finding in migrate.differences(url)}


@pytest.mark.parametrize("bed", [on_supabase, on_a_plain_server, with_a_status_of_text])
def test_after_all_was_mended_nothing_differs_and_no_row_is_lost(
    pristine: DatabaseUrl, bed: Callable[[DatabaseUrl], DatabaseUrl]
) -> None:
    owner = bed(pristine)
    migrate.upgrade(owner)
    before, platform = contents(owner), theirs(owner, "auth", "storage")
    found = names(owner)

    outcomes = list(migrate.harden(owner))

    assert [outcome for outcome in outcomes if outcome.refusal] == []
    assert migrate.differences(owner) == []
    assert {outcome.finding.name for outcome in outcomes} >= found
    assert {table for table, rows in contents(owner).items() if rows != before[table]} == {"user_usage"}
    assert theirs(owner, "auth", "storage") == platform
    assert migrate.upgrade(owner) == migrate.newest()
    assert migrate.differences(owner) == []


def test_what_was_mended_works(adopted: DatabaseUrl, rows: Rows) -> None:
    """Older names of what is counted were renamed, and a count without a team has one row."""
    list(migrate.harden(adopted))
    rows.execute("UPDATE public.team_usage_limits SET limit_value = 1")
    [usage] = rows.execute("SELECT user_id, team_id FROM public.user_usage LIMIT 1")
    for team in (usage["team_id"], None, None):
        rows.execute("SELECT public.increment_usage('api_call', %s, %s)", team, usage["user_id"])

    counted = rows.execute(
        "SELECT usage_count AS n FROM public.user_usage WHERE user_id = %s ORDER BY team_id", usage["user_id"]
    )
    assert [row["n"] for row in counted] == [2, 2]
    assert rows.execute("SELECT DISTINCT usage_type FROM public.user_usage") == [{"usage_type": "api_calls"}]


def test_strangers_see_nothing_of_what_was_open(adopted: DatabaseUrl, rows: Rows) -> None:
    def seen() -> int:
        rows.execute("SET ROLE authenticated")
        try:
            return len(rows.execute("SELECT id FROM public.profiles"))
        finally:
            rows.execute("RESET ROLE")

    assert seen() == 2
    mended = list(migrate.harden(adopted, ["policies:public.profiles", "rights:public.profiles"]))

    assert [outcome.refusal for outcome in mended] == [None, None]
    assert seen() == 0


@pytest.mark.parametrize("bed", [on_a_plain_server, with_a_status_of_text])
def test_the_guard_is_chosen_by_name_and_serves_a_status_of_text(
    pristine: DatabaseUrl, bed: Callable[[DatabaseUrl], DatabaseUrl]
) -> None:
    owner = bed(pristine)
    migrate.upgrade(owner)
    guard = "trigger:public.tasks.guard_processing_task"
    before = names(owner)

    [outcome] = migrate.harden(owner, [guard])

    assert outcome.refusal is None
    assert names(owner) == before - {guard}
    rows = Rows(pristine)
    me = rows.user()
    task = rows.task(user=me, status="processing")
    sign_in(rows, me)
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="is processing"):
        rows.execute("UPDATE public.tasks SET progress = 99 WHERE id = %s", task)
    rows.execute("UPDATE public.tasks SET status = 'error' WHERE id = %s", task)
    rows.close()


def sign_in(rows: Rows, user: UUID) -> None:
    rows.execute("SELECT set_config('request.jwt.claims', %s, false)", json.dumps({"sub": str(user)}))
    rows.execute("SET ROLE authenticated")


def test_a_key_with_duplicates_is_refused_with_the_row_in_the_way_and_stops_nothing_else(
    adopted: DatabaseUrl, rows: Rows
) -> None:
    rows.execute(DUPLICATE)
    outcomes = {outcome.finding.name: outcome.refusal for outcome in migrate.harden(adopted)}

    refusal = outcomes.pop(UNIQUE)
    assert refusal
    assert "is duplicated" in refusal
    assert "Of rows that are alike in this, remove all but one" in refusal
    assert set(outcomes.values()) == {None}
    assert names(adopted) == {UNIQUE}
    assert rows.execute("SELECT indexrelid FROM pg_index WHERE NOT indisvalid") == []

    rows.execute(
        "DELETE FROM public.messages a USING public.messages b WHERE a.ctid > b.ctid AND a.project_id = b.project_id"
    )
    assert [outcome.refusal for outcome in migrate.harden(adopted)] == [None, None], (
        "the key, and what it makes needless"
    )
    assert migrate.differences(adopted) == []


def test_a_table_that_is_locked_is_refused_for_now(adopted: DatabaseUrl, rows: Rows) -> None:
    with psycopg.connect(adopted.libpq) as busy:
        busy.execute("SELECT FROM public.profiles")
        [policies, index] = sorted(
            migrate.harden(adopted, ["policies:public.profiles", "needless:public.idx_api_keys_hash"]),
            key=lambda outcome: outcome.refusal is None,
        )

    assert policies.refusal
    assert "lock timeout" in policies.refusal
    assert index.refusal is None
    assert "policies:public.profiles" in names(adopted)


def test_what_no_statement_mends_is_refused(adopted: DatabaseUrl, rows: Rows) -> None:
    rows.execute("ALTER TABLE public.tasks DISABLE TRIGGER worker_ring_for_pending")

    [outcome] = migrate.harden(adopted, ["worker:trigger"])
    assert outcome.refusal == (
        "No statement mends this. The queue's own trigger changed since the last upgrade. "
        "An upgrade leaves that as it is: take back what was changed."
    )


def test_a_database_that_was_never_upgraded_is_told_so_and_left_alone(pristine: DatabaseUrl) -> None:
    owner = on_a_plain_server(pristine)
    [outcome] = migrate.harden(owner)

    assert outcome.refusal
    assert "Run: codingit-worker db upgrade" in outcome.refusal
    rows = Rows(pristine)
    assert rows.execute("SELECT to_regnamespace('worker') AS ours") == [{"ours": None}]
    rows.close()


def test_what_a_downgrade_left_for_hardened_policies_is_ours_again_after_an_upgrade(adopted: DatabaseUrl) -> None:
    list(migrate.harden(adopted, ["policies:public.teams", "function:public.soft_delete_project"]))
    migrate.downgrade(adopted, "base")
    with psycopg.connect(adopted.libpq) as connection:  # an older release's
        connection.execute(
            """CREATE OR REPLACE FUNCTION rls.is_service() RETURNS boolean LANGUAGE sql STABLE SET search_path = ''
            RETURN false"""
        )
    migrate.upgrade(adopted)

    assert "function:rls.is_service" not in names(adopted)
    assert ("schema", "rls") in recorded(adopted)
    assert {name.partition("(")[0] for _, name in recorded(adopted) if name.startswith("rls.")} == {
        name for name in functions.declared() if name.startswith("rls.")
    }


def recorded(url: DatabaseUrl) -> set[tuple[str, str]]:
    with psycopg.connect(url.libpq) as connection:
        return set(connection.execute("SELECT kind, name FROM worker.created_objects").fetchall())


def test_check_says_what_differs_and_what_would_mend_it(typed: Typed) -> None:
    words = typed("check")
    found = json.loads(typed("check", "--json").stdout)

    assert words.exit_code == 1
    assert "    DROP INDEX CONCURRENTLY public.idx_api_keys_hash;" in words.stdout
    assert "codingit-worker db harden" in words.stdout
    [finding] = [each for each in found["differences"] if each["name"] == "needless:public.idx_api_keys_hash"]
    assert finding["sentence"] == "The index public.idx_api_keys_hash repeats public.api_keys_key_hash_key."
    assert finding["statements"] == ["DROP INDEX CONCURRENTLY public.idx_api_keys_hash"]


def test_check_groups_what_differs_tells_of_security_first_and_says_what_to_do(typed: Typed) -> None:
    words = typed("check").stdout

    rights = words.index("Rights: what users may do at all (1)")
    assert rights < words.index("Constraints (1)") < words.index("Indexes that repeat others (1)")
    assert words.count("public.profiles: ") == 1
    assert "\n3 differences.\nTo mend what you choose: codingit-worker db harden" in words
    assert "the next codingit-worker db upgrade mends too.\n" in words


def test_a_sequence_that_a_table_owns_and_no_default_draws_from_needs_no_rights(
    adopted: DatabaseUrl, rows: Rows
) -> None:
    """As the original's tasks_id_seq, made by hand beside that of the identity column."""
    list(migrate.harden(adopted, ["rights:public.tasks_id_seq"]))
    held = rows.execute("SELECT has_sequence_privilege('authenticated', 'public.tasks_id_seq', 'USAGE') AS held")
    assert held == [{"held": False}]
    assert "rights:public.tasks_id_seq" not in names(adopted)


def test_check_knows_the_kind_of_everything_that_may_differ(adopted: DatabaseUrl) -> None:
    assert {name.partition(":")[0] for name in names(adopted)} <= set(KINDS)


def test_a_dry_run_changes_nothing(owner_url: DatabaseUrl, typed: Typed) -> None:
    before = theirs(owner_url, "public")
    told = typed("harden", "--all", "--dry-run")

    assert told.exit_code == 0
    assert "    REVOKE ALL ON TABLE public.profiles FROM" in told.stdout
    assert theirs(owner_url, "public") == before


def test_harden_tells_of_each_and_fails_if_one_was_refused(owner_url: DatabaseUrl, typed: Typed) -> None:
    database = engine(owner_url)
    with database.begin() as connection:
        populate(connection, uuid4())
        connection.execute(text(DUPLICATE))
    database.dispose()
    told = typed("harden", UNIQUE, "needless:public.idx_api_keys_hash", "--json")

    assert told.exit_code == 1
    outcomes = {each["finding"]["name"]: each["refusal"] for each in json.loads(told.stdout)["outcomes"]}
    assert outcomes["needless:public.idx_api_keys_hash"] is None
    assert "is duplicated" in outcomes[UNIQUE]
    mended = typed("harden", "rights:public.profiles")
    assert (mended.exit_code, mended.stdout) == (0, "rights:public.profiles: mended\n1 mended, 0 refused.\n")


@pytest.mark.parametrize("words", [(), ("index:nothing",), ("--all", UNIQUE)])
def test_harden_wants_names_that_check_told_or_all(typed: Typed, words: tuple[str, ...]) -> None:
    refused = typed("harden", *words)

    assert refused.exit_code != 0
    assert "db check" in str(refused.exception)
