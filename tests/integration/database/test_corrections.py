"""What the application's own SQL had wrong, each in a test that its own form would fail."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, LiteralString
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.types.json import Jsonb

from db import migrate
from db.url import DatabaseUrl
from tests.support.rows import Rows

DENIED = psycopg.errors.InsufficientPrivilege
SAVE = """
    SELECT public.save_message_and_update_project(
        project_id_param := %s, role_param := %s, content_param := %s, sequence_number_param := %s)
"""
"""As the application calls it, by name and without the two that have defaults."""


class App:
    """The application's connection, as whoever is signed in."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows

    def sign_in(self, user: UUID | None, *, role: LiteralString = "authenticated") -> "App":
        self.rows.execute("RESET ROLE")
        claims = json.dumps({"sub": str(user)}) if user else ""
        self.rows.execute("SELECT set_config('request.jwt.claims', %s, false)", claims)
        self.rows.connection.execute(psycopg.sql.SQL("SET ROLE {}").format(psycopg.sql.Identifier(role)))
        return self

    def call(self, statement: LiteralString, *parameters: Any) -> Any:
        found = self.rows.execute(statement, *parameters)
        return [next(iter(row.values())) if len(row) == 1 else row for row in found]


@pytest.fixture
def app(owner_url: DatabaseUrl) -> Iterator[App]:
    opened = Rows(owner_url)
    yield App(opened)
    opened.close()


@pytest.fixture
def me(rows: Rows) -> UUID:
    return rows.user()


@pytest.fixture
def stranger(rows: Rows) -> UUID:
    return rows.user()


def project(rows: Rows, owner: UUID, **columns: Any) -> UUID:
    return made(rows, "projects", user_id=owner, title="A project", **columns)


def team(rows: Rows, *members: UUID, tier: str = "free") -> UUID:
    found = made(rows, "teams", name="A team", tier=tier)
    for member in members:
        made(rows, "team_members", team_id=found, user_id=member, role="member")
    return found


def made(rows: Rows, table: str, **columns: Any) -> UUID:
    statement = psycopg.sql.SQL("INSERT INTO public.{} ({}) VALUES ({}) RETURNING id").format(
        psycopg.sql.Identifier(table),
        psycopg.sql.SQL(", ").join(map(psycopg.sql.Identifier, columns)),
        psycopg.sql.SQL(", ").join(psycopg.sql.Placeholder() * len(columns)),
    )
    row = rows.connection.execute(statement, list(columns.values())).fetchone()
    assert row
    return UUID(str(row["id"]))


# Messages and projects


def test_a_message_is_saved_by_the_names_of_its_parameters_with_a_role_of_text(rows: Rows, app: App, me: UUID) -> None:
    """The original's order was refused (42P13), its role was no enum (42804), its upsert had no unique key (42P10)."""
    mine = project(rows, me, updated_at="2020-01-01")
    app.sign_in(me).call(SAVE, mine, "user", Jsonb({"type": "text"}), 5)
    app.call(SAVE, mine, "assistant", Jsonb({"type": "code"}), 5)

    assert rows.execute("SELECT role::text, content, sequence_number FROM public.messages") == [
        {"role": "assistant", "content": {"type": "code"}, "sequence_number": 5}
    ]
    assert rows.execute("SELECT true FROM public.projects WHERE updated_at > '2020-01-02'")


def test_two_messages_never_share_a_place_in_a_project(rows: Rows, me: UUID) -> None:
    message = {"project_id": project(rows, me), "role": "user", "content": Jsonb({}), "sequence_number": 1}
    made(rows, "messages", **message)

    with pytest.raises(psycopg.errors.UniqueViolation):
        made(rows, "messages", **message)


def test_nobody_saves_messages_into_the_project_of_another(rows: Rows, app: App, me: UUID, stranger: UUID) -> None:
    theirs = project(rows, stranger, is_public=True)

    for missing in (theirs, uuid4()):
        with pytest.raises(DENIED, match="not yours, or there is no such thing"):
            app.sign_in(me).call(SAVE, missing, "user", Jsonb({}), 1)
    assert rows.execute("SELECT true FROM public.messages") == []


