"""Workspaces: the tree stays a tree, names are literal, and what is refused changes nothing."""

from collections.abc import Callable
from threading import Thread
from uuid import UUID

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from db.errors import MovedIntoItself, PathInvalid, PathTaken, Unstorable
from db.queries import files
from db.rls import acting_as
from tests.integration.database.conftest import As
from tests.support.rows import Rows

WILD = [
    "100%",
    "a_b",
    "back\\slash",
    "o'neill",
    '"quoted"',
    "new\nline",
    "tab\t",
    " ",
    "…",
    "日本",
    "😀",
    "(.*)",
    "$1",
    "&",
]


def paths(session: Session, directory: str, user: UUID) -> list[str]:
    return [entry.path for entry in files.listing(session, directory, user_id=user)]


def tree(session: Session, user: UUID, directory: str = "") -> dict[str, str | None]:
    """Every path that listings lead to, and what each file holds."""
    found: dict[str, str | None] = {}
    for entry in files.listing(session, directory, user_id=user):
        read = files.read(session, entry.path, user_id=user)
        found[entry.path] = read.content if read else None
        if entry.is_directory:
            found |= tree(session, user, entry.path)
    return found


def filled(session: Session, user: UUID, *names: str) -> None:
    for name in names:
        files.write(session, name, f"in {name}", user_id=user)


def rows_of(rows: Rows, user: UUID) -> list[tuple[object, ...]]:
    found = rows.execute(
        """SELECT path, name, parent_path, coalesce(is_directory, false) AS d, content, size_bytes
           FROM public.workspace_files WHERE user_id = %s ORDER BY path COLLATE "C" """,
        user,
    )
    return [tuple(row.values()) for row in found]


def test_a_file_is_read_as_it_was_written(session: Session, me: UUID) -> None:
    made = files.write(session, "src/App.tsx", "export {}", user_id=me, mime_type="text/tsx", metadata={"open": True})
    found = files.read(session, "src/App.tsx", user_id=me)

    assert found is not None
    assert (found.id, found.content) == (made, "export {}")
    assert files.read(session, "src", user_id=me) is None
    assert files.read(session, "src/app.tsx", user_id=me) is None


def test_directories_above_a_file_are_made_with_it(as_: As, rows: Rows, me: UUID) -> None:
    with as_(me) as session:
        files.write(session, "a/b/c.txt", "hi", user_id=me)

    assert rows_of(rows, me) == [
        ("a", "a", None, True, "", 0),
        ("a/b", "b", "a", True, "", 0),
        ("a/b/c.txt", "c.txt", "a/b", False, "hi", 2),
    ]


@pytest.mark.parametrize(("content", "size"), [("", 0), ("abc", 3), ("é", 2), ("日本", 6), ("😀", 4), ("\r\n", 2)])
def test_the_size_is_in_bytes_of_utf8(session: Session, me: UUID, content: str, size: int) -> None:
    files.write(session, "f", "something longer before", user_id=me)
    files.write(session, "f", content, user_id=me)

    (entry,) = files.listing(session, "", user_id=me)
    assert entry.size_bytes == size


def test_writing_again_replaces_what_is_given_and_keeps_the_rest(as_: As, rows: Rows, me: UUID) -> None:
    with as_(me) as session:
        first = files.write(session, "f", "one", user_id=me, mime_type="text/plain", metadata={"a": 1})
        assert files.write(session, "f", "two!", user_id=me, metadata={"a": 2}) == first

    found = rows.execute("SELECT content, size_bytes, mime_type, metadata FROM public.workspace_files")
    assert found == [{"content": "two!", "size_bytes": 4, "mime_type": "text/plain", "metadata": {"a": 2}}]


def test_a_listing_shows_directories_first_and_each_by_name(session: Session, me: UUID) -> None:
    filled(session, me, "d/b", "d/a/x", "d/c", "e", "d/z/x")

    assert paths(session, "d", me) == ["d/a", "d/z", "d/b", "d/c"]
    assert paths(session, "d/", me) == paths(session, "d", me)
    assert paths(session, "", me) == ["d", "e"]
    assert paths(session, "nowhere", me) == []


def test_a_long_directory_is_listed_in_pages_that_hold_each_entry_once(session: Session, me: UUID) -> None:
    filled(session, me, *(f"d/{n:02}" for n in range(11)), *(f"d/dir{n}/x" for n in range(4)))
    whole = files.listing(session, "d", user_id=me)
    pages, after = [], None
    while page := files.listing(session, "d", user_id=me, limit=4, after=after):
        pages.append(page)
        after = page[-1]

    assert [len(page) for page in pages] == [4, 4, 4, 3]
    assert [entry for page in pages for entry in page] == whole


