"""Messages: saved to their place, read in order, and found by their words, in one's own projects alone."""

import random
from base64 import b64encode
from uuid import UUID, uuid4

import pytest
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from db.errors import Unstorable
from db.models import MessageRole
from db.queries import messages, projects
from tests.integration.database.conftest import As
from tests.support.rows import Rows


@pytest.fixture
def project(session: Session, me: UUID) -> UUID:
    return projects.create(session, "Shop", user_id=me)


def say(session: Session, project: UUID, number: int, content: object) -> None:
    messages.save(session, project, role=MessageRole.USER, content=content, sequence_number=number)


def found(session: Session, words: str, user: UUID) -> list[object]:
    return [each.content for each in messages.search(session, words, user_id=user)]


def test_a_message_comes_back_as_it_was_saved(session: Session, project: UUID) -> None:
    content, made, result = [{"type": "text", "text": "Hi"}], {"title": "App"}, {"exit": 0}
    messages.save(
        *(session, project),
        role=MessageRole.ASSISTANT,
        content=content,
        sequence_number=3,
        object_data=made,
        result_data=result,
    )

    (seen,) = messages.of_project(session, project, limit=10)
    assert (seen.project_id, seen.role, seen.sequence_number) == (project, MessageRole.ASSISTANT, 3)
    assert (seen.content, seen.object_data, seen.result_data) == (content, made, result)
    assert seen.created_at is not None


def test_what_was_not_given_is_null_and_not_the_json_of_null(as_: As, rows: Rows, me: UUID) -> None:
    with as_(me) as session:
        say(session, projects.create(session, "Mine", user_id=me), 0, None)

    row = rows.execute("SELECT content::text AS content, object_data IS NULL AS none FROM public.messages")
    assert row == [{"content": "null", "none": True}]


def test_saving_to_the_same_place_replaces_the_message(session: Session, project: UUID) -> None:
    for content in ("first", "second"):
        say(session, project, 0, content)

    assert [seen.content for seen in messages.of_project(session, project, limit=10)] == ["second"]


def test_a_saved_message_marks_the_project_as_updated(as_: As, rows: Rows, me: UUID) -> None:
    with as_(me) as session:
        older, newer = (projects.create(session, title, user_id=me) for title in ("older", "newer"))
    with as_(me) as session:
        say(session, older, 0, "hello")
    with as_(me) as session:
        assert [each.id for each in projects.newest(session, 2, user_id=me)] == [older, newer]


def test_messages_are_read_in_order_and_in_pages(session: Session, project: UUID) -> None:
    for number in (4, 0, 3, 1, 2):
        say(session, project, number, number)
    first = messages.of_project(session, project, limit=3)
    rest = messages.of_project(session, project, limit=3, after=first[-1].sequence_number)

    assert [[seen.content for seen in page] for page in (first, rest)] == [[0, 1, 2], [3, 4]]


def test_clearing_removes_the_messages_of_one_project(session: Session, project: UUID, me: UUID) -> None:
    other = projects.create(session, "Other", user_id=me)
    for number in range(3):
        say(session, project, number, "x")
    say(session, other, 0, "kept")

    assert messages.clear(session, project) == 3
    assert messages.of_project(session, project, limit=10) == []
    assert [seen.content for seen in messages.of_project(session, other, limit=10)] == ["kept"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("authentication bug", {"an authentication bug"}),
        ("bugs", {"an authentication bug", "the bug in payment"}),
        ('"bug in payment"', {"the bug in payment"}),
        ('"payment in bug"', set()),
        ("bug -payment", {"an authentication bug"}),
        ("payment or authenticated", {"an authentication bug", "the bug in payment"}),
        ("the", set()),
        ("", set()),
        ("'; DROP TABLE messages --", set()),
        ("& | ! <-> :* (", set()),
    ],
)
def test_messages_are_found_by_words_as_in_a_search_engine(
    session: Session, project: UUID, me: UUID, words: str, expected: set[str]
) -> None:
    for number, content in enumerate(("an authentication bug", "the bug in payment", "nothing of the kind")):
        say(session, project, number, {"parts": [{"text": content}], "bugs": number})

    assert {each["parts"][0]["text"] for each in found(session, words, me)} == expected  # type: ignore[index]  # JSON