def test_a_project_is_deleted_softly_by_its_owner_and_nobody_else(
    rows: Rows, app: App, me: UUID, stranger: UUID
) -> None:
    """The original let everybody delete everything."""
    mine, theirs = project(rows, me), project(rows, stranger)
    app.sign_in(me).call("SELECT public.soft_delete_project(%s)", mine)
    with pytest.raises(DENIED):
        app.call("SELECT public.soft_delete_project(project_id := %s)", theirs)

    deleted = rows.execute("SELECT id, status::text FROM public.projects WHERE deleted_at IS NOT NULL")
    assert deleted == [{"id": mine, "status": "deleted"}]


def test_the_service_may_act_for_everyone(rows: Rows, app: App, stranger: UUID) -> None:
    theirs = project(rows, stranger)
    app.sign_in(None, role="service_role").call(SAVE, theirs, "user", Jsonb({}), 1)
    app.call("SELECT public.soft_delete_project(%s)", theirs)

    assert rows.execute("SELECT true FROM public.projects WHERE deleted_at IS NOT NULL")


@pytest.mark.parametrize("attributes", ["INHERIT", "NOINHERIT"])
def test_a_role_of_users_is_not_the_service_whatever_its_name_and_before_it_became_anybody(
    rows: Rows, app: App, stranger: UUID, attributes: LiteralString
) -> None:
    """Another authenticator than Supabase's, that may call what users may: nobody is signed in, and it is no user."""
    theirs, role = project(rows, stranger), f"web_{uuid4().hex}"
    rows.connection.execute(f"CREATE ROLE {role} {attributes}; GRANT anon, authenticated TO {role}".encode())
    rows.connection.execute(f"GRANT EXECUTE ON FUNCTION public.soft_delete_project TO {role}".encode())
    try:
        with pytest.raises(DENIED, match="not yours, or there is no such thing"):
            app.sign_in(None, role=role).call("SELECT public.soft_delete_project(%s)", theirs)
    finally:
        app.rows.execute("RESET ROLE")
        rows.connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}".encode())


def test_an_owner_who_is_no_superuser_may_act_for_everyone(rows: Rows, app: App, stranger: UUID) -> None:
    """Supabase's `postgres`, which functions of schema rls belong to."""
    theirs, role = project(rows, stranger), f"owner_{uuid4().hex}"
    rows.connection.execute(f"CREATE ROLE {role}; ALTER SCHEMA rls OWNER TO {role}".encode())
    rows.connection.execute(f"GRANT EXECUTE ON FUNCTION public.soft_delete_project TO {role}".encode())
    try:
        assert app.sign_in(None, role=role).call("SELECT public.soft_delete_project(%s)", theirs)
    finally:
        app.rows.execute("RESET ROLE")
        rows.connection.execute(
            f"ALTER SCHEMA rls OWNER TO CURRENT_USER; DROP OWNED BY {role}; DROP ROLE {role}".encode()
        )


# Usage


def test_a_feature_is_free_while_its_limit_is_not_reached(rows: Rows, app: App, me: UUID) -> None:
    """The original failed whenever there was a limit: its variable and a column had one name (42702)."""
    ours = team(rows, me)
    made(rows, "team_usage_limits", team_id=ours, usage_type="api_calls", limit_value=1)
    ask = "SELECT public.can_use_feature(feature_name := 'api_call', team_id_param := %s, user_id_param := %s)"
    count = "SELECT public.increment_usage(feature_name := 'api_call', team_id_param := %s, user_id_param := %s)"
    app.sign_in(me)

    assert [app.call(ask, ours, me), app.call(count, ours, me)] == [[True], [True]]
    assert [app.call(ask, ours, me), app.call(count, ours, me)] == [[False], [False]]
    assert rows.execute("SELECT usage_count FROM public.user_usage") == [{"usage_count": 1}]


