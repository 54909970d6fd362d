"""Chat sessions, and the cache of their messages that can be searched; the messages themselves are kept in S3."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import Float, Select, Text, column, delete, func, insert, literal, select, update
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.orm import Session

from db.models import ChatMessage, ChatSession
from db.queries.changes import was_done
from db.queries.paging import newest_first
from db.queries.storable import readable, storable

Status = Literal["active", "archived", "deleted"]
Role = Literal["user", "assistant", "system"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A chat session; a time is None where its owner wrote none that Python can hold."""

    id: UUID
    session_id: str
    """The app's own name for it."""
    user_id: UUID
    team_id: UUID | None
    title: str | None
    status: str | None
    message_count: int | None
    model: str | None
    template: str | None
    total_tokens: int | None
    estimated_cost: Decimal | None
    created_at: datetime | None
    last_activity: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cached:
    """A cached message."""

    id: UUID
    message_id: str
    role: str
    content: str
    model: str | None
    token_count: int | None
    created_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A cached message that a search found, and how well it fits."""

    content: str
    created_at: datetime | None
    session_id: str
    title: str | None
    similarity: float


def start(
    session: Session,
    session_id: str,
    *,
    user_id: UUID,
    title: str | None = None,
    team_id: UUID | None = None,
    model: str | None = None,
    template: str | None = None,
) -> UUID:
    """Begin a chat session under the app's name for it, which nobody else may have; answers its id."""
    values = {
        "session_id": session_id,
        "user_id": user_id,
        "title": title,
        "team_id": team_id,
        "model": model,
        "template": template,
    }
    return session.execute(insert(ChatSession).values(storable(values)).returning(ChatSession.id)).scalar_one()


def get(session: Session, chat_id: UUID) -> Seen | None:
    """The chat session, None when there is none."""
    return next(iter(_seen(session, _looking().where(ChatSession.id == chat_id))), None)


def newest(
    session: Session, limit: int, *, user_id: UUID, status: Status = "active", before: Seen | None = None
) -> list[Seen]:
    """A user's chat sessions, the last active first; the next page is `before` the last one of this."""
    wanted = _looking().where(ChatSession.user_id == user_id, ChatSession.status == status)
    last = None if before is None else (before.last_activity, before.id)
    return _seen(session, newest_first(wanted, ChatSession.last_activity, ChatSession.id, before=last).limit(limit))


def mark(session: Session, chat_id: UUID, *, status: Status) -> bool:
    """Archive a chat session, or put it into the bin, or take it out; False when there is none."""
    marked = update(ChatSession).where(ChatSession.id == chat_id)
    return was_done(session, marked.values(status=status, updated_at=func.now()))


def delete_for_good(session: Session, chat_id: UUID) -> bool:
    """Delete a chat session with its cached messages; False when there is none."""
    return was_done(session, delete(ChatSession).where(ChatSession.id == chat_id))


def cache(
    session: Session,
    chat_id: UUID,
    content: str,
    *,
    message_id: str,
    role: Role,
    model: str | None = None,
    template: str | None = None,
    token_count: int | None = None,
    execution_time_ms: int | None = None,
) -> UUID:
    """Keep a message where it can be searched, and count it in its chat session; answers its id."""
    values = {
        "session_id": chat_id,
        "message_id": message_id,
        "role": role,
        "content": content,
        "model": model,
        "template": template,
        "token_count": token_count,
        "execution_time_ms": execution_time_ms,
    }
    kept = session.execute(insert(ChatMessage).values(storable(values)).returning(ChatMessage.id)).scalar_one()
    counted = {
        "message_count": func.coalesce(ChatSession.message_count, 0) + 1,
        "total_tokens": func.coalesce(ChatSession.total_tokens, 0) + (token_count or 0),
        "last_activity": func.now(),
    }
    session.execute(update(ChatSession).where(ChatSession.id == chat_id).values(counted))
    return kept


def cached(session: Session, chat_id: UUID, *, limit: int, before: Cached | None = None) -> list[Cached]:
    """The cached messages of a chat session, the newest first; the next page is `before` the last one of this."""
    it = ChatMessage
    wanted = select(
        *(it.id, it.message_id, it.role, it.content, it.model, it.token_count),
        readable(it.created_at).label("created_at"),
    ).where(it.session_id == chat_id)
    last = None if before is None else (before.created_at, before.id)
    found = session.execute(newest_first(wanted, it.created_at, it.id, before=last).limit(limit))
    return [Cached(**row) for row in found.mappings()]


def search(session: Session, words: str, *, user_id: UUID) -> list[Found]:
    """The fifty cached messages of the user that fit these words best; `words` as in `messages.search`."""
    matching = func.public.search_user_messages(literal(words, Text), literal(user_id)).table_valued(
        *(column("content", Text), column("created_at", TIMESTAMP(timezone=True)), column("session_id", Text)),
        *(column("similarity_score", Float), column("title", Text)),
    )
    it = matching.c
    found = session.execute(
        select(it.content, readable(it.created_at).label("created_at"), it.session_id, it.title)
        .add_columns(it.similarity_score.label("similarity"))
        .order_by(it.similarity_score.desc())
    )
    return [Found(**row) for row in found.mappings()]


def _looking() -> Select[*tuple[Any, ...]]:
    it = ChatSession
    return select(
        *(it.id, it.session_id, it.user_id, it.team_id, it.title, it.status, it.message_count, it.model, it.template),
        *(it.total_tokens, it.estimated_cost),
        *(readable(time).label(time.key) for time in (it.created_at, it.last_activity)),
    )


def _seen(session: Session, wanted: Select[*tuple[Any, ...]]) -> list[Seen]:
    return [Seen(**row) for row in session.execute(wanted).mappings()]
