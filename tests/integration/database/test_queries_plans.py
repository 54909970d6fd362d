"""What the queries cost in a large app: indexes lead to what is asked for, in a user's name as in the service's."""

from collections.abc import Callable, Iterator
from datetime import date
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import Connection, text
from sqlalchemy.orm import Session

from bench import crowd
from db.engine import engine
from db.queries import chat, files, fragments, messages, projects, tasks, uploads, usage
from db.rls import acting_as, as_service
from db.url import DatabaseUrl
from tests.support.databases import copied
from tests.support.plans import Plans
from tests.support.watching import watching
from worker.local.servers import Addresses

ME = crowd.FIRST
PROJECT, CHAT = UUID(int=1), UUID(int=1000)
"""Each one of mine."""
USERS = 1_000
WAYS = (("src/5", "new"), ("new", "src/5"))
Ask = Callable[[Session], object]
TABLES = (
    *("tasks", "projects", "messages", "workspace_files", "fragments", "file_uploads", "chat_sessions"),
    *("chat_message_cache", "user_usage"),
)
OTHERS = """
INSERT INTO public.fragments (user_id, title, template, code, file_path) SELECT {user}, 't', 't', 'c', 'f' {};
INSERT INTO public.file_uploads (user_id, file_name, file_path, bucket_name) SELECT {user}, 'f', 'p', 'b' {};
INSERT INTO public.chat_sessions (id, session_id, user_id) SELECT lpad(to_hex(n), 32, '0')::uuid, n, {user} {};
INSERT INTO public.chat_message_cache (session_id, message_id, role, content)
SELECT lpad(to_hex(1000 * (1 + n % 19) + n / 19 % 10), 32, '0')::uuid, n, 'user',
    'common' || CASE n % 1900 WHEN 0 THEN ' needle' ELSE '' END FROM generate_series(1, 50000) n;
INSERT INTO public.user_usage (user_id, usage_type, usage_date) SELECT {user}, 'api_calls', date '2020-01-01' + n {};
ANALYZE public.fragments, public.file_uploads, public.chat_sessions, public.chat_message_cache, public.user_usage
"""


@pytest.fixture(scope="module")
def large(stack: Addresses, template: str) -> Iterator[DatabaseUrl]:
    """A hundred thousand messages, tasks and files of a thousand users, and many of everything else."""
    user, series = "lpad(to_hex(1 + n % 1000), 32, '0')::uuid", "FROM generate_series(1, 20000) n"
    with copied(stack.database_url, template) as url:
        with psycopg.connect(url.libpq, autocommit=True) as connection:
            crowd.fill(connection, users=USERS)
            connection.execute("SET session_replication_role = replica")
            for statement in OTHERS.replace("{user}", user).replace("{}", series).split(";"):
                connection.execute(statement.encode())
        yield url


@pytest.fixture(scope="module")
def connection(large: DatabaseUrl) -> Iterator[Connection]:
    database = engine(large)
    with database.connect() as opened:
        yield opened
    database.dispose()


@pytest.fixture(params=["the user", "the service"])
def plans(connection: Connection, request: pytest.FixtureRequest) -> Iterator[Callable[[Ask], Plans]]:
    """Those of what is asked in that one's name."""

    def of(ask: Ask) -> Plans:
        acting = acting_as(connection, ME) if request.param == "the user" else as_service(connection)
        with acting as session:
            plans_until_now(session)
            assert ask(session)
            return plans_until_now(session)

    def plans_until_now(session: Session) -> Plans:
        session.execute(text("SELECT 1"))  # a plan is reported when the next statement takes its place
        return heard()

    with watching(connection) as heard:
        yield of


ASKED: dict[str, tuple[Ask, int]] = {
    "my newest tasks": (lambda s: tasks.newest(s, 20, user_id=ME), 150),
    "how many tasks I have": (lambda s: tasks.count(s, user_id=ME), 150),
    "my projects with their latest messages": (lambda s: projects.newest(s, 5, user_id=ME), 40),
    "one project": (lambda s: projects.get(s, PROJECT), 20),
    "the messages of a project": (lambda s: messages.of_project(s, PROJECT, limit=100), 40),
    "a page of them": (lambda s: messages.of_project(s, PROJECT, limit=2, after=4), 30),
    "a rare word": (lambda s: messages.search(s, "needle", user_id=ME), 120),
    "a word in everybody's messages": (lambda s: messages.search(s, "common", user_id=ME), 500),
    "what nobody wrote": (lambda s: [messages.search(s, "nowhere", user_id=ME)], 120),
    "a directory": (lambda s: files.listing(s, "src/3", user_id=ME), 30),
    "a page of it": (lambda s: files.listing(s, "src/3", user_id=ME, limit=2), 30),
    "a file": (lambda s: files.read(s, "src/3/30.ts", user_id=ME), 5),
    "a directory moved there and back": (lambda s: [files.move(s, *each, user_id=ME) for each in WAYS], 1600),
    "my fragments": (lambda s: fragments.newest(s, 5, user_id=ME), 60),
    "my uploads": (lambda s: uploads.newest(s, 5, user_id=ME), 60),
    "my chats": (lambda s: chat.newest(s, 5, user_id=ME), 60),
    "the messages of a chat": (lambda s: chat.cached(s, CHAT, limit=5), 300),
    "what I used": (lambda s: usage.of_user(s, ME, since=date(2020, 1, 1), until=date(2999, 1, 1)), 60),
}
"""What is asked, and how many rows may be read for it; of most a user has a hundred, or twenty."""


@pytest.mark.parametrize("asked", ASKED)
def test_no_table_is_read_through_and_few_rows_that_are_not_asked_for(
    plans: Callable[[Ask], Plans], asked: str
) -> None:
    ask, most = ASKED[asked]
    used = plans(ask)

    assert any(node.table in TABLES for node in used.nodes)
    assert used.scans(*TABLES) == []
    assert used.rows_of(*TABLES) <= most, [str(node) for node in used.nodes if node.rows]


def test_projects_without_a_condition_are_found_along_what_the_policy_asks(connection: Connection) -> None:
    """One's own, the public ones, one's teams': an index each."""
    with watching(connection) as heard, acting_as(connection, ME) as session:
        session.execute(text("SELECT count(*) FROM public.projects"))
        session.execute(text("SELECT 1"))
        used = heard()

    assert used.indexes() >= {"idx_projects_user_id", "idx_projects_public", "idx_projects_team_id"}
    assert used.scans("projects") == []


def test_a_search_for_rare_words_goes_along_the_index_on_words(plans: Callable[[Ask], Plans]) -> None:
    used = plans(lambda session: messages.search(session, "needle", user_id=ME))

    assert "idx_messages_search" in used.indexes()


def test_a_search_in_a_large_cache_goes_along_the_index_on_words(plans: Callable[[Ask], Plans]) -> None:
    used = plans(lambda session: [chat.search(session, "needle", user_id=ME)])

    assert "idx_chat_message_cache_content_vector" in used.indexes()


def test_a_directory_is_found_along_the_index_on_directories(plans: Callable[[Ask], Plans]) -> None:
    used = plans(lambda session: files.listing(session, "src/3", user_id=ME))

    assert "idx_workspace_files_parent_path" in used.indexes()


def test_only_the_projects_on_the_page_are_asked_for_their_latest_message(plans: Callable[[Ask], Plans]) -> None:
    used = plans(lambda session: projects.newest(session, 3, user_id=ME))

    assert used.rows_of("messages") == 3
