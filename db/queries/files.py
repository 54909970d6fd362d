"""
A user's workspace: files and directories as rows, whose path is `a/b/c.txt` without a slash at either end.

Names are literal: no character of them means anything but itself. Each change holds the workspace's lock until the
transaction ends, so that a directory cannot be filled while it is moved away.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Text, and_, delete, func, literal, not_, or_, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import InstrumentedAttribute, Session

from db.errors import MovedIntoItself, PathInvalid, PathTaken
from db.models import WorkspaceFile
from db.queries.changes import rows_changed
from db.queries.storable import readable, storable

Values = dict[InstrumentedAttribute[Any], Any]
IS_DIRECTORY = func.coalesce(WorkspaceFile.is_directory, False)
UNIQUE = (WorkspaceFile.user_id, WorkspaceFile.path)
UNFIT = frozenset({"", ".", ".."})
"""Names that would be none, or another directory's, once a workspace is written to a disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A file or directory as a listing shows it; a time is None where its owner wrote none that Python can hold."""

    id: UUID
    path: str
    name: str
    is_directory: bool
    mime_type: str | None
    size_bytes: int | None
    created_at: datetime | None
    updated_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a file holds."""

    id: UUID
    content: str
    updated_at: datetime | None


def listing(
    session: Session, directory: str, *, user_id: UUID, limit: int = 1000, after: Entry | None = None
) -> list[Entry]:
    """
    What lies directly in a directory, directories first, each by name; "" is the top of the workspace.

    The next page is `after` the last entry of this one.
    """
    place = (not_(IS_DIRECTORY), WorkspaceFile.name, WorkspaceFile.path)
    wanted = select(
        *(WorkspaceFile.id, WorkspaceFile.path, WorkspaceFile.name, IS_DIRECTORY.label("is_directory")),
        *(WorkspaceFile.mime_type, WorkspaceFile.size_bytes),
        *(readable(time).label(time.key) for time in (WorkspaceFile.created_at, WorkspaceFile.updated_at)),
    ).where(WorkspaceFile.user_id == user_id, WorkspaceFile.parent_path == (directory.removesuffix("/") or None))
    if after is not None:
        last = (literal(not after.is_directory), literal(after.name), literal(after.path))
        wanted = wanted.where(tuple_(*place) > tuple_(*last))
    return [Entry(**row) for row in session.execute(wanted.order_by(*place).limit(limit)).mappings()]


def read(session: Session, path: str, *, user_id: UUID) -> Content | None:
    """The file at this path; None when there is none, or a directory."""
    wanted = select(WorkspaceFile.id, WorkspaceFile.content, readable(WorkspaceFile.updated_at).label("updated_at"))
    found = session.execute(wanted.where(_at(path, user_id), not_(IS_DIRECTORY))).mappings().one_or_none()
    return None if found is None else Content(**found)


def write(
    session: Session,
    path: str,
    content: str,
    *,
    user_id: UUID,
    project_id: UUID | None = None,
    mime_type: str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> UUID:
    """
    Write a file, in place of one that is there, and the directories above it that are not; answers its id.

    Of a file that is there, what is not given stays.

    Raises:
        PathInvalid: a part of the path is no name.
        PathTaken: there is a directory, or something above is a file.
    """
    given = {
        WorkspaceFile.project_id: project_id,
        WorkspaceFile.mime_type: mime_type,
        WorkspaceFile.metadata_: metadata,
    }
    values = {column: storable(value, where=column.key) for column, value in given.items() if value is not None}
    size = len(storable(content, where="content").encode())
    _require_way(session, path, user_id)
    if _any(session, _below(_checked(path), user_id)):
        raise PathTaken(f"{path} is a directory")
    held = {WorkspaceFile.content: content, WorkspaceFile.size_bytes: size, **values}
    written = _put(session, _row(path, user_id, is_directory=False), held)
    _make_way(session, path, user_id)
    return written


def make_directory(session: Session, path: str, *, user_id: UUID) -> UUID:
    """Make a directory, unless it is there, and those above it; answers its id. Raises as `write` does."""
    _require_way(session, path, user_id)
    made = _put(session, _row(path, user_id, is_directory=True), {})
    _make_way(session, path, user_id)
    return made


def move(session: Session, path: str, to: str, *, user_id: UUID) -> int:
    """
    Move a file, or a directory with all below it, to another path; answers how many rows that were, 0 for none there.

    Directories above the new place are made as needed.

    Raises:
        PathInvalid: a part of the new path is no name.
        PathTaken: there is something at the new path, or below it, or a file above it.
        MovedIntoItself: the new path is below the old one.
    """
    source, target = _named(path), _checked(to)
    if target.startswith(f"{source}/"):
        raise MovedIntoItself(f"{source} cannot be moved to {target}, which is below it")
    _hold(session, user_id)
    if not _any(session, _within(source, user_id)):
        return 0
    if _any(session, _within(target, user_id)):
        raise PathTaken(f"{target} is there already")
    _require_way(session, target, user_id)
    _make_way(session, target, user_id)
    # In characters as PostgreSQL counts them, which are Python's.
    moved = literal(target, Text) + func.substr(WorkspaceFile.path, len(source) + 1)
    placed = {"path": moved, "name": _name(moved), "parent_path": _parent(moved), "updated_at": func.now()}
    return rows_changed(session, update(WorkspaceFile).where(_within(source, user_id)).values(placed))


def remove(session: Session, path: str, *, user_id: UUID) -> int:
    """Delete a file, or a directory with all below it; answers how many rows that were."""
    _hold(session, user_id)
    return rows_changed(session, delete(WorkspaceFile).where(_within(_named(path), user_id)))


def _row(path: str, user_id: UUID, *, is_directory: bool) -> Values:
    parent, _, name = _checked(path).rpartition("/")
    return {
        WorkspaceFile.user_id: user_id,
        WorkspaceFile.path: _checked(path),
        WorkspaceFile.name: name,
        WorkspaceFile.parent_path: parent or None,
        WorkspaceFile.is_directory: is_directory,
    }


def _put(session: Session, row: Values, held: Values) -> UUID:
    # DO UPDATE also where nothing is held, for DO NOTHING answers no id.
    wanted = insert(WorkspaceFile).values({**row, **held})
    same_kind = row[WorkspaceFile.is_directory] == IS_DIRECTORY
    fresh = {**held, WorkspaceFile.parent_path: row[WorkspaceFile.parent_path], WorkspaceFile.updated_at: func.now()}
    kept = wanted.on_conflict_do_update(index_elements=UNIQUE, set_=fresh, where=same_kind)
    found = session.execute(kept.returning(WorkspaceFile.id)).scalar_one_or_none()
    if found is None:
        raise PathTaken(f"{row[WorkspaceFile.path]} is there already, and of the other kind")
    return found


def _require_way(session: Session, path: str, user_id: UUID) -> None:
    """Hold the workspace, and refuse a path that leads through a file."""
    _hold(session, user_id)
    which = (WorkspaceFile.user_id == user_id, WorkspaceFile.path.in_(_above(path)), not_(IS_DIRECTORY))
    if in_the_way := session.execute(select(WorkspaceFile.path).where(*which).limit(1)).scalar():
        raise PathTaken(f"{in_the_way} is a file")


def _make_way(session: Session, path: str, user_id: UUID) -> None:
    """Make the directories above a path that are not there."""
    if rows := [_row(each, user_id, is_directory=True) for each in _above(path)]:
        session.execute(insert(WorkspaceFile).values(rows).on_conflict_do_nothing(index_elements=UNIQUE))


def _above(path: str) -> list[str]:
    names = _checked(path).split("/")
    return ["/".join(names[:n]) for n in range(1, len(names))]


def _hold(session: Session, user_id: UUID) -> None:
    """The workspace's lock, until the transaction ends."""
    session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"workspace_files:{user_id}", 0))))


