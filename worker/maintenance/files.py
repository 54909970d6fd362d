"""Stored files whose rows are gone: deleted through Storage, and only where they were their project's owner's."""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from operator import attrgetter

import structlog
from sqlalchemy.orm import Session

from db.queries import outbox
from db.queries.maintenance import Expired, Removed, Right
from db.queries.outbox import GONE, OURS, Orphan
from worker.maintenance import storage
from worker.maintenance.retention import Refused
from worker.maintenance.storage import Files, StorageRefused, StorageUnavailable
from worker.settings import PREFIX, Settings

log = structlog.get_logger(__name__)

UNSET = f"{PREFIX}SUPABASE_URL and {PREFIX}SUPABASE_KEY are not set"
AWAY = "Storage does not answer"
UNTAKEN = "Storage would not delete it"
LEFT = "Storage said that it is deleted, and it is still there"
READ = (
    *("storage.objects", "public.projects", "public.file_uploads"),
    *("public.user_profiles", "public.chat_sessions", "public.chat_export_requests"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrphanedFiles:
    """
    The outbox of files, which a purge fills and Storage empties.

    Whether a file is gone is read from the database, where Storage keeps its list, whatever Storage answered. What is
    not deleted stays in the outbox with the reason, and is looked at again later and later, up to a day.
    """

    settings: Settings

    @property
    def rights(self) -> tuple[Right, ...]:
        """What it takes; it deletes nothing from Supabase's tables itself."""
        return (Right(table="worker.orphaned_files"), *(Right(table=name, privileges=("SELECT",)) for name in READ))

    def remove(self, session: Session, size: int, after: int | None) -> Removed:
        """Have up to `size` files deleted, and strike off those that are gone."""
        orphans = outbox.due(session, size, after=after or 0)
        session.commit()
        ours = [each for each in orphans if each.verdict == OURS]
        reasons = self._delete(session, ours)
        count = outbox.forget(session, orphans)
        over = len(orphans) < size or AWAY in reasons.values()
        return Removed(
            count=count,
            last=None if over else orphans[-1].id,
            skipped=settle(session, orphans, reasons),
        )

    def expired(self, session: Session) -> Expired:
        """What is in the outbox, with the reasons why it still is."""
        found = outbox.expired(session)
        if self.settings.supabase_key:  # and so an address
            return found
        waiting = outbox.waiting(session)
        return replace(found, staying={**found.staying, UNSET: waiting}) if waiting else found

    def _delete(self, session: Session, ours: Sequence[Orphan]) -> Mapping[Orphan, str]:
        """What became of each: why it was not deleted, or that it is gone."""
        files = storage.files(self.settings) if ours else None
        if files is None:
            return dict.fromkeys(ours, UNSET)
        with closing(files):
            return delete_all(files, ours, session)


def delete_all(files: Files, ours: Sequence[Orphan], session: Session) -> Mapping[Orphan, str]:
    """
    Delete them, a bucket at a time; answers why each was not, or that it is gone.

    What is needed again since we looked is left alone, however often Storage has to be asked.

    Raises:
        Refused: Storage takes nothing from us.
    """
    reasons: dict[Orphan, str] = {}
    asked = sorted(ours, key=attrgetter("bucket"))
    for bucket, group in groupby(asked, key=attrgetter("bucket")):
        some = list(group)
        try:
            refused = files.delete(
                bucket, sorted({each.name for each in some}), still=partial(still_ours, session, some)
            )
        except StorageUnavailable as fault:
            log.warning("storage.unavailable", reason=str(fault))
            return reasons | dict.fromkeys(asked[asked.index(some[0]) :], AWAY)
        except StorageRefused as fault:
            raise Refused(str(fault)) from fault
        for name, why in refused.items():
            log.warning("file.kept", bucket=bucket, name=name, reason=why)
        now = looked_again(session, some)
        reasons |= {
            each: UNTAKEN if each.name in refused else LEFT if now[each] == OURS else now[each] for each in some
        }
    return reasons


def still_ours(session: Session, orphans: Sequence[Orphan], names: Sequence[str]) -> list[str]:
    """Those of these names, all of one bucket, that may be deleted now."""
    now = looked_again(session, orphans)
    found = {each.name for each in orphans if now[each] == OURS}
    return [name for name in names if name in found]


def looked_again(session: Session, orphans: Sequence[Orphan]) -> Mapping[Orphan, str]:
    """What may be done about them now, GONE where somebody else struck one off. Leaves no transaction open."""
    now = outbox.verdicts(session, orphans)
    session.commit()
    return {each: now.get(each.id, GONE) for each in orphans}


def settle(session: Session, orphans: Sequence[Orphan], reasons: Mapping[Orphan, str]) -> Mapping[str, int]:
    """Put off what is still there, and count it by the reason. What only waits for a setting is not put off."""
    by_reason: dict[str, list[Orphan]] = {}
    for each in orphans:
        why = reasons[each] if each.verdict == OURS else each.verdict
        by_reason.setdefault(why, []).append(each)
    waiting = len(by_reason.pop(UNSET, []))
    kept = {why: outbox.put_off(session, some, why=why) for why, some in by_reason.items()}
    return +Counter(kept | {UNSET: waiting})