def test_a_directory_moves_with_all_below_it_and_nothing_beside_it(as_: As, rows: Rows, me: UUID) -> None:
    with as_(me) as session:
        filled(session, me, "old/a.txt", "old/deep/er/b.txt", "older/c.txt", "old.txt")
        assert files.move(session, "old", "new/place", user_id=me) == 5

    assert [row[:4] for row in rows_of(rows, me)] == [
        ("new", "new", None, True),
        ("new/place", "place", "new", True),
        ("new/place/a.txt", "a.txt", "new/place", False),
        ("new/place/deep", "deep", "new/place", True),
        ("new/place/deep/er", "er", "new/place/deep", True),
        ("new/place/deep/er/b.txt", "b.txt", "new/place/deep/er", False),
        ("old.txt", "old.txt", None, False),
        ("older", "older", None, True),
        ("older/c.txt", "c.txt", "older", False),
    ]


def test_a_file_is_renamed_and_moved_to_the_top(as_: As, rows: Rows, me: UUID) -> None:
    with as_(me) as session:
        filled(session, me, "a/b.txt")
        assert files.move(session, "a/b.txt", "c.txt", user_id=me) == 1

    assert rows_of(rows, me) == [("a", "a", None, True, "", 0), ("c.txt", "c.txt", None, False, "in a/b.txt", 10)]


@pytest.mark.parametrize("name", WILD)
def test_a_name_means_nothing_but_itself(session: Session, me: UUID, name: str) -> None:
    """As a pattern each would also mean some of the others, which lie beside it."""
    beside = ("100", "1000", "axb", "backslash", "a%", "x", "anything at all")
    filled(session, me, *(f"{each}/f" for each in beside), f"{name}/f", f"{name}/{name}")
    assert paths(session, name, me) == sorted([f"{name}/f", f"{name}/{name}"])
    others = tree(session, me).keys() - {name, f"{name}/f", f"{name}/{name}"}

    assert files.move(session, name, f"to/{name}2", user_id=me) == 3
    moved = {"to", f"to/{name}2", f"to/{name}2/f", f"to/{name}2/{name}"}
    assert tree(session, me).keys() == others | moved
    assert files.remove(session, f"to/{name}2", user_id=me) == 3
    assert tree(session, me).keys() == others | {"to"}


def test_removing_a_directory_removes_all_below_it_and_nothing_beside_it(session: Session, me: UUID) -> None:
    filled(session, me, "d/a", "d/b/c", "d.txt", "dd/a", "x/d/a")

    assert files.remove(session, "d/", user_id=me) == 4
    assert set(tree(session, me)) == {"d.txt", "dd", "dd/a", "x", "x/d", "x/d/a"}
    assert files.remove(session, "d", user_id=me) == 0


Attempt = Callable[[Session, UUID], object]
REFUSED: dict[str, tuple[type[Exception], Attempt]] = {
    "a directory into itself": (MovedIntoItself, lambda s, me: files.move(s, "d", "d/b/c", user_id=me)),
    "a directory onto itself": (PathTaken, lambda s, me: files.move(s, "d", "d", user_id=me)),
    "onto a file": (PathTaken, lambda s, me: files.move(s, "d", "f", user_id=me)),
    "onto a directory": (PathTaken, lambda s, me: files.move(s, "f", "d", user_id=me)),
    "onto a directory with a slash": (PathTaken, lambda s, me: files.move(s, "f", "d/", user_id=me)),
    "below a file": (PathTaken, lambda s, me: files.move(s, "d", "f/g", user_id=me)),
    "far below a file": (PathTaken, lambda s, me: files.write(s, "f/g/h", "x", user_id=me)),
    "a file over a directory": (PathTaken, lambda s, me: files.write(s, "d", "x", user_id=me)),
    "a directory over a file": (PathTaken, lambda s, me: files.make_directory(s, "f", user_id=me)),
    "up and away": (PathInvalid, lambda s, me: files.write(s, "d/../../etc/passwd", "x", user_id=me)),
    "an empty name": (PathInvalid, lambda s, me: files.write(s, "d//x", "x", user_id=me)),
    "no name": (PathInvalid, lambda s, me: files.write(s, "", "x", user_id=me)),
    "the root of a disk": (PathInvalid, lambda s, me: files.move(s, "f", "/f", user_id=me)),
    "to here": (PathInvalid, lambda s, me: files.move(s, "f", "./f", user_id=me)),
    "everything": (PathInvalid, lambda s, me: files.remove(s, "", user_id=me)),
    "everything, with a slash": (PathInvalid, lambda s, me: files.move(s, "/", "x", user_id=me)),
    "a NUL in the name": (Unstorable, lambda s, me: files.write(s, "a\0b", "x", user_id=me)),
    "a NUL in the content": (Unstorable, lambda s, me: files.write(s, "new/x", "a\0b", user_id=me)),
    "half a character": (Unstorable, lambda s, me: files.move(s, "f", "\ud83d", user_id=me)),
}


