"""Projects that were put into the bin long ago: which go, which stay, and that nothing goes by halves."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from db.queries import purge
from db.queries.maintenance import LOCKED
from db.url import DatabaseUrl
from tests.support.auth import policy
from tests.support.projects import EACH, Projects
from tests.support.rows import Rows
from tests.support.waiting import callers
from worker.maintenance import sweep
from worker.maintenance.purge import ROWS, DeletedProjects
from worker.maintenance.sweep import Bounds, Ended, Report

KEPT = timedelta(days=30)
SEEDS = """
CREATE OR REPLACE FUNCTION public.soft_delete_project(project_id uuid) RETURNS void AS $$
BEGIN
  UPDATE public.projects SET deleted_at = NOW(), status = 'deleted' WHERE id = project_id;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER"""
Purged = Callable[..., Report]


@pytest.fixture
def purged(engine: Engine) -> Purged:
    """Carry the policy out as the owner."""

    def purged(*, bounds: Bounds | None = None, despite: tuple[str, ...] = (), first: int = 10) -> Report:
        chosen = policy("soft_deleted_projects", purge_despite=despite)
        return sweep.carry_out(replace(chosen, first=first, pause=timedelta()), engine, bounds)

    return purged


def test_only_what_was_deleted_for_long_enough_goes(projects: Projects, purged: Purged) -> None:
    projects.make(3, deleted=31)
    kept = {*projects.make(2, deleted=29), *projects.make(2)}

    report = purged()

    assert (report.removed, report.remaining, report.skipped) == (3, 0, {})
    assert projects.there() == kept
    assert projects.leaves() == 4 * EACH


def test_the_names_of_its_files_are_in_the_outbox_and_the_files_untouched(projects: Projects, purged: Purged) -> None:
    (project,) = projects.make(1, deleted=31)

    purged()

    assert [(row["bucket"], row["name"], row["owner"], row["project"]) for row in projects.outbox()] == [
        ("project-files", f"{project}/{number}", projects.user, project) for number in (1, 2)
    ]
    assert projects.stored() == {f"{project}/1", f"{project}/2"}


def test_one_that_is_restored_before_its_batch_stays_with_everything(projects: Projects, purged: Purged) -> None:
    first, second = *projects.make(1, deleted=32), *projects.make(1, deleted=31)

    purged(bounds=Bounds(progress=lambda _: projects.restore(second)), first=1)

    assert first not in projects.there()
    assert projects.there() == {second}
    assert projects.leaves() == EACH


def test_one_that_is_restored_and_deleted_again_begins_anew(projects: Projects, purged: Purged) -> None:
    (project,) = projects.make(1, deleted=300)
    projects.restore(project)
    projects.rows.execute("UPDATE public.projects SET deleted_at = now(), status = 'deleted' WHERE id = %s", project)

    assert purged().removed == 0
    assert projects.there() == {project}


def test_one_that_was_given_another_status_stays_whatever_its_time_says(projects: Projects, purged: Purged) -> None:
    active, archived, unknown = projects.make(3, deleted=300)
    for project, status in ((active, "active"), (archived, "archived"), (unknown, None)):
        projects.rows.execute("UPDATE public.projects SET status = %s WHERE id = %s", status, project)

    assert purged().removed == 0
    assert projects.there() == {active, archived, unknown}


def test_one_that_its_owner_is_just_restoring_is_left_to_them(
    owner_url: DatabaseUrl, projects: Projects, purged: Purged
) -> None:
    ours, theirs = *projects.make(1, deleted=32), *projects.make(1, deleted=31)
    with callers(owner_url, 1) as (owner,):
        connection = owner.database.connection()
        connection.execute("BEGIN")
        connection.execute("UPDATE public.projects SET deleted_at = NULL WHERE id = %s", [theirs])
        report = purged()
        connection.execute("COMMIT")

    assert (report.removed, report.skipped) == (1, {LOCKED: 1})
    assert projects.there() == {theirs}
    assert ours not in projects.there()
    assert projects.leaves() == EACH


def test_one_of_which_somebody_keeps_a_row_is_passed_over(
    owner_url: DatabaseUrl, projects: Projects, purged: Purged
) -> None:
    (held,) = projects.make(1, deleted=32)
    projects.make(5, deleted=31)
    with callers(owner_url, 1) as (owner,):
        connection = owner.database.connection()
        connection.execute("BEGIN")
        connection.execute("SELECT FROM public.messages WHERE project_id = %s FOR UPDATE", [held])
        report = purged()
        connection.execute("COMMIT")

    assert (report.ended, report.removed, report.skipped) == (Ended.DONE, 5, {LOCKED: 1})
    assert projects.there() == {held}
    assert projects.leaves() == EACH
    assert purged().removed == 1


def test_one_that_is_locked_for_its_purge_cannot_be_restored_or_added_to(
    owner_url: DatabaseUrl, engine: Engine, projects: Projects
) -> None:
    (project,) = projects.make(1, deleted=31)
    with Session(engine) as session, callers(owner_url, 2) as (restoring, adding):
        DeletedProjects(kept=KEPT).remove(session, 10, None)
        restored = restoring.start_and_wait(
            lambda database: database.call(
                "UPDATE public.projects SET deleted_at = NULL WHERE id = %(id)s RETURNING id", {"id": project}
            ),
            projects.rows,
        )
        added = adding.start_and_wait(
            lambda database: database.connection().execute(
                "INSERT INTO public.file_uploads (user_id, project_id, file_name, file_path, bucket_name)"
                " VALUES (%s, %s, 'f', 'f', 'b')",
                [projects.user, project],
            ),
            projects.rows,
        )
        session.commit()

        assert restored.result(5) == []
        with pytest.raises(Exception, match="foreign key"):
            added.result(5)
    assert projects.leaves() == 0


def test_a_project_too_large_for_one_transaction_goes_in_several(projects: Projects, purged: Purged) -> None:
    (large,) = projects.make(1, deleted=32, messages=3 * ROWS, fragments=10, executions=100, uploads=ROWS)
    small = projects.make(1, deleted=31)

    report = purged(first=1)

    assert report.removed == 2
    assert report.batches > 2
    assert {large, *small} & projects.there() == set()
    assert projects.leaves() == 0
    assert len(projects.outbox()) == ROWS + 2


def test_a_large_project_keeps_its_row_while_any_other_is_left(engine: Engine, projects: Projects) -> None:
    (large,) = projects.make(1, deleted=31, uploads=2 * ROWS)
    batch, place = DeletedProjects(kept=KEPT), None
    while large in projects.there():
        with Session(engine) as session, session.begin():
            done = batch.remove(session, 1, place)
        place = done.last
        named, noted = projects.rows.execute(
            "SELECT (SELECT count(*) FROM public.file_uploads) AS n, (SELECT count(*) FROM worker.orphaned_files) AS m"
        )[0].values()
        assert named + noted == 2 * ROWS, "a name is in its row or in the outbox, never in neither"

    assert projects.leaves() == 0


def test_the_rows_of_each_project_are_counted_up_to_what_may_be_removed(projects: Projects, engine: Engine) -> None:
    (small,), (large,) = projects.make(1), projects.make(1, fragments=3, executions=10, uploads=100)

    with Session(engine) as session:
        counted = purge.weights(session, [small, large], most=20)

    assert counted == {small: EACH, large: 3 + 3 + 21 + 2 + 21}


def test_a_batch_of_many_projects_stops_before_there_are_too_many_rows(projects: Projects, engine: Engine) -> None:
    projects.make(3, deleted=31, messages=ROWS)

    with Session(engine) as session, session.begin():
        done = DeletedProjects(kept=KEPT).remove(session, 2, None)

    assert done.count == 1
    assert len(projects.there()) == 2
    assert projects.leaves() == 2 * (EACH + ROWS - 3), "the others are whole"


def test_two_purges_at_once_share_the_work(projects: Projects, purged: Purged) -> None:
    projects.make(60, deleted=31)
    with ThreadPoolExecutor(2) as pool:
        reports = [each.result(30) for each in [pool.submit(purged, first=2) for _ in range(2)]]

    assert sum(report.removed for report in reports) == 60, reports
    assert {each for report in reports for each in report.skipped} <= {LOCKED}
    assert (projects.there(), projects.leaves(), len(projects.outbox())) == (set(), 0, 120)


@pytest.mark.parametrize("since", ["-infinity", "4713-01-01 BC", "0001-01-01"])
def test_a_time_that_only_postgres_knows_stops_nothing(projects: Projects, purged: Purged, since: str) -> None:
    (odd,) = projects.make(1, deleted=31)
    projects.rows.execute("UPDATE public.projects SET deleted_at = %s WHERE id = %s", since, odd)
    kept = projects.make(1, deleted=31)
    projects.rows.execute("UPDATE public.projects SET deleted_at = 'infinity' WHERE id = %s", kept[0])

    assert purged().removed == 1
    assert projects.there() == set(kept)


def test_a_name_that_no_file_can_have_stops_nothing(projects: Projects, purged: Purged) -> None:
    (project,) = projects.make(1, deleted=31, uploads=0)
    projects.upload(project, "".join(str(uuid4()) for _ in range(300)))
    projects.upload(project, "")
    projects.upload(project, "right")

    assert purged().removed == 1
    assert [row["name"] for row in projects.outbox()] == ["right"]


def test_a_preview_tells_what_would_go_and_changes_nothing(projects: Projects, engine: Engine) -> None:
    (oldest, other), _ = projects.make(2, deleted=31), projects.make(1, deleted=3)
    projects.rows.execute("UPDATE public.projects SET deleted_at = '2001-02-03 04:05Z' WHERE id = %s", oldest)

    with Session(engine) as session:
        found = DeletedProjects(kept=KEPT).expired(session)

    assert (found.count, found.oldest) == (2, "2001-02-03 04:05:00+00")
    assert found.sample[0].startswith(str(oldest))
    assert other in projects.there()


def test_nothing_goes_while_any_user_may_delete_any_project(rows: Rows, projects: Projects, purged: Purged) -> None:
    (victim,) = projects.make(1, deleted=31)
    rows.execute(SEEDS)

    report = purged()

    assert report.ended is Ended.REFUSED
    assert "CODINGIT_PURGE_DESPITE=function:public.soft_delete_project" in str(report.refused)
    assert projects.there() == {victim}
    assert purged(despite=(purge.FINDING,)).removed == 1


def test_a_database_without_that_function_is_safe(rows: Rows, projects: Projects, purged: Purged) -> None:
    projects.make(1, deleted=31)
    rows.execute("DROP FUNCTION public.soft_delete_project(uuid)")

    assert purged().removed == 1
