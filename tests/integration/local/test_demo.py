"""What a demo leaves in the database and the repository, whether it came to its end or not."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from db.engine import engine
from db.queries import users
from db.url import DatabaseUrl
from tests.support.rows import Rows
from worker.local import demo, demo_user
from worker.local.demo import Demo, Remote
from worker.local.garden import REHEARSED


@pytest.fixture
def session(owner_url: DatabaseUrl) -> Iterator[Session]:
    connected = engine(owner_url)
    with Session(connected) as opened:
        users.ensure(opened, demo_user.ID, email=demo_user.EMAIL)
        opened.commit()
        yield opened
    connected.dispose()


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    bare = tmp_path / "garden.git"
    demo.make(bare)
    return Remote(url="http://127.0.0.1:1/garden.git", bare=bare, credentials=tmp_path, noted=tmp_path / "demo.json")


def test_what_a_killed_demo_left_is_deleted_and_nothing_else(session: Session, remote: Remote, rows: Rows) -> None:
    demo.clear(session, remote)
    killed = Demo(session, remote, agent="rehearsal").ids()
    session.commit()
    own, strangers = rows.task(user=demo_user.ID), rows.task()
    rows.execute("UPDATE public.tasks SET status = 'completed' WHERE id = %s", killed[0])
    rows.execute("UPDATE public.tasks SET user_id = %s WHERE id = %s", rows.user(), killed[1])
    rows.execute("UPDATE public.tasks SET status = 'processing' WHERE id = %s", killed[2])

    demo.clear(session, remote)
    session.commit()

    left = [row["id"] for row in rows.execute("SELECT id FROM public.tasks ORDER BY id")]
    assert left == [*killed[:2], own, strangers]


def test_a_demo_that_is_left_early_takes_its_tasks_with_it(session: Session, remote: Remote, rows: Rows) -> None:
    with demo.begun(session, remote, agent="rehearsal") as played:
        assert rows.execute("SELECT count(*) FROM public.tasks")[0]["count"] == len(REHEARSED) == len(played.ids())

    assert rows.execute("SELECT id FROM public.tasks") == []


def test_each_demo_pushes_to_a_branch_of_its_own(remote: Remote) -> None:
    assert remote.unused("how-to-test") == "how-to-test-1"
    demo.run_git("branch", "how-to-test-1", "main", cwd=remote.bare)

    assert remote.unused("how-to-test") == "how-to-test-2"
