"""Purging projects long deleted, with the names of their stored files into the outbox."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Delete,
    Text,
    Uuid,
    and_,
    any_,
    delete,
    func,
    insert,
    literal,
    literal_column,
    select,
    tuple_,
)
from sqlalchemy import cast as sql_cast
from sqlalchemy.orm import Session

from db.declared import functions
from db.models import (
    FileUpload,
    Fragment,
    FragmentExecution,
    Message,
    OrphanedFile,
    Project,
    ProjectStatus,
    WorkspaceFile,
)
from db.queries.changes import rows_changed
from db.queries.maintenance import SAMPLE, Expired, among, materialized, some, within

SOFT_DELETE = "public.soft_delete_project"
FINDING = f"function:{SOFT_DELETE}"
"""What `db check` calls it where that function is another than ours."""
START = ("-infinity", str(UUID(int=0)))
"""The place before every project."""
LONGEST_NAME = 1024
"""Bytes of a stored file's name, as S3 has it; what is longer names none."""
LEAVES = (FragmentExecution, Fragment, Message, WorkspaceFile)
"""What hangs on a project besides uploads, in the order in which it goes where it goes little by little."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Doomed:
    """A project that is expired."""

    id: UUID
    place: tuple[str, str]
    """Where it stands: since when, as text, because its owner may write times that Python does not know; and its id."""
    held: bool
    """Whether it is locked by us, so that nobody restores it before we commit; else somebody else has it locked."""


def anyone_may_delete(session: Session) -> bool:
    """Whether the function by which users delete projects is not ours: the application's own does not ask whose."""
    existing = functions.found(session.connection(), [SOFT_DELETE]).get(SOFT_DELETE, [])
    return bool(existing) and functions.difference(functions.declared()[SOFT_DELETE], existing) is not None


def hold(session: Session, size: int, *, kept: timedelta, after: Sequence[str]) -> list[Doomed]:
    """The next `size` expired projects beyond the place `after`, oldest first, locked where nobody else has them."""
    order = (Project.deleted_at, Project.id)
    begin = tuple_(*(sql_cast(literal(each, Text), column.type) for each, column in zip(after, order, strict=True)))
    window = select(*order).where(is_expired(kept), tuple_(*order) > begin)
    looked = materialized(window.order_by(*order).limit(size).cte("looked"))
    locked = select(Project.id).where(within(Project.id, looked.c.id), is_expired(kept))
    held = materialized(locked.with_for_update(skip_locked=True, of=Project).cte("held"))
    found = select(looked.c.id, sql_cast(looked.c.deleted_at, Text).label("since"), held.c.id.label("held"))
    joined = found.outerjoin_from(looked, held, held.c.id == looked.c.id)
    return [
        Doomed(id=row.id, place=(row.since, str(row.id)), held=row.held is not None)
        for row in session.execute(joined.order_by(looked.c.deleted_at, looked.c.id))
    ]


def weights(session: Session, projects: Collection[UUID], *, most: int) -> dict[UUID, int]:
    """How many rows hang on each of these projects; in each table no more are counted than `most` and one."""
    rows = sum((_count(model, most + 1) for model in (*LEAVES, FileUpload)), start=literal(0))
    counted = select(Project.id, rows.label("rows")).where(among(Project.id, projects))
    return {row.id: row.rows for row in session.execute(counted)}


def purge(session: Session, projects: Collection[UUID], *, kept: timedelta) -> int:
    """
    Remove these projects, locked before; their files are then in the outbox.

    What else hangs on them goes by the foreign keys, which look for it in any case: to delete it first takes longer.
    """
    if not projects:
        return 0
    _orphan(session, delete(FileUpload).where(among(FileUpload.project_id, projects)))
    return rows_changed(session, delete(Project).where(among(Project.id, projects), is_expired(kept)))


def nibble(session: Session, project: UUID, *, most: int) -> None:
    """Remove up to `most` of the rows that hang on a project with too many for one transaction; it stays itself."""
    this = literal(project, Uuid)
    for model in LEAVES:
        most -= rows_changed(session, some(model, _below(model, this), most=most))
        if most <= 0:
            return
    _orphan(session, some(FileUpload, _below(FileUpload, this), most=most))


def expired(session: Session, *, kept: timedelta) -> Expired:
    """All projects that are expired now, whoever has them locked."""
    since = sql_cast(func.min(Project.deleted_at), Text)
    count, oldest = session.execute(select(func.count(), since).where(is_expired(kept))).one()
    first = select(sql_cast(Project.id, Text), sql_cast(Project.deleted_at, Text)).where(is_expired(kept))
    sample = session.execute(first.order_by(Project.deleted_at, Project.id).limit(SAMPLE))
    return Expired(count=count, oldest=oldest, sample=tuple(" ".join(row) for row in sample))


def is_expired(kept: timedelta) -> ColumnElement[bool]:
    """
    Deleted, and so long ago; a project that is restored and deleted again begins anew.

    Both columns say so: whoever gave it another status and forgot the time has it back.
    """
    return and_(Project.deleted_at < func.now() - kept, Project.status == ProjectStatus.DELETED)


def _below(model: type[Any], projects: ColumnElement[Any]) -> ColumnElement[bool]:
    if model is FragmentExecution:
        # An array, since a plan may meet a subquery by reading all executions there are.
        fragments = select(Fragment.id).where(Fragment.project_id == projects).correlate(Project).scalar_subquery()
        return FragmentExecution.fragment_id == any_(func.array(fragments))
    return cast("ColumnElement[bool]", model.project_id == projects)


def _count(model: type[Any], most: int) -> ColumnElement[int]:
    nothing: ColumnElement[int] = literal_column("1")  # as would be had from an index alone
    rows = select(nothing).where(_below(model, cast("Any", Project.id))).correlate(Project).limit(most).subquery()
    return select(func.count()).select_from(rows).scalar_subquery()


def _orphan(session: Session, deletion: Delete) -> None:
    """Delete uploads, and note what they name in the same statement: rows and outbox change together or not at all."""
    named = (FileUpload.bucket_name, FileUpload.file_path, FileUpload.user_id, FileUpload.project_id)
    gone = deletion.returning(*named).cte("gone")
    noted = (
        select(gone.c.bucket_name, gone.c.file_path, Project.user_id, gone.c.user_id, Project.id)
        .join(gone, gone.c.project_id == Project.id)
        .where(func.octet_length(gone.c.file_path).between(1, LONGEST_NAME))
        .where(func.octet_length(gone.c.bucket_name).between(1, LONGEST_NAME))
    )
    session.execute(insert(OrphanedFile).from_select(["bucket", "name", "owner", "named_by", "project"], noted))
