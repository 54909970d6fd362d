"""Projects, and what hangs on them: messages, fragments of code with their executions, uploaded files."""

from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.sql.elements import conv

from db.models.base import Base, Big, Document, Id, Json, No, Now, OfProject, Owner, Timestamp, enumeration


class MessageRole(StrEnum):
    """Who speaks in a project."""

    USER = "user"
    ASSISTANT = "assistant"


class ProjectStatus(StrEnum):
    """Where a project stands."""

    ACTIVE = "active"
    ARCHIVED = "archived"
    DELETED = "deleted"


ROLE = enumeration(MessageRole, "message_role_enum")
STATUS = enumeration(ProjectStatus, "project_status_enum")
MESSAGE_WORDS = r"""
CASE
    WHEN octet_length(content::text) < 200000 THEN to_tsvector('english'::regconfig, content)
    ELSE to_tsvector('english'::regconfig, replace("left"(content::text, 100000), '\n'::text, ' '::text))
END"""
"""
What a message is found by. PostgreSQL refuses a row with a megabyte of different words, such as a picture in base64:
of a long message only the beginning counts, as it is written. To the letter what PostgreSQL gives back.
"""


class Project(Base):
    """A user's piece of work, of a team or their own. `deleted_at` marks it as removed until it is purged."""

    __tablename__ = "projects"
    __table_args__ = (
        CheckConstraint("char_length(title) >= 1", name="title"),
        Index("idx_projects_created_at", text("created_at DESC")),
        Index("idx_projects_status", "status"),
        Index("idx_projects_team_id", "team_id"),
        Index("idx_projects_updated_at", text("updated_at DESC")),
        Index("idx_projects_user_id", "user_id"),
        Index("idx_projects_deleted_at", "deleted_at", postgresql_where=text("deleted_at IS NOT NULL")),
        Index(
            "idx_projects_public",
            text("updated_at DESC"),
            postgresql_where=text("is_public AND deleted_at IS NULL"),
        ),
        {"schema": "public"},
    )

    id: Mapped[Id]
    user_id: Mapped[Owner]
    team_id: Mapped[UUID | None] = mapped_column(ForeignKey("public.teams.id", ondelete="SET NULL"))
    title: Mapped[str]
    description: Mapped[str | None]
    template_id: Mapped[str | None]
    status: Mapped[ProjectStatus | None] = mapped_column(
        STATUS, server_default=text("'active'::public.project_status_enum")
    )
    is_public: Mapped[No | None]
    metadata_: Mapped[Document | None] = mapped_column("metadata")
    created_at: Mapped[Now | None]
    updated_at: Mapped[Now | None]
    deleted_at: Mapped[Timestamp | None]


class Message(Base):
    """One turn of a project's conversation, numbered from 0."""

    __tablename__ = "messages"
    __table_args__ = (
        CheckConstraint("sequence_number >= 0", name=conv("messages_sequence_positive")),
        UniqueConstraint("project_id", "sequence_number", name="messages_project_id_sequence_number_key"),
        Index("idx_messages_created_at", text("created_at DESC")),
        Index("idx_messages_search", text(f"({MESSAGE_WORDS})"), postgresql_using="gin"),
        {"schema": "public"},
    )

    id: Mapped[Id]
    project_id: Mapped[OfProject]
    role: Mapped[MessageRole] = mapped_column(ROLE)
    content: Mapped[Any] = mapped_column(JSONB)
    object_data: Mapped[Json | None]
    result_data: Mapped[Json | None]
    sequence_number: Mapped[int]
    created_at: Mapped[Now | None]


class Fragment(Base):
    """A piece of code that can be executed."""

    __tablename__ = "fragments"
    __table_args__ = (
        CheckConstraint("port IS NULL OR (port > 0 AND port <= 65535)", name="port"),
        CheckConstraint("char_length(title) >= 1", name="title"),
        Index("idx_fragments_project_id", "project_id"),
        Index("idx_fragments_public", "is_public", postgresql_where=text("is_public = true")),
        Index("idx_fragments_template", "template"),
        Index("idx_fragments_user_id", "user_id"),
        {"schema": "public"},
    )

    id: Mapped[Id]
    user_id: Mapped[Owner]
    project_id: Mapped[OfProject | None]
    title: Mapped[str]
    description: Mapped[str | None]
    template: Mapped[str]
    code: Mapped[str]
    file_path: Mapped[str]
    additional_dependencies: Mapped[list[str] | None]
    has_additional_dependencies: Mapped[No | None]
    install_dependencies_command: Mapped[str | None]
    port: Mapped[int | None]
    is_public: Mapped[No | None]
    metadata_: Mapped[Document | None] = mapped_column("metadata")
    created_at: Mapped[Now | None]
    updated_at: Mapped[Now | None]


class FragmentExecution(Base):
    """One execution of a fragment, and what came of it."""

    __tablename__ = "fragment_executions"
    __table_args__ = (
        CheckConstraint("status IN ('pending', 'running', 'completed', 'failed', 'timeout')", name="status"),
        CheckConstraint("execution_time_ms IS NULL OR execution_time_ms >= 0", name="time"),
        Index("idx_fragment_executions_fragment_id", "fragment_id"),
        Index("idx_fragment_executions_user_id", "user_id"),
        {"schema": "public"},
    )

    id: Mapped[Id]
    fragment_id: Mapped[UUID] = mapped_column(ForeignKey("public.fragments.id", ondelete="CASCADE"))
    user_id: Mapped[Owner]
    sandbox_id: Mapped[str | None]
    template: Mapped[str]
    status: Mapped[str | None] = mapped_column(server_default=text("'pending'::text"))
    execution_url: Mapped[str | None]
    stdout: Mapped[str | None]
    stderr: Mapped[str | None]
    runtime_error: Mapped[str | None]
    cell_results: Mapped[Json | None]
    execution_time_ms: Mapped[int | None]
    started_at: Mapped[Now | None]
    completed_at: Mapped[Timestamp | None]
    metadata_: Mapped[Document | None] = mapped_column("metadata")


class FileUpload(Base):
    """A file that a user says they uploaded. The row is theirs to write: never trust what it names."""

    __tablename__ = "file_uploads"
    __table_args__ = (
        CheckConstraint("char_length(file_name) >= 1", name="name"),
        CheckConstraint("file_size IS NULL OR file_size >= 0", name="size"),
        Index("idx_file_uploads_created_at", text("created_at DESC")),
        Index("idx_file_uploads_project_id", "project_id"),
        Index("idx_file_uploads_user_id", "user_id"),
        Index("worker_file_uploads_path", "file_path", postgresql_using="hash"),
        {"schema": "public"},
    )

    id: Mapped[Id]
    user_id: Mapped[Owner]
    project_id: Mapped[OfProject | None]
    file_name: Mapped[str]
    file_path: Mapped[str]
    file_size: Mapped[Big | None]
    mime_type: Mapped[str | None]
    bucket_name: Mapped[str]
    is_public: Mapped[No | None]
    metadata_: Mapped[Document | None] = mapped_column("metadata")
    created_at: Mapped[Now | None]
    updated_at: Mapped[Now | None]
