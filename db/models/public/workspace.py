"""The files of each user's workspace, by path."""

from sqlalchemy import CheckConstraint, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base, BigCount, Document, Id, No, Now, OfProject, Owner


class WorkspaceFile(Base):
    """A file or directory; `path` is unique for its user, `parent_path` is NULL at the top."""

    __tablename__ = "workspace_files"
    __table_args__ = (
        CheckConstraint("char_length(name) >= 1", name="name"),
        CheckConstraint("char_length(path) >= 1", name="path"),
        CheckConstraint("size_bytes >= 0", name="size"),
        UniqueConstraint("user_id", "path", name="workspace_files_unique_path"),
        Index("idx_workspace_files_created_at", text("created_at DESC")),
        Index("idx_workspace_files_parent_path", "user_id", "parent_path"),
        Index("idx_workspace_files_project_id", "project_id"),
        {"schema": "public"},
    )

    id: Mapped[Id]
    user_id: Mapped[Owner]
    project_id: Mapped[OfProject | None]
    path: Mapped[str]
    name: Mapped[str]
    content: Mapped[str] = mapped_column(server_default=text("''::text"))
    is_directory: Mapped[No | None]
    parent_path: Mapped[str | None]
    mime_type: Mapped[str | None]
    size_bytes: Mapped[BigCount | None]
    metadata_: Mapped[Document | None] = mapped_column("metadata")
    created_at: Mapped[Now | None]
    updated_at: Mapped[Now | None]
