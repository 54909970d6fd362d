"""Uploads in parts that nobody finished: the rows by which Storage knows them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import ColumnElement, Text, delete, func, literal, select, tuple_
from sqlalchemy import cast as sql_cast
from sqlalchemy.orm import Session

from db.models import MultipartUpload, MultipartUploadPart
from db.queries.changes import rows_changed
from db.queries.maintenance import SAMPLE, Expired, among, materialized, some, within

START = ("-infinity", "")
"""The place before every upload."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stale:
    """An upload that was begun long ago; `id` is S3's name for it."""

    id: str
    bucket: str
    key: str
    place: tuple[str, str]
    """Where it stands: since when, as text, and its id."""


def stale(session: Session, size: int, *, kept: timedelta, after: Sequence[str]) -> list[Stale]:
    """The next `size` stale uploads beyond the place `after`, oldest first."""
    order = (MultipartUpload.created_at, MultipartUpload.id)
    begin = tuple_(*(sql_cast(literal(each, Text), column.type) for each, column in zip(after, order, strict=True)))
    since = sql_cast(MultipartUpload.created_at, Text).label("since")
    wanted = select(MultipartUpload.id, MultipartUpload.bucket_id, MultipartUpload.key, since)
    found = wanted.where(is_stale(kept), tuple_(*order) > begin).order_by(*order).limit(size)
    return [
        Stale(id=row.id, bucket=row.bucket_id, key=row.key, place=(row.since, row.id)) for row in session.execute(found)
    ]


def remove_parts(session: Session, uploads: Collection[str], *, most: int) -> int:
    """
    Remove up to `most` parts of these uploads; answers how many.

    All uploads at once: where `upload_id` has no index, as on hosted Supabase, it takes one look at the whole table.
    """
    return rows_changed(session, some(MultipartUploadPart, among(MultipartUploadPart.upload_id, uploads), most=most))


def remove(session: Session, uploads: Collection[str], *, kept: timedelta) -> set[str]:
    """Remove those of these uploads that are still stale and locked by nobody; answers which."""
    free = select(MultipartUpload.id).where(among(MultipartUpload.id, uploads), is_stale(kept))
    chosen = materialized(free.with_for_update(skip_locked=True).cte("chosen"))
    doomed = delete(MultipartUpload).where(within(MultipartUpload.id, chosen.c.id), is_stale(kept))
    return set(session.scalars(doomed.returning(MultipartUpload.id)))


def remaining(session: Session, uploads: Collection[str]) -> set[str]:
    """Those of these uploads that still have a row."""
    return set(session.scalars(select(MultipartUpload.id).where(among(MultipartUpload.id, uploads))))


def expired(session: Session, *, kept: timedelta) -> Expired:
    """All uploads that are stale now."""
    oldest = sql_cast(func.min(MultipartUpload.created_at), Text)
    count, since = session.execute(select(func.count(), oldest).where(is_stale(kept))).one()
    sample = tuple(f"{each.id} {each.place[0]}" for each in stale(session, SAMPLE, kept=kept, after=START))
    return Expired(count=count, oldest=since, sample=sample)


def is_stale(kept: timedelta) -> ColumnElement[bool]:
    """Begun so long ago."""
    return MultipartUpload.created_at < func.now() - kept