@pytest.mark.parametrize(
    ("called", "counted"),
    [
        ("api_call", "api_calls"),
        ("api_calls", "api_calls"),
        ("github_import", "github_imports"),
        ("fragment_execution", "fragment_executions"),
        ("project_created", "projects_created"),
        ("storage_used", "storage_mb"),
        ("execution_time_seconds", "execution_time_seconds"),
    ],
)
def test_what_is_counted_has_one_name(rows: Rows, app: App, me: UUID, called: str, counted: str) -> None:
    """The original's two tables shared no name, so that counting always failed (23514)."""
    ours = team(rows, me)
    made(rows, "team_usage_limits", team_id=ours, usage_type=counted, limit_value=9)
    for _ in range(2):
        assert app.sign_in(me).call("SELECT public.increment_usage(%s, %s, %s)", called, ours, me) == [True]

    assert rows.execute("SELECT usage_type, usage_count FROM public.user_usage") == [
        {"usage_type": counted, "usage_count": 2}
    ]
    assert rows.execute("SELECT current_usage FROM public.team_usage_limits") == [{"current_usage": 2}]


def test_nothing_is_counted_by_an_unknown_name(app: App, me: UUID) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue):
        app.sign_in(me).call("SELECT public.increment_usage('sandwiches', NULL, %s)", me)


def test_a_limit_is_exact_however_many_count_at_once(rows: Rows, owner_url: DatabaseUrl, me: UUID) -> None:
    ours = team(rows, me)
    made(rows, "team_usage_limits", team_id=ours, usage_type="api_calls", limit_value=10)

    def count(_: int) -> list[bool]:
        connection = Rows(owner_url)
        try:
            app = App(connection).sign_in(me)
            return [app.call("SELECT public.increment_usage('api_call', %s, %s)", ours, me)[0] for _ in range(5)]
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as pool:
        answers = [answer for each in pool.map(count, range(6)) for answer in each]
    assert answers.count(True) == 10
    assert rows.execute("SELECT current_usage FROM public.team_usage_limits") == [{"current_usage": 10}]
    assert rows.execute("SELECT usage_count FROM public.user_usage") == [{"usage_count": 10}]


@pytest.mark.parametrize("began", ["40 days", "1 year 2 days"])
def test_a_period_that_is_over_is_followed_by_the_one_that_holds_now(
    rows: Rows, app: App, me: UUID, began: str
) -> None:
    ours = team(rows, me)
    made(rows, "team_usage_limits", team_id=ours, usage_type="api_calls", limit_value=1, current_usage=1)
    rows.execute(
        """UPDATE public.team_usage_limits SET period_start = now() - %s::interval,
           period_end = now() - %s::interval + interval '1 month'""",
        began,
        began,
    )

    assert app.sign_in(me).call("SELECT public.can_use_feature('api_calls', %s, %s)", ours, me) == [True]
    assert app.call("SELECT public.increment_usage('api_calls', %s, %s)", ours, me) == [True]
    assert app.call("SELECT public.increment_usage('api_calls', %s, %s)", ours, me) == [False]
    assert rows.execute(
        """SELECT current_usage, period_start <= now() AND now() < period_end AS holds,
           period_end <= period_start + interval '1 month 3 days' AS a_month FROM public.team_usage_limits"""
    ) == [{"current_usage": 1, "holds": True, "a_month": True}]


@pytest.mark.parametrize(
    ("start", "at"),
    [
        ("2026-01-31 10:00Z", "2026-02-28 12:00Z"),
        ("2024-02-29 00:00Z", "2025-02-28 00:00Z"),
        ("2026-01-01Z", "2026-11-01Z"),
    ],
)
def test_a_new_period_ends_later_whatever_the_length_of_months(rows: Rows, start: str, at: str) -> None:
    """On the last of February, a month after the last of January is already over."""
    ended = "SELECT %s::timestamptz + make_interval(months => rls.months_to_end(%s, %s)) > %s AS holds"

    assert rows.execute(ended, start, start, at, at) == [{"holds": True}]


