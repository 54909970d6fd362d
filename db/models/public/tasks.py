"""`public.tasks`: what users ask coding agents to do, and the queue that this worker serves."""

from enum import StrEnum

from sqlalchemy import CheckConstraint, Identity, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base, Big, Count, Json, Now, Owner, enumeration


class TaskStatus(StrEnum):
    """Where a task stands; the application knows no other states."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    ERROR = "error"


STATUS = enumeration(TaskStatus, "task_status_enum")
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

    id: Mapped[Big] = mapped_column(Identity(always=True), primary_key=True)
    user_id: Mapped[Owner]
    status: Mapped[TaskStatus] = mapped_column(STATUS, server_default=text("'pending'::public.task_status_enum"))
    progress: Mapped[Count]
    prompt: Mapped[str]
    repo_url: Mapped[str | None]
    selected_agent: Mapped[str | None] = mapped_column(server_default=text("'claude'::text"))
    selected_model: Mapped[str | None]
    sandbox_url: Mapped[str | None]
    branch_name: Mapped[str | None]
    logs: Mapped[Json | None] = mapped_column(server_default=text("'[]'::jsonb"))
    created_at: Mapped[Now]
    updated_at: Mapped[Now]
