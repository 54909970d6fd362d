"""Chat sessions and the search in their cached messages; usage and its limits."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from db.queries import chat, usage
from db.rls import acting_as
from tests.integration.database.conftest import As
from tests.support.rows import Rows

TODAY = timedelta(days=1)
"""Around today, whatever the time zone."""


def started(session: Session, user: UUID, title: str = "Talk") -> UUID:
    return chat.start(session, uuid4().hex, user_id=user, title=title, model="sonnet", template="nextjs")


def cached(session: Session, talk: UUID, content: str, *, tokens: int | None = 5) -> UUID:
    return chat.cache(session, talk, content, message_id=uuid4().hex, role="user", token_count=tokens)


@pytest.fixture
def team(rows: Rows, me: UUID) -> UUID:
    """A team of mine that may import twice."""
    made = uuid4()
    rows.execute("INSERT INTO public.teams (id, name, email) VALUES (%s, 'Us', 'us@example.org')", made)
    rows.execute("INSERT INTO public.team_members (team_id, user_id, role) VALUES (%s, %s, 'member')", made, me)
    rows.execute(
        "INSERT INTO public.team_usage_limits (team_id, usage_type, limit_value) VALUES (%s, 'github_imports', 2)", made
    )
    return made


def test_a_chat_session_begins_active_and_empty(session: Session, me: UUID) -> None:
    made = chat.start(session, "session-1", user_id=me, title="Talk", model="sonnet")
    seen = chat.get(session, made)

    assert seen is not None
    assert (seen.session_id, seen.user_id, seen.title, seen.model) == ("session-1", me, "Talk", "sonnet")
    assert (seen.status, seen.message_count, seen.total_tokens, seen.estimated_cost) == ("active", 0, 0, Decimal(0))
    assert chat.get(session, uuid4()) is None


def test_a_cached_message_counts_in_its_session(session: Session, me: UUID) -> None:
    made = started(session, me)
    cached(session, made, "one")
    cached(session, made, "two", tokens=None)

    assert (seen := chat.get(session, made))
    assert (seen.message_count, seen.total_tokens) == (2, 5)
    assert {each.content for each in chat.cached(session, made, limit=9)} == {"one", "two"}


def test_cached_messages_are_read_newest_first_in_pages(as_: As, me: UUID) -> None:
    with as_(me) as session:
        made = started(session, me)
    for n in range(3):
        with as_(me) as session:
            cached(session, made, str(n))
    with as_(me) as session:
        first = chat.cached(session, made, limit=2)
        rest = chat.cached(session, made, limit=2, before=first[-1])
        assert [each.content for each in (*first, *rest)] == ["2", "1", "0"]


def test_the_last_active_session_comes_first(as_: As, me: UUID) -> None:
    made = []
    for _ in range(3):
        with as_(me) as session:
            made.append(started(session, me))
    with as_(me) as session:
        cached(session, made[0], "hello again")
    with as_(me) as session:
        first = chat.newest(session, 2, user_id=me)
        rest = chat.newest(session, 2, user_id=me, before=first[-1])
        assert [seen.id for seen in (*first, *rest)] == [made[0], made[2], made[1]]


def test_sessions_are_listed_by_their_status(session: Session, me: UUID) -> None:
    made = started(session, me)

    assert chat.mark(session, made, status="archived")
    assert chat.newest(session, 9, user_id=me) == []
    assert [seen.id for seen in chat.newest(session, 9, user_id=me, status="archived")] == [made]
    assert not chat.mark(session, uuid4(), status="archived")


def test_a_deleted_session_takes_its_messages_along(session: Session, me: UUID) -> None:
    made = started(session, me)
    cached(session, made, "bug")

    assert chat.delete_for_good(session, made)
    assert chat.search(session, "bug", user_id=me) == []
    assert not chat.delete_for_good(session, made)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("bug", ["bug bug bug", "a bug in the login"]),
        ("logins", ["a bug in the login"]),
        ("bug -login", ["bug bug bug"]),
        ('"bug in the login"', ["a bug in the login"]),
        ("the", []),
        ("') OR true --", []),
    ],
)
def test_the_cached_search_finds_what_fits_best_first(
    session: Session, me: UUID, words: str, expected: list[str]
) -> None:
    made = started(session, me)
    for content in ("a bug in the login", "bug bug bug", "something else"):
        cached(session, made, content)

    hits = chat.search(session, words, user_id=me)
    assert [hit.content for hit in hits] == expected
    assert {hit.title for hit in hits} <= {"Talk"}
    assert sorted((hit.similarity for hit in hits), reverse=True) == [hit.similarity for hit in hits]


def test_nobody_reads_or_searches_the_chats_of_others(as_: As, me: UUID, stranger: UUID) -> None:
    with as_(me) as session:
        made = started(session, me)
        cached(session, made, "a bug of mine")
    with as_(stranger) as session:
        assert chat.get(session, made) is None
        assert chat.cached(session, made, limit=9) == []
        assert chat.search(session, "bug", user_id=stranger) == []
        assert not chat.mark(session, made, status="deleted")
        assert not chat.delete_for_good(session, made)
    with as_(stranger) as session, pytest.raises(DBAPIError, match="not yours"):
        chat.search(session, "bug", user_id=me)
    with as_(stranger) as session, pytest.raises(DBAPIError, match="row-level security"):
        cached(session, made, "slipped in")


def test_a_team_uses_as_much_as_it_may_and_no_more(session: Session, me: UUID, team: UUID) -> None:
    asked = {"team_id": team, "user_id": me}

    assert [usage.count(session, "github_imports", **asked) for _ in range(3)] == [True, True, False]
    assert not usage.may_use(session, "github_imports", **asked)
    assert usage.may_use(session, "api_calls", **asked)
    (limit,) = usage.limits(session, team)
    assert (limit.usage_type, limit.limit_value, limit.current_usage) == ("github_imports", 2, 2)


def test_what_was_used_is_told_by_day(session: Session, me: UUID, team: UUID) -> None:
    for team_id in (None, None, team):
        assert usage.count(session, "api_calls", team_id=team_id, user_id=me)
    today = datetime.now(UTC).date()

    used = usage.of_user(session, me, since=today - TODAY, until=today + TODAY)
    assert {(each.usage_type, each.team_id, each.usage_count) for each in used} == {
        ("api_calls", None, 2),
        ("api_calls", team, 1),
    }
    assert usage.of_user(session, me, since=date(2020, 1, 1), until=date(2020, 1, 31)) == []


def test_of_many_who_ask_at_once_only_as_many_as_may_are_let_through(connected: Engine, me: UUID, team: UUID) -> None:
    def use(_: int) -> bool:
        with acting_as(connected, me) as session:
            return usage.count(session, "github_imports", team_id=team, user_id=me)

    with ThreadPoolExecutor(8) as crowd:
        assert sum(crowd.map(use, range(16))) == 2


def test_nobody_counts_or_reads_the_usage_of_others(as_: As, me: UUID, stranger: UUID, team: UUID) -> None:
    with as_(me) as session:
        usage.count(session, "api_calls", team_id=None, user_id=me)
    with as_(stranger) as session:
        assert usage.of_user(session, me, since=date(2020, 1, 1), until=date(2100, 1, 1)) == []
        assert usage.limits(session, team) == []
    for attempt in (usage.count, usage.may_use):
        with as_(stranger) as session, pytest.raises(DBAPIError, match="not yours"):
            attempt(session, "api_calls", team_id=team, user_id=me)


def test_only_what_has_a_name_is_counted(session: Session, me: UUID) -> None:
    with pytest.raises(DBAPIError, match="Nothing is counted"):
        usage.count(session, "'; DROP TABLE user_usage --", team_id=None, user_id=me)
