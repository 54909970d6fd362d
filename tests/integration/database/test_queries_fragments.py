"""Fragments and their executions, and the rows of uploaded files."""

from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from db.queries import fragments, projects, uploads
from tests.integration.database.conftest import As
from tests.support.rows import Rows


@pytest.fixture
def fragment(session: Session, me: UUID) -> UUID:
    return kept(session, me)


def kept(session: Session, user: UUID, title: str = "Chart", *, is_public: bool = False) -> UUID:
    return fragments.create(
        *(session, title),
        user_id=user,
        template="nextjs",
        code="export {}",
        file_path="pages/index.tsx",
        is_public=is_public,
    )


def uploaded(session: Session, user: UUID, name: str = "a.png", project: UUID | None = None) -> UUID:
    return uploads.record(
        *(session, name),
        user_id=user,
        project_id=project,
        bucket_name="project-files",
        file_path=f"{user}/{name}",
        file_size=3,
        mime_type="image/png",
    )


def test_a_fragment_comes_back_as_it_was_kept(session: Session, me: UUID) -> None:
    made = fragments.create(
        *(session, "Chart"),
        user_id=me,
        template="nextjs",
        code="export {}",
        file_path="pages/index.tsx",
        additional_dependencies=["d3", "a b"],
        install_dependencies_command="npm i",
        port=3000,
        metadata={"n": [1, None]},
    )
    seen = fragments.get(session, made)

    assert seen is not None
    assert (seen.user_id, seen.title, seen.template, seen.code) == (me, "Chart", "nextjs", "export {}")
    assert (seen.additional_dependencies, seen.install_dependencies_command) == (["d3", "a b"], "npm i")
    assert (seen.port, seen.is_public, seen.metadata) == (3000, False, {"n": [1, None]})
    assert fragments.get(session, uuid4()) is None


def test_what_is_not_named_in_a_change_of_a_fragment_stays(as_: As, rows: Rows, me: UUID) -> None:
    with as_(me) as session:
        fragment = kept(session, me)
        assert fragments.change(session, fragment, code="new", port=80)
        seen = fragments.get(session, fragment)
        assert seen is not None
        assert (seen.title, seen.code, seen.port) == ("Chart", "new", 80)
        assert fragments.change(session, fragment, additional_dependencies=["d3"])
        with pytest.raises(TypeError, match="user_id"):
            fragments.change(session, fragment, user_id=uuid4())  # type: ignore[call-arg]  # on purpose

    assert rows.execute("SELECT has_additional_dependencies AS has FROM public.fragments") == [{"has": True}]


def test_fragments_are_listed_newest_first_by_user_and_by_project(as_: As, me: UUID, stranger: UUID) -> None:
    with as_(me) as session:
        project = projects.create(session, "Mine", user_id=me)
    made = []
    for n in range(5):
        with as_(me) as session:
            made.append(
                fragments.create(
                    *(session, str(n)),
                    user_id=me,
                    project_id=project if n % 2 else None,
                    template="t",
                    code="c",
                    file_path="f",
                )
            )
    with as_(me) as session:
        first = fragments.newest(session, 3, user_id=me)
        rest = fragments.newest(session, 3, user_id=me, before=first[-1])
        assert [seen.id for seen in (*first, *rest)] == made[::-1]
        assert [seen.id for seen in fragments.newest(session, 9, project_id=project)] == [made[3], made[1]]
        assert fragments.newest(session, 9, user_id=stranger) == []


def test_an_execution_goes_on_until_it_is_finished_once(session: Session, me: UUID, fragment: UUID) -> None:
    begun = fragments.execute(session, fragment, user_id=me, template="nextjs", sandbox_id="sbx")
    (execution,) = fragments.executions(session, fragment, limit=9)
    assert (execution.id, execution.status, execution.completed_at) == (begun, "running", None)

    results = [{"png": "…"}]
    assert fragments.finish(
        session, begun, outcome="failed", stdout="out", stderr="err", cell_results=results, execution_time_ms=5
    )
    (execution,) = fragments.executions(session, fragment, limit=9)
    assert (execution.status, execution.stdout, execution.stderr) == ("failed", "out", "err")
    assert (execution.cell_results, execution.execution_time_ms) == (results, 5)
    assert execution.completed_at is not None
    assert not fragments.finish(session, begun, outcome="completed")