def test_nobody_counts_or_asks_for_others(rows: Rows, app: App, me: UUID, stranger: UUID) -> None:
    theirs = team(rows, stranger)
    app.sign_in(me)

    assert app.call("SELECT public.can_use_feature('api_calls', %s, %s)", theirs, me) == [False]
    for team_id, user in ((theirs, stranger), (None, stranger), (theirs, me)):
        with pytest.raises(DENIED):
            app.call("SELECT public.increment_usage('api_calls', %s, %s)", team_id, user)
    with pytest.raises(DENIED):
        app.call("SELECT public.can_use_feature('api_calls', %s, %s)", theirs, stranger)
    assert rows.execute("SELECT true FROM public.user_usage") == []


def test_limits_are_set_by_the_service_alone_and_only_once(rows: Rows, app: App, me: UUID) -> None:
    ours = team(rows, me, tier="pro")
    with pytest.raises(DENIED):
        app.sign_in(me).call("SELECT public.initialize_team_usage_limits(%s)", ours)
    app.sign_in(None, role="service_role")
    for _ in range(2):
        app.call("SELECT public.initialize_team_usage_limits(%s)", ours)

    assert rows.execute("SELECT count(*) AS n, min(limit_value) AS least FROM public.team_usage_limits") == [
        {"n": 4, "least": 50}
    ]


# Chats


def chat(rows: Rows, owner: UUID, *contents: str, **columns: Any) -> UUID:
    found = made(rows, "chat_sessions", user_id=owner, session_id=f"session of {uuid4()}", title="A chat", **columns)
    for content in contents:
        made(rows, "chat_message_cache", session_id=found, message_id=str(uuid4()), role="user", content=content)
    return found


SEARCH = "SELECT content, session_id, title, similarity_score > 0 AS fits FROM public.search_user_messages(%s, %s)"


def test_a_search_answers_what_fits_best_of_ones_own(rows: Rows, app: App, me: UUID, stranger: UUID) -> None:
    """The original failed as soon as a row matched: varchar is not text (42804)."""
    mine = chat(rows, me, "a bug in the parser", "the parser of parsers parses a parser", "lunch")
    chat(rows, stranger, "their parser has a bug")
    session = rows.execute("SELECT session_id FROM public.chat_sessions WHERE id = %s", mine)[0]["session_id"]

    found = app.sign_in(me).call(SEARCH, "parser", me)
    assert [row["content"] for row in found] == ["the parser of parsers parses a parser", "a bug in the parser"]
    assert {(row["session_id"], row["title"], row["fits"]) for row in found} == {(session, "A chat", True)}
    assert [row["content"] for row in app.call(SEARCH, '"bug in" -lunch', me)] == ["a bug in the parser"]
    with pytest.raises(DENIED):
        app.call(SEARCH, "parser", stranger)


def test_a_chat_summary_counts_what_is_ones_own(rows: Rows, app: App, me: UUID, stranger: UUID) -> None:
    chat(rows, me, model="claude", message_count=3, total_tokens=2_000_000_000, estimated_cost=1.5)
    chat(rows, me, model="claude", message_count=4, total_tokens=2_000_000_000, created_at="infinity")
    chat(rows, me, model="gpt", status="deleted", message_count=99)
    chat(rows, stranger, message_count=99)

    [found] = app.sign_in(me).call("SELECT * FROM public.get_user_chat_summary(%s)", me)
    assert (found["total_sessions"], found["total_messages"], found["total_cost"]) == (2, 7, 1.5)
    assert found["total_tokens"] == 2_147_483_647, "as much as the column's type holds"
    assert (found["favorite_models"], found["model_usage_breakdown"]) == (["claude"], {"claude": 2})
    assert 0 <= found["most_active_hour"] <= 23
    with pytest.raises(DENIED):
        app.call("SELECT * FROM public.get_user_chat_summary(%s)", stranger)


def test_a_chat_summary_of_nothing_is_zeros(app: App, me: UUID) -> None:
    [found] = app.sign_in(me).call("SELECT * FROM public.get_user_chat_summary(%s)", me)

    assert (found["total_sessions"], found["avg_daily_sessions"], found["favorite_models"]) == (0, 0, [])


