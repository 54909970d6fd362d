"""Sessions of chat: their messages as cached for search, tags, exports and figures."""

from decimal import Decimal
from uuid import UUID

from sqlalchemy import CheckConstraint, Computed, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base, Big, BigCount, Count, Document, Id, Now, Owner, Timestamp, Varchar


class ChatSession(Base):
    """A conversation with a model; `session_id` is the application's own name for it."""

    __tablename__ = "chat_sessions"
    __table_args__ = (
        CheckConstraint("estimated_cost >= 0", name="cost"),
        CheckConstraint("message_count >= 0", name="count"),
        CheckConstraint("status IN ('active', 'archived', 'deleted')", name="status"),
        CheckConstraint("total_tokens >= 0", name="tokens"),
        Index("idx_chat_sessions_last_activity", text("last_activity DESC")),
        Index("idx_chat_sessions_status", "status"),
        Index("idx_chat_sessions_team_id", "team_id"),
        Index("idx_chat_sessions_user_id", "user_id"),
        {"schema": "public"},
    )

    id: Mapped[Id]
    session_id: Mapped[Varchar] = mapped_column(unique=True)
    user_id: Mapped[Owner]
    team_id: Mapped[UUID | None] = mapped_column(
        ForeignKey("public.teams.id", name="fk_chat_sessions_team", ondelete="SET NULL")
    )
    title: Mapped[str | None]
    status: Mapped[Varchar | None] = mapped_column(server_default=text("'active'::character varying"))
    message_count: Mapped[Count | None]
    model: Mapped[Varchar | None]
    template: Mapped[Varchar | None]
    s3_metadata_key: Mapped[str | None]
    s3_messages_key: Mapped[str | None]
    total_tokens: Mapped[Count | None]
    estimated_cost: Mapped[Decimal | None] = mapped_column(server_default=text("0"))
    created_at: Mapped[Now | None]
    updated_at: Mapped[Now | None]
    last_activity: Mapped[Now | None]


class ChatMessage(Base):
    """A message of a session, kept for search; `content_vector` is what is searched."""

    __tablename__ = "chat_message_cache"
    __table_args__ = (
        CheckConstraint("role IN ('user', 'assistant', 'system')", name="role"),
        CheckConstraint("execution_time_ms IS NULL OR execution_time_ms >= 0", name="time"),
        CheckConstraint("token_count IS NULL OR token_count >= 0", name="token"),
        Index("idx_chat_message_cache_content_vector", "content_vector", postgresql_using="gin"),
        Index("idx_chat_message_cache_created_at", text("created_at DESC")),
        Index("idx_chat_message_cache_model", "model"),
        Index("idx_chat_message_cache_session_id", "session_id"),
        {"schema": "public"},
    )

    id: Mapped[Id]
    session_id: Mapped[UUID] = mapped_column(ForeignKey("public.chat_sessions.id", ondelete="CASCADE"))
    message_id: Mapped[Varchar]
    role: Mapped[Varchar]
    content: Mapped[str]
    content_hash: Mapped[Varchar | None]
    model: Mapped[Varchar | None]
    template: Mapped[Varchar | None]
    token_count: Mapped[int | None]
    execution_time_ms: Mapped[int | None]
    created_at: Mapped[Now | None]
    content_vector: Mapped[str | None] = mapped_column(
        TSVECTOR, Computed("to_tsvector('english'::regconfig, content)", persisted=True)
    )


class ChatSessionTag(Base):
    """A word that a user put on a session."""

    __tablename__ = "chat_session_tags"
    __table_args__ = (
        CheckConstraint("char_length(tag) >= 1", name="tag"),
        UniqueConstraint("session_id", "tag", name="chat_session_tags_unique"),
        {"schema": "public"},
    )

    id: Mapped[Id]
    session_id: Mapped[UUID] = mapped_column(ForeignKey("public.chat_sessions.id", ondelete="CASCADE"))
    tag: Mapped[Varchar]
    created_at: Mapped[Now | None]


class ChatExportRequest(Base):
    """A user's wish for their sessions as a file."""

    __tablename__ = "chat_export_requests"
    __table_args__ = (
        CheckConstraint("record_count IS NULL OR record_count >= 0", name="count"),
        CheckConstraint("export_type IN ('json', 'csv')", name="export_type"),
        CheckConstraint("file_size_bytes IS NULL OR file_size_bytes >= 0", name="size"),
        CheckConstraint("status IN ('pending', 'processing', 'completed', 'failed')", name="status"),
        Index("idx_chat_export_requests_user_id", "user_id"),
        {"schema": "public"},
    )

    id: Mapped[Id]
    user_id: Mapped[Owner]
    export_type: Mapped[Varchar]
    status: Mapped[Varchar | None] = mapped_column(server_default=text("'pending'::character varying"))
    date_from: Mapped[Timestamp | None]
    date_to: Mapped[Timestamp | None]
    session_ids: Mapped[list[UUID] | None]
    s3_export_key: Mapped[str | None]
    file_size_bytes: Mapped[Big | None]
    record_count: Mapped[int | None]
    error_message: Mapped[str | None]
    created_at: Mapped[Now | None]
    completed_at: Mapped[Timestamp | None]


class UserChatAnalytics(Base):
    """Figures over all sessions of a user; one row a user."""

    __tablename__ = "user_chat_analytics"
    __table_args__ = (
        CheckConstraint("total_cost >= 0", name="cost"),
        CheckConstraint("most_active_day IS NULL OR (most_active_day >= 0 AND most_active_day <= 6)", name="day"),
        CheckConstraint("most_active_hour IS NULL OR (most_active_hour >= 0 AND most_active_hour <= 23)", name="hour"),
        CheckConstraint("total_messages >= 0", name="messages"),
        CheckConstraint("total_sessions >= 0", name="sessions"),
        CheckConstraint("total_tokens >= 0", name="tokens"),
        {"schema": "public"},
    )

    id: Mapped[Id]
    user_id: Mapped[Owner] = mapped_column(unique=True)
    total_sessions: Mapped[Count | None]
    total_messages: Mapped[Count | None]
    total_tokens: Mapped[Count | None]
    total_cost: Mapped[Decimal | None] = mapped_column(server_default=text("0"))
    model_usage: Mapped[Document | None]
    template_usage: Mapped[Document | None]
    last_activity: Mapped[Timestamp | None]
    most_active_hour: Mapped[int | None]
    most_active_day: Mapped[int | None]
    favorite_models: Mapped[list[str] | None]
    favorite_templates: Mapped[list[str] | None]
    s3_objects_count: Mapped[Count | None]
    estimated_storage_size_bytes: Mapped[BigCount | None]
    created_at: Mapped[Now | None]
    updated_at: Mapped[Now | None]