def _named(path: str) -> str:
    if not path.removesuffix("/"):
        raise PathInvalid("the whole workspace has no name")
    return path.removesuffix("/")


def _checked(path: str) -> str:
    tidy = storable(path, where="the path").removesuffix("/")
    if unfit := sorted(UNFIT.intersection(tidy.split("/"))):
        raise PathInvalid(f"{path!r} holds the name {unfit[0]!r}")
    return tidy


def _at(path: str, user_id: UUID) -> ColumnElement[bool]:
    return and_(WorkspaceFile.user_id == user_id, WorkspaceFile.path == path.removesuffix("/"))


def _within(path: str, user_id: UUID) -> ColumnElement[bool]:
    return or_(_at(path, user_id), _below(path, user_id))


def _below(path: str, user_id: UUID) -> ColumnElement[bool]:
    # Of one user's rows, by index. A range of paths would be quicker only where the collation is that of bytes.
    return and_(WorkspaceFile.user_id == user_id, func.starts_with(WorkspaceFile.path, f"{path}/"))


def _any(session: Session, which: ColumnElement[bool]) -> bool:
    return session.execute(select(select(WorkspaceFile.id).where(which).exists())).scalar_one()


def _name(path: ColumnElement[str]) -> ColumnElement[str]:
    return func.substring(path, "[^/]*$")


def _parent(path: ColumnElement[str]) -> ColumnElement[str]:
    return func.substring(path, "^(.*)/[^/]*$")