# Functions in general


def test_no_function_follows_its_callers_search_path(rows: Rows) -> None:
    """Which advice of Supabase's looks for this, and for definer functions that anybody may call: see test_advisor."""
    mutable = """
        SELECT oid::regprocedure::text FROM pg_proc
        WHERE proconfig IS DISTINCT FROM ARRAY['search_path=pg_catalog, pg_temp']
            AND pronamespace = ANY ('{public,auth,storage,rls}'::regnamespace[])"""
    assert rows.execute(mutable) == []


TRAP = """
    CREATE FUNCTION pg_temp.sprung() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
        IF current_user <> current_setting('role') THEN RAISE 'sprung as %', current_user; END IF;
        RETURN true;
    END $$;
"""
DOMAIN = "CREATE DOMAIN pg_temp.{0} AS pg_catalog.{0} CHECK (pg_temp.sprung())"
CALLABLE = """
    SELECT oid::regproc::text AS name, proargtypes::regtype[]::text[] AS arguments FROM pg_proc
    WHERE prosecdef AND prorettype <> 'trigger'::regtype AND has_function_privilege(%s, oid, 'EXECUTE')
"""


@pytest.mark.parametrize("role", ["authenticated", "task_worker"])
def test_no_type_that_a_caller_made_is_used_with_the_rights_of_a_functions_owner(
    rows: Rows, app: App, me: UUID, role: LiteralString
) -> None:
    """PostgreSQL looks for types in pg_temp first, however empty the search path, and a CHECK runs what it likes."""
    found = rows.execute(CALLABLE, role)
    assert found
    app.sign_in(me, role=role).rows.execute(TRAP)
    for name in ("text", "uuid", "jsonb", "json", "date", "name", "regconfig", "timestamptz"):
        app.rows.connection.execute(DOMAIN.format(name).encode())

    values = {"uuid": f"'{me}'", "text": "'x'"}
    calls = [f"SELECT {f['name']}({', '.join(values.get(kind, 'NULL') for kind in f['arguments'])})" for f in found]
    assert [answer for call in calls if "sprung" in (answer := refusal(app, call))] == []


def refusal(app: App, call: str) -> str:
    try:
        app.rows.connection.execute(call.encode())
    except psycopg.Error as fault:
        return f"{call}: {fault}"
    return ""


@pytest.mark.parametrize("role", ["anon", "task_worker"])
def test_who_is_not_signed_in_calls_none_of_them(app: App, role: LiteralString) -> None:
    app.sign_in(None, role=role)
    for call in ("soft_delete_project(gen_random_uuid())", "get_user_chat_summary(gen_random_uuid())"):
        with pytest.raises(DENIED, match="permission denied for function"):
            app.rows.connection.execute(psycopg.sql.SQL("SELECT public." + call))


def test_a_token_without_a_subject_is_nobody(rows: Rows, app: App, me: UUID) -> None:
    mine = project(rows, me)

    with pytest.raises(DENIED):
        app.sign_in(None).call("SELECT public.soft_delete_project(%s)", mine)


# Teams, profiles, and what the policies had wrong


def test_members_see_their_team_and_each_other(rows: Rows, app: App, me: UUID, stranger: UUID) -> None:
    """The original's policy read a table that nobody could read, so that no member saw a team."""
    ours, _ = team(rows, me, rows.user()), team(rows, stranger)
    app.sign_in(me)

    assert app.call("SELECT id FROM public.teams") == [ours]
    assert app.call("SELECT count(*) FROM public.team_members") == [2]


def test_a_members_teams_are_found_by_an_index(rows: Rows, app: App, me: UUID) -> None:
    rows.execute("INSERT INTO public.teams (name) SELECT 'A team' FROM generate_series(1, 20000)")
    rows.execute(
        "INSERT INTO public.team_members (team_id, user_id, role) SELECT id, %s, 'member' FROM public.teams LIMIT 3", me
    )
    rows.execute("ANALYZE public.teams, public.team_members")

    plan = app.sign_in(me).call("EXPLAIN SELECT id FROM public.teams")
    assert [line for line in plan if "Index Cond" in line]
    assert not [line for line in plan if "Seq Scan" in line]


