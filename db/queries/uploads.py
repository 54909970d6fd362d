"""Uploaded files as the app's table knows them; their bytes are in Storage, which nothing here touches."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Select, delete, func, insert, select
from sqlalchemy.orm import Session

from db.models import FileUpload
from db.queries.changes import was_done
from db.queries.paging import newest_first, only_of
from db.queries.storable import readable, storable


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """
    An upload; a time is None where its owner wrote none that Python can hold.

    All of it is its owner's to write: bucket and path may name another user's file.
    """

    id: UUID
    user_id: UUID
    project_id: UUID | None
    file_name: str
    file_path: str
    file_size: int | None
    mime_type: str | None
    bucket_name: str
    is_public: bool
    metadata: Any
    created_at: datetime | None
    updated_at: datetime | None


def record(
    session: Session,
    file_name: str,
    *,
    user_id: UUID,
    bucket_name: str,
    file_path: str,
    file_size: int | None = None,
    mime_type: str | None = None,
    project_id: UUID | None = None,
    is_public: bool = False,
    metadata: Mapping[str, Any] | None = None,
) -> UUID:
    """Note a file that was uploaded; answers the row's id."""
    values = {
        "user_id": user_id,
        "project_id": project_id,
        "file_name": file_name,
        "file_path": file_path,
        "file_size": file_size,
        "mime_type": mime_type,
        "bucket_name": bucket_name,
        "is_public": is_public,
        "metadata_": metadata or {},
    }
    return session.execute(insert(FileUpload).values(storable(values)).returning(FileUpload.id)).scalar_one()


def get(session: Session, upload_id: UUID) -> Seen | None:
    """The upload, None when there is none."""
    return next(iter(_seen(session, _looking().where(FileUpload.id == upload_id))), None)


def newest(
    session: Session,
    limit: int,
    *,
    user_id: UUID | None = None,
    project_id: UUID | None = None,
    before: Seen | None = None,
) -> list[Seen]:
    """The newest first, of a user, of a project, or all; the next page is `before` the last upload of this one."""
    wanted = only_of(_looking(), FileUpload, user_id=user_id, project_id=project_id)
    place = None if before is None else (before.created_at, before.id)
    return _seen(session, newest_first(wanted, FileUpload.created_at, FileUpload.id, before=place).limit(limit))


def forget(session: Session, upload_id: UUID) -> bool:
    """Delete the row; False when there is none. The stored file stays."""
    return was_done(session, delete(FileUpload).where(FileUpload.id == upload_id))


def _looking() -> Select[*tuple[Any, ...]]:
    it = FileUpload
    return select(
        *(it.id, it.user_id, it.project_id, it.file_name, it.file_path, it.file_size, it.mime_type, it.bucket_name),
        func.coalesce(it.is_public, False).label("is_public"),
        it.metadata_.label("metadata"),
        *(readable(time).label(time.key) for time in (it.created_at, it.updated_at)),
    )


def _seen(session: Session, wanted: Select[*tuple[Any, ...]]) -> list[Seen]:
    return [Seen(**row) for row in session.execute(wanted).mappings()]
