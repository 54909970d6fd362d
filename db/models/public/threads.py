"""Conversations between people: threads, messages, summaries."""

from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base, Id, No, Now, Owner


class ConversationThread(Base):
    """A thread of messages between people."""

    __tablename__ = "conversation_threads"
    __table_args__ = (
        CheckConstraint("char_length(name) >= 1", name="name"),
        Index("idx_conversation_threads_created_by", "created_by"),
        {"schema": "public"},
    )

    id: Mapped[Id]
    name: Mapped[str]
    created_by: Mapped[Owner]
    created_at: Mapped[Now | None]
    updated_at: Mapped[Now | None]
    is_archived: Mapped[No | None]


class ThreadMessage(Base):
    """A message in a thread."""

    __tablename__ = "thread_messages"
    __table_args__ = (
        CheckConstraint("char_length(content) >= 1", name="content"),
        Index("idx_thread_messages_sender_id", "sender_id"),
        Index("idx_thread_messages_thread_id", "thread_id"),
        {"schema": "public"},
    )

    id: Mapped[Id]
    thread_id: Mapped[UUID] = mapped_column(ForeignKey("public.conversation_threads.id", ondelete="CASCADE"))
    sender_id: Mapped[Owner]
    content: Mapped[str]
    created_at: Mapped[Now | None]
    updated_at: Mapped[Now | None]
    is_deleted: Mapped[No | None]


class ThreadSummary(Base):
    """A summary of a thread up to a message."""

    __tablename__ = "thread_summaries"
    __table_args__ = (
        CheckConstraint("message_count >= 0", name="count"),
        Index("idx_thread_summaries_last_message_id", "last_message_id"),
        Index("idx_thread_summaries_thread_id", "thread_id"),
        {"schema": "public"},
    )

    id: Mapped[Id]
    thread_id: Mapped[UUID] = mapped_column(ForeignKey("public.conversation_threads.id", ondelete="CASCADE"))
    summary: Mapped[str]
    created_at: Mapped[Now | None]
    updated_at: Mapped[Now | None]
    message_count: Mapped[int]
    last_message_id: Mapped[UUID | None] = mapped_column(ForeignKey("public.thread_messages.id", ondelete="SET NULL"))