@pytest.mark.parametrize("table", ["profiles", "subscription_events"])
def test_profiles_and_payments_are_no_open_books(rows: Rows, app: App, me: UUID, stranger: UUID, table: str) -> None:
    """The original had no row level security on them, and gave every user every right."""
    rows.execute("INSERT INTO public.profiles (user_id, first_name) VALUES (%s, 'Ada')", stranger)
    made(rows, "subscription_events", team_id=team(rows, stranger), event_type="paid")
    app.sign_in(me)

    try:
        seen = app.rows.connection.execute(
            psycopg.sql.SQL("SELECT true FROM public.{}").format(psycopg.sql.Identifier(table))
        )
        assert seen.rowcount == 0
    except DENIED:
        assert table == "subscription_events"


def test_users_change_what_they_say_of_themselves_and_not_what_others_say(rows: Rows, app: App, me: UUID) -> None:
    """The original had the policy and not the right (42501)."""
    app.sign_in(me).call('UPDATE auth.users SET raw_user_meta_data = \'{"theme": "dark"}\'')

    assert rows.execute("SELECT raw_user_meta_data FROM auth.users") == [{"raw_user_meta_data": {"theme": "dark"}}]


# Files, sign-ups, sessions


def test_a_new_files_level_and_path_are_there_at_once(rows: Rows, me: UUID) -> None:
    """The original's level came with the first update; a.b.c has none, a/b/c is two folders down."""
    rows.execute("INSERT INTO storage.objects (bucket_id, name, owner) VALUES ('avatars', 'a/b/c', %s)", me)

    assert rows.execute("SELECT level, path_tokens FROM storage.objects") == [
        {"level": 2, "path_tokens": ["a", "b", "c"]}
    ]
    levels = "SELECT storage.get_level('a') AS a, storage.get_level('a/b/c') AS c, storage.get_level(NULL) AS none"
    assert rows.execute(levels) == [{"a": 0, "c": 2, "none": None}]


def test_the_size_of_a_bucket_survives_what_users_write(rows: Rows, me: UUID) -> None:
    for name, size in (("a", "12"), ("b", "30"), ("c", "large"), ("d", "9" * 40)):
        statement = "INSERT INTO storage.objects (bucket_id, name, owner, metadata) VALUES ('avatars', %s, %s, %s)"
        rows.execute(statement, name, me, Jsonb({"size": size}))

    assert rows.execute("SELECT storage.get_bucket_size('avatars') AS size") == [{"size": 42}]


def test_users_have_buckets_of_their_own_made_and_nobody_elses(app: App, me: UUID, stranger: UUID) -> None:
    for _ in range(2):
        app.sign_in(me).call("SELECT storage.create_user_buckets(%s)", me)
    assert app.call("SELECT public FROM storage.buckets WHERE owner = %s ORDER BY id", me) == [False, True]
    with pytest.raises(DENIED):
        app.call("SELECT storage.create_user_buckets(%s)", stranger)

    app.call("INSERT INTO storage.buckets (id, name, owner) VALUES ('user-' || %s, 'trap', %s)", str(stranger), me)
    with pytest.raises(psycopg.errors.UniqueViolation):
        app.sign_in(stranger).call("SELECT storage.create_user_buckets(%s)", stranger)


ACCOUNT = ("user_profiles", "user_preferences", "user_security_settings", "user_chat_analytics")


def accounts(rows: Rows, user: UUID) -> int:
    return sum(
        rows.connection.execute(
            psycopg.sql.SQL("SELECT true FROM public.{} WHERE user_id = %s").format(psycopg.sql.Identifier(table)),
            [user],
        ).rowcount
        for table in ACCOUNT
    )


