"""Projects: what is created can be found, by its owner and nobody else, with its latest message."""

from uuid import UUID, uuid4

import pytest
from sqlalchemy.orm import Session

from db.errors import Unstorable
from db.models import MessageRole, ProjectStatus
from db.queries import messages, projects
from tests.integration.database.conftest import As
from tests.support.rows import Rows

EVERY = tuple(ProjectStatus)


def say(session: Session, project: UUID, sequence_number: int, what: str) -> None:
    messages.save(session, project, role=MessageRole.USER, content=what, sequence_number=sequence_number)


def test_a_new_project_is_active_private_and_silent(session: Session, me: UUID) -> None:
    made = projects.create(session, "Shop", user_id=me, description="Sells", metadata={"a": [1]})
    found = projects.get(session, made)

    assert found is not None
    assert (found.id, found.user_id, found.title, found.description) == (made, me, "Shop", "Sells")
    assert (found.status, found.is_public, found.metadata) == (ProjectStatus.ACTIVE, False, {"a": [1]})
    assert (found.latest_message, found.last_activity, found.deleted_at) == (None, found.created_at, None)


def test_there_is_no_project_by_an_id_that_nobody_has(session: Session) -> None:
    assert projects.get(session, uuid4()) is None


def test_a_project_shows_the_message_with_the_highest_number(session: Session, me: UUID) -> None:
    talkative, silent = (projects.create(session, title, user_id=me) for title in ("a", "b"))
    for number in (2, 0, 1):
        say(session, talkative, number, f"message {number}")

    latest = {found.id: found.latest_message for found in projects.newest(session, 10, user_id=me)}
    assert latest == {talkative: "message 2", silent: None}


def test_the_last_updated_comes_first_and_pages_hold_each_project_once(session: Session, rows: Rows, me: UUID) -> None:
    day = {insert(rows, me, n): n for n in (3, 1, 6, 3, 0, 2, 3, 5, 3, 4)}
    pages, before = [], None
    while page := projects.newest(session, 3, user_id=me, before=before):
        pages.append([found.id for found in page])
        before = page[-1]

    listed = [found for page in pages for found in page]
    assert [len(page) for page in pages] == [3, 3, 3, 1]
    assert set(listed) == day.keys()
    assert [day[found] for found in listed] == [6, 5, 4, 3, 3, 3, 3, 2, 1, 0]


@pytest.mark.parametrize("time", ["infinity", "-infinity", "294276-01-01", "4000-01-01 BC", None])
def test_a_time_that_python_cannot_hold_comes_last_and_stops_nothing(
    session: Session, rows: Rows, me: UUID, time: str | None
) -> None:
    odd = [insert(rows, me, 1) for _ in range(2)]
    rows.execute("ALTER TABLE public.projects DISABLE TRIGGER USER")
    rows.execute("UPDATE public.projects SET updated_at = %s, created_at = %s, deleted_at = %s", time, time, time)
    plain = insert(rows, me, 2)
    first = projects.newest(session, 2, user_id=me)
    rest = projects.newest(session, 2, user_id=me, before=first[-1])

    assert first[0].id == plain
    assert {first[1].id, rest[0].id} == set(odd)
    assert (first[1].updated_at, first[1].created_at, first[1].deleted_at) == (None, None, None)
    assert len(rest) == 1


def test_only_what_is_active_is_listed_unless_more_is_asked_for(session: Session, me: UUID) -> None:
    active, archived, binned = (projects.create(session, title, user_id=me) for title in "abc")
    projects.archive(session, archived)
    projects.delete_softly(session, binned)

    def listed(*statuses: ProjectStatus) -> set[UUID]:
        return {found.id for found in projects.newest(session, 10, user_id=me, statuses=statuses or projects.ACTIVE)}

    assert listed() == {active}
    assert listed(ProjectStatus.ACTIVE, ProjectStatus.ARCHIVED) == {active, archived}
    assert listed(*EVERY) == {active, archived, binned}


