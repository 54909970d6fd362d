"""The outbox of stored files whose rows are gone: which may be deleted, which must not be, and what became of them."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Text,
    and_,
    case,
    delete,
    false,
    func,
    or_,
    select,
    update,
)
from sqlalchemy import cast as sql_cast
from sqlalchemy.orm import Session

from db.models import ChatExportRequest, ChatSession, FileUpload, OrphanedFile, Project, StoredObject, UserProfile
from db.queries.changes import rows_changed
from db.queries.maintenance import SAMPLE, Expired, among

GONE = "gone"
"""There is no such file any more, or never was."""
OURS = "ours"
"""To be deleted."""
UNPURGED = "its project is not purged yet"
FOREIGN = "it belongs to somebody else than the project's owner"
STRANGE = "somebody else than the project's owner named it"
NEWER = "it was written again after the purge"
NAMED = "a row still names it"
FIRST_PAUSE, LONGEST_PAUSE = timedelta(minutes=1), timedelta(days=1)
"""After how long a file is looked at again that could not be deleted: doubled each time."""
DOUBLINGS = 11


@dataclass(frozen=True, slots=True, kw_only=True)
class Orphan:
    """A file in the outbox, and what may be done about it: `GONE`, `OURS`, or why it must be left alone."""

    id: int
    """Its place in the outbox, in which files stand in the order in which they came."""
    bucket: str
    name: str
    verdict: str


def due(session: Session, size: int, *, after: int) -> list[Orphan]:
    """The next files beyond the place `after` that may be looked at now."""
    columns = (OrphanedFile.id, OrphanedFile.bucket, OrphanedFile.name, verdict().label("verdict"))
    wanted = select(*columns).where(OrphanedFile.not_before <= func.now(), OrphanedFile.id > after)
    return [Orphan(**row) for row in session.execute(wanted.order_by(OrphanedFile.id).limit(size)).mappings()]


def verdicts(session: Session, orphans: Collection[Orphan]) -> dict[int, str]:
    """What may be done now about those of these that are still in the outbox, by their ids."""
    found = session.execute(select(OrphanedFile.id, verdict().label("verdict")).where(_among(orphans)))
    return {row.id: row.verdict for row in found}


def forget(session: Session, orphans: Collection[Orphan]) -> int:
    """Strike off those of these whose file the database does not know any more; answers how many."""
    if not orphans:
        return 0
    return rows_changed(session, delete(OrphanedFile).where(_among(orphans), ~_stored()))


def put_off(session: Session, orphans: Collection[Orphan], *, why: str) -> int:
    """Keep those of these that are still there for later, and note why; answers how many."""
    if not orphans:
        return 0
    doubled = FIRST_PAUSE * func.power(2, func.least(OrphanedFile.attempts, DOUBLINGS))
    values = {
        "attempts": OrphanedFile.attempts + 1,
        "not_before": func.now() + func.least(doubled, LONGEST_PAUSE),
        "last_error": why,
    }
    return rows_changed(session, update(OrphanedFile).where(_among(orphans)).values(values))


def expired(session: Session) -> Expired:
    """All that is in the outbox, due or not; those first that have been there for longest, with why they still are."""
    oldest = sql_cast(func.min(OrphanedFile.added_at), Text)
    count, since = session.execute(select(func.count(), oldest).select_from(OrphanedFile)).one()
    names = select(OrphanedFile.bucket, OrphanedFile.name, OrphanedFile.last_error)
    first = session.execute(names.order_by(OrphanedFile.id).limit(SAMPLE))
    why = OrphanedFile.last_error
    stayed = session.execute(select(why, func.count()).where(why.is_not(None)).group_by(why).order_by(why))
    staying = {str(reason): number for reason, number in stayed}
    return Expired(count=count, oldest=since, sample=tuple(shown(*row) for row in first), staying=staying)


def waiting(session: Session) -> int:
    """How many files that are still there were not put off for any reason."""
    there = select(func.count()).select_from(OrphanedFile).where(OrphanedFile.last_error.is_(None), _stored())
    return session.execute(there).scalar_one()


def shown(bucket: str, name: str, why: str | None) -> str:
    """One line fit for a terminal: users choose the names."""
    words = f"{bucket}/{name}" + (f" ({why})" if why else "")
    return "".join(letter if letter.isprintable() else "?" for letter in words)


def verdict() -> ColumnElement[str]:
    """What may be done about a file: deleted only if its project's owner owns and named it, and no other row does."""
    written = func.greatest(StoredObject.created_at, StoredObject.updated_at) > OrphanedFile.added_at
    return case(
        (~_stored(), GONE),
        (_any(Project.id, Project.id == OrphanedFile.project), UNPURGED),
        (_stored(~_owned()), FOREIGN),
        (OrphanedFile.named_by != OrphanedFile.owner, STRANGE),
        (_stored(written), NEWER),
        (_named(), NAMED),
        else_=OURS,
    )


def _stored(*conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    same = (StoredObject.bucket_id == OrphanedFile.bucket, StoredObject.name == OrphanedFile.name)
    return _any(StoredObject.id, *same, *conditions)


def _any(column: Any, *conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    """Whether there is such a row: as EXISTS, for which a plan may read the whole table to look few rows up."""
    return select(column).where(*conditions).correlate(OrphanedFile).limit(1).scalar_subquery().is_not(None)


def _owned() -> ColumnElement[bool]:
    """Whether the project's owner owns the file: Storage has the owner in two columns, of which older rows fill one."""
    owner = sql_cast(OrphanedFile.owner, Text)
    new, old = StoredObject.owner_id, sql_cast(StoredObject.owner, Text)
    return func.coalesce(and_(func.coalesce(new, old) == owner, func.coalesce(old, new) == owner), false())


def _named() -> ColumnElement[bool]:
    """Whether any row of the application names the file: an upload of whomever, or a picture or export of the owner."""
    # An address may hold any of its characters encoded: whatever stands in place of all but letters and digits will do.
    address = func.regexp_replace(func.concat(OrphanedFile.bucket, "/", OrphanedFile.name), "[^A-Za-z0-9]+", "%", "g")
    name, owner = OrphanedFile.name, OrphanedFile.owner
    keys = or_(ChatSession.s3_metadata_key == name, ChatSession.s3_messages_key == name)
    return or_(
        _any(FileUpload.id, FileUpload.file_path == name, FileUpload.bucket_name == OrphanedFile.bucket),
        _any(UserProfile.id, UserProfile.user_id == owner, UserProfile.avatar_url.like(func.concat("%", address, "%"))),
        _any(ChatSession.id, ChatSession.user_id == owner, keys),
        _any(ChatExportRequest.id, ChatExportRequest.user_id == owner, ChatExportRequest.s3_export_key == name),
    )


def _among(orphans: Collection[Orphan]) -> ColumnElement[bool]:
    return among(OrphanedFile.id, [each.id for each in orphans])