def test_executions_are_listed_last_begun_first_in_pages(as_: As, me: UUID) -> None:
    with as_(me) as session:
        fragment = kept(session, me)
    begun = []
    for _ in range(3):
        with as_(me) as session:
            begun.append(fragments.execute(session, fragment, user_id=me, template="t"))
    with as_(me) as session:
        first = fragments.executions(session, fragment, limit=2)
        rest = fragments.executions(session, fragment, limit=2, before=first[-1])
        assert [each.id for each in (*first, *rest)] == begun[::-1]


def test_a_deleted_fragment_takes_its_executions_along(session: Session, me: UUID, fragment: UUID) -> None:
    fragments.execute(session, fragment, user_id=me, template="t")

    assert fragments.delete_for_good(session, fragment)
    assert fragments.executions(session, fragment, limit=9) == []
    assert not fragments.delete_for_good(session, fragment)


def test_a_public_fragment_is_seen_and_executed_by_a_stranger_and_changed_by_its_owner_alone(
    as_: As, me: UUID, stranger: UUID
) -> None:
    with as_(me) as session:
        shown, hidden = kept(session, me, is_public=True), kept(session, me)
    with as_(stranger) as session:
        assert [seen.id for seen in fragments.newest(session, 9)] == [shown]
        fragments.execute(session, shown, user_id=stranger, template="t")
        assert not fragments.change(session, shown, title="Yours")
        assert not fragments.delete_for_good(session, shown)
    with as_(stranger) as session, pytest.raises(DBAPIError, match="row-level security"):
        fragments.execute(session, hidden, user_id=stranger, template="t")


def test_an_upload_comes_back_as_it_was_recorded_until_it_is_forgotten(session: Session, me: UUID) -> None:
    project = projects.create(session, "Mine", user_id=me)
    made, other = uploaded(session, me, project=project), uploaded(session, me, "b.png")
    seen = uploads.get(session, made)

    assert seen is not None
    assert (seen.file_name, seen.bucket_name, seen.file_path) == ("a.png", "project-files", f"{me}/a.png")
    assert (seen.user_id, seen.project_id, seen.file_size, seen.mime_type) == (me, project, 3, "image/png")
    assert [each.id for each in uploads.newest(session, 9, project_id=project)] == [made]
    assert {each.id for each in uploads.newest(session, 9, user_id=me)} == {made, other}
    assert uploads.forget(session, made)
    assert uploads.get(session, made) is None
    assert not uploads.forget(session, made)


def test_uploads_are_listed_newest_first_whatever_their_owner_wrote(session: Session, rows: Rows, me: UUID) -> None:
    made = [uuid4() for _ in range(4)]
    for each, time in zip(made, ("2026-01-01", "infinity", "2026-01-03", "2026-01-02"), strict=True):
        rows.execute(
            """INSERT INTO public.file_uploads (id, user_id, file_name, file_path, bucket_name, created_at)
               VALUES (%s, %s, 'n', 'p', 'b', %s)""",
            *(each, me, time),
        )
    first = uploads.newest(session, 3, user_id=me)
    rest = uploads.newest(session, 3, user_id=me, before=first[-1])

    assert [seen.id for seen in (*first, *rest)] == [made[2], made[3], made[0], made[1]]
    assert (first[0].created_at, rest[0].created_at) == (datetime(2026, 1, 3, tzinfo=UTC), None)


def test_a_stranger_neither_sees_nor_forgets_an_upload(as_: As, me: UUID, stranger: UUID) -> None:
    with as_(me) as session:
        made = uploaded(session, me)
    with as_(stranger) as session:
        assert uploads.get(session, made) is None
        assert uploads.newest(session, 9) == []
        assert not uploads.forget(session, made)
    with as_(stranger) as session, pytest.raises(DBAPIError, match="row-level security"):
        uploaded(session, me)