def test_a_teams_projects_are_listed_for_its_members_alone(as_: As, rows: Rows, me: UUID, stranger: UUID) -> None:
    mate, team = rows.user(), uuid4()
    rows.execute("INSERT INTO public.teams (id, name, email) VALUES (%s, 'Us', 'us@example.org')", team)
    for member in (me, mate):
        rows.execute("INSERT INTO public.team_members (team_id, user_id, role) VALUES (%s, %s, 'member')", team, member)
    with as_(me) as session:
        shared = projects.create(session, "Ours", user_id=me, team_id=team)
        projects.create(session, "Mine", user_id=me)

    def of_the_team(user: UUID) -> list[UUID]:
        with as_(user) as session:
            return [found.id for found in projects.newest(session, 10, team_id=team)]

    assert (of_the_team(me), of_the_team(mate), of_the_team(stranger)) == ([shared], [shared], [])
    with as_(me) as session:
        assert [found.id for found in projects.newest(session, 10, user_id=me, team_id=team)] == [shared]


def test_what_is_not_named_in_a_change_stays(session: Session, me: UUID) -> None:
    made = projects.create(session, "Old", user_id=me, description="kept", metadata={"kept": True})

    assert projects.change(session, made, title="New", is_public=True)
    found = projects.get(session, made)
    assert found is not None
    assert (found.title, found.description, found.is_public, found.metadata) == ("New", "kept", True, {"kept": True})
    assert projects.change(session, made, description=None, metadata={})
    found = projects.get(session, made)
    assert found is not None
    assert (found.title, found.description, found.metadata) == ("New", None, {})


@pytest.mark.parametrize("column", ["user_id", "id", "status", "deleted_at", "no_such_column"])
def test_nothing_else_is_changed_by_a_change(session: Session, me: UUID, column: str) -> None:
    made = projects.create(session, "Mine", user_id=me)

    with pytest.raises(TypeError, match=column):
        projects.change(session, made, **{column: None})  # type: ignore[arg-type]  # on purpose


def test_each_change_of_status_leaves_the_status_that_it_names(session: Session, me: UUID) -> None:
    made = projects.create(session, "Mine", user_id=me)

    assert not projects.restore(session, made)
    assert projects.archive(session, made)
    assert not projects.archive(session, made)
    assert projects.delete_softly(session, made)
    assert not projects.delete_softly(session, made)
    assert not projects.change(session, made, title="from the bin")
    assert (binned := projects.get(session, made))
    assert (binned.status, binned.deleted_at is None) == (ProjectStatus.DELETED, False)
    assert projects.restore(session, made)
    assert (restored := projects.get(session, made))
    assert (restored.status, restored.deleted_at) == (ProjectStatus.ACTIVE, None)


def test_what_is_deleted_for_good_takes_its_messages_along(session: Session, me: UUID) -> None:
    made = projects.create(session, "Mine", user_id=me)
    say(session, made, 0, "hello")

    assert projects.delete_for_good(session, made)
    assert projects.get(session, made) is None
    assert messages.of_project(session, made, limit=10) == []
    assert not projects.delete_for_good(session, made)


def test_a_stranger_neither_sees_nor_changes_a_project(as_: As, me: UUID, stranger: UUID) -> None:
    with as_(me) as session:
        made = projects.create(session, "Mine", user_id=me)
        before = projects.get(session, made)
    with as_(stranger) as session:
        assert projects.get(session, made) is None
        assert projects.newest(session, 10, user_id=me) == []
        for attempt in (projects.archive, projects.delete_softly, projects.delete_for_good, projects.restore):
            assert not attempt(session, made)
        assert not projects.change(session, made, title="Yours")
    with as_(me) as session:
        assert projects.get(session, made) == before


def test_a_public_project_is_read_by_a_stranger_and_not_changed(as_: As, me: UUID, stranger: UUID) -> None:
    with as_(me) as session:
        made = projects.create(session, "Open", user_id=me, is_public=True)
        say(session, made, 0, "hello, world")
    with as_(stranger) as session:
        found = projects.get(session, made)
        assert found is not None
        assert (found.title, found.latest_message) == ("Open", "hello, world")
        assert not projects.change(session, made, title="Yours")


def test_a_title_that_cannot_be_stored_is_refused_by_name(session: Session, me: UUID) -> None:
    with pytest.raises(Unstorable, match=r"U\+0000 at title"):
        projects.create(session, "a\0b", user_id=me)


def insert(rows: Rows, user: UUID, day: int) -> UUID:
    """A project last updated on that day."""
    made = uuid4()
    rows.execute(
        """INSERT INTO public.projects (id, user_id, title, updated_at)
           VALUES (%s, %s, 'x', timestamptz '2026-01-01' + make_interval(days => %s))""",
        made,
        user,
        day,
    )
    return made