def test_a_refused_write_makes_no_directories_either(as_: As, rows: Rows, me: UUID) -> None:
    """Of directories that only paths tell of, as the web app leaves them."""
    for path in ("lone/dir/a", "only/file"):
        insert(rows, me, path)
    before = rows_of(rows, me)
    for path, attempt in (("lone/dir", write), ("lone", write), ("only/file", files.make_directory)):
        with as_(me) as session, pytest.raises(PathTaken):
            attempt(session, path, user_id=me)

    assert rows_of(rows, me) == before


def write(session: Session, path: str, *, user_id: UUID) -> UUID:
    return files.write(session, path, "x", user_id=user_id)


@pytest.mark.parametrize("which", REFUSED)
def test_what_is_refused_changes_nothing(connected: Engine, rows: Rows, me: UUID, which: str) -> None:
    fault, attempt = REFUSED[which]
    with acting_as(connected, me) as session:
        filled(session, me, "d/b/x", "f")
    before = rows_of(rows, me)
    with acting_as(connected, me) as session, pytest.raises(fault):
        attempt(session, me)

    assert rows_of(rows, me) == before


def test_what_is_not_there_is_not_moved_and_no_directory_is_made_for_it(session: Session, me: UUID) -> None:
    assert files.move(session, "nothing", "some/where", user_id=me) == 0
    assert tree(session, me) == {}


def test_directories_that_only_paths_tell_of_are_moved_and_removed_too(session: Session, rows: Rows, me: UUID) -> None:
    """As the web app leaves them, which makes no rows for directories."""
    for path in ("lone/a", "lone/b"):
        insert(rows, me, path)

    assert files.move(session, "lone", "kept", user_id=me) == 2
    assert paths(session, "kept", me) == ["kept/a", "kept/b"]
    assert files.remove(session, "kept", user_id=me) == 2


def test_each_user_has_a_workspace_of_their_own(as_: As, me: UUID, stranger: UUID) -> None:
    for user, content in ((me, "mine"), (stranger, "theirs")):
        with as_(user) as session:
            files.write(session, "a/f", content, user_id=user)
    with as_(stranger) as session:
        assert tree(session, me) == {}
        assert files.move(session, "a", "b", user_id=me) == 0
        assert files.remove(session, "a", user_id=me) == 0
        assert files.move(session, "a", "b", user_id=stranger) == 2
    with as_(me) as session:
        assert tree(session, me) == {"a": None, "a/f": "mine"}


def test_a_directory_is_not_filled_while_it_is_moved_away(connected: Engine, me: UUID) -> None:
    with acting_as(connected, me) as session:
        filled(session, me, "d/a")

    def write() -> None:
        with acting_as(connected, me) as other:
            files.write(other, "d/late", "late", user_id=me)

    late = Thread(target=write)
    with acting_as(connected, me) as session:
        files.move(session, "d", "moved", user_id=me)
        late.start()
        late.join(timeout=0.3)
        assert late.is_alive()
    late.join()

    with acting_as(connected, me) as session:
        assert tree(session, me) == {"moved": None, "moved/a": "in d/a", "d": None, "d/late": "late"}


def test_a_time_that_python_cannot_hold_stops_no_listing(session: Session, rows: Rows, me: UUID) -> None:
    insert(rows, me, "f")
    rows.execute("ALTER TABLE public.workspace_files DISABLE TRIGGER USER")
    rows.execute("UPDATE public.workspace_files SET created_at = 'infinity', updated_at = '-infinity'")

    (entry,) = files.listing(session, "", user_id=me)
    assert (entry.created_at, entry.updated_at) == (None, None)


def insert(rows: Rows, user: UUID, path: str) -> None:
    parent, _, name = path.rpartition("/")
    rows.execute(
        "INSERT INTO public.workspace_files (user_id, path, name, parent_path) VALUES (%s, %s, %s, %s)",
        user,
        path,
        name,
        parent or None,
    )
