"""Workflows of teams: definitions, executions, templates."""

from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base, Count, Document, Id, Json, No, Now, OfTeam, Owner, Timestamp, Yes


class Workflow(Base):
    """A team's workflow; `schema` defines it."""

    __tablename__ = "workflows"
    __table_args__ = (
        CheckConstraint("char_length(name) >= 1", name="name"),
        CheckConstraint("version >= 1", name="version"),
        Index("idx_workflows_team_id", "team_id"),
        {"schema": "public"},
    )

    id: Mapped[Id]
    team_id: Mapped[OfTeam]
    name: Mapped[str]
    description: Mapped[str | None]
    schema: Mapped[Any] = mapped_column(JSONB)
    is_active: Mapped[Yes | None]
    version: Mapped[int | None] = mapped_column(server_default=text("1"))
    created_at: Mapped[Now | None]
    updated_at: Mapped[Now | None]


class WorkflowExecution(Base):
    """One execution of a workflow."""

    __tablename__ = "workflow_executions"
    __table_args__ = (
        CheckConstraint("status IN ('running', 'completed', 'failed', 'cancelled')", name="status"),
        Index("idx_workflow_executions_created_by", "created_by"),
        Index("idx_workflow_executions_workflow_id", "workflow_id"),
        {"schema": "public"},
    )

    id: Mapped[Id]
    workflow_id: Mapped[UUID] = mapped_column(ForeignKey("public.workflows.id", ondelete="CASCADE"))
    status: Mapped[str]
    input_data: Mapped[Document | None]
    output_data: Mapped[Json | None]
    execution_log: Mapped[list[Any] | None] = mapped_column(ARRAY(JSONB), server_default=text("'{}'::jsonb[]"))
    started_at: Mapped[Now | None]
    completed_at: Mapped[Timestamp | None]
    error: Mapped[str | None]
    created_by: Mapped[Owner]


class WorkflowTemplate(Base):
    """A definition to begin a workflow from."""

    __tablename__ = "workflow_templates"
    __table_args__ = (
        CheckConstraint("char_length(category) >= 1", name="category"),
        CheckConstraint("char_length(name) >= 1", name="name"),
        CheckConstraint("rating >= 0.0 AND rating <= 5.0", name="rating"),
        CheckConstraint("usage_count >= 0", name="usage"),
        Index("idx_workflow_templates_created_by", "created_by"),
        {"schema": "public"},
    )

    id: Mapped[Id]
    name: Mapped[str]
    description: Mapped[str | None]
    category: Mapped[str]
    schema: Mapped[Any] = mapped_column(JSONB)
    is_public: Mapped[No | None]
    created_by: Mapped[Owner]
    created_at: Mapped[Now | None]
    updated_at: Mapped[Now | None]
    usage_count: Mapped[Count | None]
    rating: Mapped[Decimal | None] = mapped_column(server_default=text("0.0"))
