"""`public.tasks`: what users ask coding agents to do, and the queue that this worker serves."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Enum, ForeignKey, Identity, Index, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base, Count, CreatedNow


class TaskStatus(StrEnum):
    """Where a task stands; the application knows no other states."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    ERROR = "error"


STATUS = Enum(
    TaskStatus, name="task_status_enum", schema="public", values_callable=lambda kinds: [k.value for k in kinds]
)
PENDING = text("status = 'pending'")


class Task(Base):
    """
    One request of one user to one agent.

    Every column is writable by its owner at any time, also while the task runs. `created_at` and `updated_at` may
    hold `infinity`, which Python cannot: never load them.
    """

    __tablename__ = "tasks"
    __table_args__ = (
        CheckConstraint("progress >= 0 AND progress <= 100", name="progress"),
        CheckConstraint("char_length(prompt) >= 1", name="prompt"),
        Index("idx_tasks_user_id", "user_id"),
        Index("idx_tasks_status", "status"),
        Index("idx_tasks_created_at", text("created_at DESC")),
        Index("worker_tasks_pending", "user_id", "id", postgresql_where=PENDING),
        {"schema": "public"},
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("auth.users.id", ondelete="CASCADE"))
    status: Mapped[TaskStatus] = mapped_column(STATUS, server_default=text("'pending'::public.task_status_enum"))
    progress: Mapped[Count]
    prompt: Mapped[str]
    repo_url: Mapped[str | None]
    selected_agent: Mapped[str | None] = mapped_column(server_default=text("'claude'::text"))
    selected_model: Mapped[str | None]
    sandbox_url: Mapped[str | None]
    branch_name: Mapped[str | None]
    logs: Mapped[Any | None] = mapped_column(JSONB, server_default=text("'[]'::jsonb"))
    created_at: Mapped[CreatedNow]
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())