def test_the_newest_found_come_first_and_no_more_than_asked_for(as_: As, rows: Rows, me: UUID) -> None:
    with as_(me) as session:
        project = projects.create(session, "Shop", user_id=me)
        for number in range(4):
            say(session, project, number, f"bug {number}")
    rows.execute(
        "UPDATE public.messages SET created_at = timestamptz '2026-01-01' - sequence_number * interval '1 day'"
    )
    rows.execute("UPDATE public.messages SET created_at = 'infinity' WHERE sequence_number = 3")
    with as_(me) as session:
        hits = messages.search(session, "bug", user_id=me, limit=3)

    assert [hit.content for hit in hits] == ["bug 3", "bug 0", "bug 1"]
    assert {(hit.project_id, hit.project_title, hit.role) for hit in hits} == {(project, "Shop", MessageRole.USER)}
    assert hits[0].created_at is None


def test_a_search_finds_nothing_in_projects_of_others_nor_in_the_bin(as_: As, me: UUID, stranger: UUID) -> None:
    with as_(stranger) as session:
        open_one = projects.create(session, "Theirs", user_id=stranger, is_public=True)
        say(session, open_one, 0, "bug of a stranger")
    with as_(me) as session:
        kept, binned = (projects.create(session, title, user_id=me) for title in ("kept", "binned"))
        say(session, kept, 0, "bug of mine")
        say(session, binned, 0, "bug in the bin")
        projects.delete_softly(session, binned)
        assert found(session, "bug", me) == ["bug of mine"]


def test_nobody_searches_in_anothers_name(as_: As, me: UUID, stranger: UUID) -> None:
    with as_(stranger) as session, pytest.raises(DBAPIError, match="not yours"):
        messages.search(session, "bug", user_id=me)


def test_a_stranger_neither_reads_nor_writes_nor_clears_messages(as_: As, me: UUID, stranger: UUID) -> None:
    with as_(me) as session:
        project = projects.create(session, "Mine", user_id=me)
        say(session, project, 0, "mine")
    with as_(stranger) as session:
        assert messages.of_project(session, project, limit=10) == []
        assert messages.clear(session, project) == 0
    with as_(stranger) as session, pytest.raises(DBAPIError, match="not yours"):
        say(session, project, 0, "theirs")
    with as_(me) as session:
        assert [seen.content for seen in messages.of_project(session, project, limit=10)] == ["mine"]


def test_a_message_with_a_large_picture_is_saved_and_found_by_what_stands_before_it(
    session: Session, project: UUID, me: UUID
) -> None:
    """PostgreSQL indexes no more than a megabyte of different words, and would refuse the row."""
    chance = random.Random(7)
    picture = {"type": "image", "image": f"data:image/png;base64,{b64encode(chance.randbytes(2_000_000)).decode()}"}
    say(session, project, 0, [{"type": "text", "text": "a bug in\nthe login"}, picture])
    say(session, project, 1, {"code": " ".join(f"variable{n}" for n in range(150_000))})

    assert [content[0]["text"] for content in found(session, "bug login", me)] == ["a bug in\nthe login"]  # type: ignore[index]  # JSON
    assert len(found(session, "variable7", me)) == 1
    assert found(session, "variable149999", me) == []


@pytest.mark.parametrize("content", ["1" + 5000 * "0", "-" + 9000 * "9", 3000 * "[" + 3000 * "]", '{"a": 1e131071}'])
def test_content_that_python_cannot_read_keeps_nobody_from_others(as_: As, rows: Rows, me: UUID, content: str) -> None:
    with as_(me) as session:
        project = projects.create(session, "Mine", user_id=me)
        say(session, project, 0, "hello")
    rows.execute(
        "INSERT INTO public.messages (project_id, role, content, sequence_number) VALUES (%s, 'user', %s::jsonb, 1)",
        *(project, content),
    )
    with as_(me) as session:
        readable, odd = messages.of_project(session, project, limit=9)

    assert readable.content == "hello"
    assert odd.content in (float("inf"), float("-inf"), {"a": float("inf")}, content)


def test_no_message_is_saved_to_a_project_that_is_not_there(session: Session) -> None:
    with pytest.raises(DBAPIError):
        say(session, uuid4(), 0, "nowhere")


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ({"a": ["fine", "\0"]}, r"U\+0000 at content\.a\[1\]"),
        ({"a": "\ud800"}, r"U\+D800 at content\.a"),
        ({"\0": 1}, r"U\+0000 at a key of content"),
        ({1: 2}, "JSON knows texts only"),
        ([float("nan")], r"nan at content\[0\]"),
        (float("inf"), "inf at content"),
    ],
)
def test_content_that_cannot_be_stored_is_refused_with_its_place(
    session: Session, project: UUID, content: object, place: str
) -> None:
    with pytest.raises(Unstorable, match=place):
        say(session, project, 0, content)
    assert messages.of_project(session, project, limit=10) == []
