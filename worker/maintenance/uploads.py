"""Uploads in parts that nobody finished: their parts are thrown away first, and then the row that knows of them."""

from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta

import structlog
from sqlalchemy.orm import Session

from db.queries import multipart
from db.queries.maintenance import LOCKED, Expired, Removed, Right, past
from db.queries.multipart import Stale
from worker.maintenance import storage
from worker.maintenance.retention import Refused
from worker.maintenance.storage import NotTaken, StorageRefused, StorageUnavailable, Upload, Uploads
from worker.settings import PREFIX, Settings

log = structlog.get_logger(__name__)

UPLOADS = 50
"""How many are aborted in one batch, one after the other: so many can be cut short by a signal."""
PARTS = 100
"""How many rows of parts are removed at most for each upload that a batch is large."""

AWAY = "S3 does not answer"
UNTAKEN = "S3 would not abort it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Aborted:
    """What became of some uploads over S3."""

    ids: list[str] = field(default_factory=list)
    """Those without parts now: their rows may go."""
    skipped: Counter[str] = field(default_factory=Counter)
    away: bool = False
    """Whether S3 does not answer, so that there is no sense in asking for more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StaleUploads:
    """
    Uploads that were begun long ago.

    The row is the only handle on the parts: it stays until S3 has thrown them away. Where no S3 key is set, rows are
    removed alone, with a warning.
    """

    kept: timedelta
    settings: Settings

    @property
    def rights(self) -> tuple[Right, ...]:
        """What it takes."""
        parts = Right(table="storage.s3_multipart_uploads_parts", privileges=("SELECT", "DELETE"))
        return (Right(table="storage.s3_multipart_uploads"), parts)

    def remove(self, session: Session, size: int, after: Sequence[str] | None) -> Removed:
        """Remove up to `size` uploads, no more than 50 over S3; one that cannot be aborted stays."""
        size = min(size, UPLOADS) if self.settings.s3_access_key_id else size
        chosen = multipart.stale(session, size, kept=self.kept, after=after or multipart.START)
        if not chosen:
            return Removed(count=0, last=None)
        aborted = self._abort(session, chosen, first=after is None)
        left = multipart.remaining(session, aborted.ids)  # none where Storage removed the rows itself
        if left and multipart.remove_parts(session, left, most=size * PARTS) == size * PARTS:
            return Removed(count=0, last=after or multipart.START)  # there may be more of them
        if left:
            left -= multipart.remove(session, left, kept=self.kept)
        over = aborted.away or len(chosen) < size
        return Removed(
            count=len(aborted.ids) - len(left),
            last=None if over else chosen[-1].place,
            skipped=aborted.skipped + Counter({LOCKED: len(left)}),
        )

    def pass_over(self, session: Session, after: Sequence[str] | None) -> Removed:
        """Go past the next upload, of which somebody holds a part."""
        found = multipart.stale(session, 1, kept=self.kept, after=after or multipart.START)
        return past(found[0].place if found else None)

    def expired(self, session: Session) -> Expired:
        """Which uploads there are to remove."""
        return multipart.expired(session, kept=self.kept)

    def _abort(self, session: Session, chosen: Sequence[Stale], *, first: bool) -> Aborted:
        try:
            uploads = storage.uploads(self.settings)
        except StorageRefused as fault:
            raise Refused(str(fault)) from fault
        if uploads is None:
            if first:
                log.warning("uploads.bytes_left", reason=f"Without {PREFIX}S3_ACCESS_KEY_ID only rows are removed.")
            return Aborted(ids=[each.id for each in chosen])
        session.commit()
        with closing(uploads):
            return abort_all(uploads, chosen)


def abort_all(uploads: Uploads, chosen: Sequence[Stale]) -> Aborted:
    """
    Abort them one after the other, as far as S3 answers.

    Raises:
        Refused: S3 takes our key for none of them. For some it may not, as where a key's characters upset a signature.
    """
    ids: list[str] = []
    skipped: Counter[str] = Counter()
    refused: StorageRefused | None = None
    for each in chosen:
        try:
            uploads.abort(Upload(id=each.id, bucket=each.bucket, key=each.key))
            ids.append(each.id)
        except (NotTaken, StorageRefused) as fault:
            log.warning("upload.kept", upload=each.id, reason=str(fault))
            skipped[UNTAKEN] += 1
            refused = fault if isinstance(fault, StorageRefused) else refused
        except StorageUnavailable as fault:
            log.warning("storage.unavailable", reason=str(fault))
            skipped[AWAY] += len(chosen) - len(ids) - skipped.total()
            return Aborted(ids=ids, skipped=skipped, away=True)
    if refused and not ids:
        raise Refused(str(refused)) from refused
    return Aborted(ids=ids, skipped=skipped)