def test_a_new_user_has_a_profile_also_where_one_is_there_already(rows: Rows, me: UUID) -> None:
    assert accounts(rows, me) == 4
    rows.execute("DELETE FROM public.user_profiles WHERE user_id = %s", me)
    rows.execute("SELECT rls.open_account(%s)", me)
    assert accounts(rows, me) == 4


def test_a_sign_up_does_not_fail_for_a_profile_that_cannot_be_made(rows: Rows) -> None:
    rows.execute("ALTER TABLE public.user_profiles ADD COLUMN shoe_size int NOT NULL")

    assert accounts(rows, rows.user()) == 0


def test_users_who_were_there_before_get_their_profiles_at_the_upgrade(rows: Rows, owner_url: DatabaseUrl) -> None:
    """As on a database of an older release, or of Supabase with users of its own."""
    rows.execute("DROP TRIGGER on_auth_user_created ON auth.users")
    rows.execute("DELETE FROM worker.created_objects WHERE kind = 'trigger' AND name LIKE 'on_auth%%'")
    before = rows.user()
    assert accounts(rows, before) == 0

    migrate.upgrade(owner_url)

    assert accounts(rows, before) == 4


def test_only_sessions_with_an_end_long_past_expire(rows: Rows, app: App, me: UUID) -> None:
    for end in (None, "infinity", "2020-01-01"):
        rows.execute("INSERT INTO auth.sessions (id, user_id, not_after) VALUES (gen_random_uuid(), %s, %s)", me, end)
    rows.execute(
        """INSERT INTO auth.refresh_tokens (token, revoked, created_at, updated_at) VALUES
        ('live', false, '2020-01-01', '2020-01-01'), ('fresh', true, '2020-01-01', now()),
        ('old', true, '2020-01-01', '2020-01-01')"""
    )
    with pytest.raises(DENIED):
        app.sign_in(me).call("SELECT auth.cleanup_expired_sessions()")
    app.sign_in(None, role="service_role").call("SELECT auth.cleanup_expired_sessions()")

    assert rows.execute("SELECT true FROM auth.sessions WHERE not_after < now()") == []
    assert rows.execute("SELECT count(*) AS n FROM auth.sessions") == [{"n": 2}]
    assert [row["token"] for row in rows.execute("SELECT token FROM auth.refresh_tokens ORDER BY 1")] == [
        "fresh",
        "live",
    ]


def test_users_sign_themselves_out_everywhere_and_nobody_else(rows: Rows, app: App, me: UUID, stranger: UUID) -> None:
    for user in (me, stranger):
        rows.execute("INSERT INTO auth.sessions (id, user_id) VALUES (gen_random_uuid(), %s)", user)
    app.sign_in(me).call("SELECT auth.revoke_user_sessions(%s)", me)
    with pytest.raises(DENIED):
        app.call("SELECT auth.revoke_user_sessions(%s)", stranger)

    assert rows.execute("SELECT user_id FROM auth.sessions") == [{"user_id": stranger}]


def test_uploads_that_never_ended_go_after_a_week(rows: Rows, app: App) -> None:
    for id_, age in (("old", "8 days"), ("young", "6 days")):
        rows.execute(
            """INSERT INTO storage.s3_multipart_uploads (id, upload_signature, bucket_id, key, version, created_at)
            VALUES (%s, 's', 'avatars', 'k', 'v', now() - %s::interval)""",
            id_,
            age,
        )
    app.sign_in(None, role="service_role").call("SELECT storage.cleanup_old_multipart_uploads()")

    assert rows.execute("SELECT id FROM storage.s3_multipart_uploads") == [{"id": "young"}]


def test_a_changed_row_was_changed_now(rows: Rows, app: App, me: UUID) -> None:
    mine = project(rows, me, updated_at="2020-01-01")
    app.sign_in(me).call("UPDATE public.projects SET title = 'Another', updated_at = '2030-01-01' WHERE id = %s", mine)

    assert rows.execute(
        "SELECT true FROM public.projects WHERE updated_at BETWEEN now() - interval '1 minute' AND now()"
    )
