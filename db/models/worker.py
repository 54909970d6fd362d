"""Schema `worker`: who runs what, what was run, whose turn it is, what was cleaned up. Hidden from the app's users."""

from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Identity, Index, Sequence, text
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base, Count, Json, Now, Timestamp

FENCES = Sequence("fences", schema="worker", metadata=Base.metadata)


class Lease(Base):
    """
    A task that is offered, running, or given back with a history; gone when the task ends.

    No foreign key: a user's DELETE must never touch our locks. `expires_at` is in no index, so that a heartbeat
    stays a heap-only update.
    """

    __tablename__ = "leases"
    __table_args__ = (
        Index(
            "leases_busy",
            "user_id",
            postgresql_where=text("holder IS NOT NULL OR offered_at IS NOT NULL"),
        ),
        {"schema": "worker", "postgresql_with": {"fillfactor": "50"}},
    )

    task_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    user_id: Mapped[UUID]
    fence: Mapped[int] = mapped_column(BigInteger)
    holder: Mapped[str | None]
    offered_at: Mapped[Timestamp | None]
    not_before: Mapped[Timestamp | None]
    expires_at: Mapped[Timestamp | None]
    attempt: Mapped[Count]
    crashes: Mapped[Count]
    interruptions: Mapped[Count]
    backoffs: Mapped[Count]
    flushes: Mapped[Count]


class Run(Base):
    """One attempt at a task, for history: kept when the task is deleted."""

    __tablename__ = "runs"
    __table_args__ = (
        Index("runs_task_id", "task_id"),
        Index("runs_started_at", "started_at"),
        Index("runs_user_id_started_at", "user_id", "started_at"),
        {"schema": "worker"},
    )

    fence: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    task_id: Mapped[int] = mapped_column(BigInteger)
    user_id: Mapped[UUID]
    attempt: Mapped[int]
    holder: Mapped[str]
    celery_id: Mapped[str | None]
    agent: Mapped[str | None]
    model: Mapped[str | None]
    started_at: Mapped[Now]
    finished_at: Mapped[Timestamp | None]
    outcome: Mapped[str | None]
    error: Mapped[str | None]
    pushed_branch: Mapped[str | None]
    pushed_head: Mapped[str | None]
    pushed_base: Mapped[str | None]
    usage: Mapped[dict[str, Any] | None]
    entries: Mapped[Count]


class RemoteSandbox(Base):
    """
    A machine of a provider's that was made for one attempt, until it is known to be gone.

    It belongs to the lease by its fence, and stands in a row of its own: whoever ends or takes the attempt, and the
    owner who deletes the task, changes nothing here, so that the machine is not forgotten with the lease.
    """

    __tablename__ = "sandboxes"
    __table_args__ = ({"schema": "worker"},)

    id: Mapped[str] = mapped_column(primary_key=True)
    task_id: Mapped[int] = mapped_column(BigInteger)
    fence: Mapped[int] = mapped_column(BigInteger)
    made_at: Mapped[Now]


class Turn(Base):
    """Whose turn it was last among users with pending tasks: one row, held by the dispatcher that offers."""

    __tablename__ = "turn"
    __table_args__ = (CheckConstraint("one", name="one"), {"schema": "worker"})

    one: Mapped[bool] = mapped_column(primary_key=True, server_default=text("true"))
    user_id: Mapped[UUID]


class ScheduleSlot(Base):
    """
    One period of one job of the schedule, done once however many beats there are; kept as history.

    `scheduled_for` is when it was due. One without `finished_at` goes on, or was cut short.
    """

    __tablename__ = "schedule_slots"
    __table_args__ = (
        Index("schedule_slots_taken_at", "taken_at"),
        {"schema": "worker"},
    )

    name: Mapped[str] = mapped_column(primary_key=True)
    scheduled_for: Mapped[Timestamp] = mapped_column(primary_key=True)
    taken_at: Mapped[Now]
    finished_at: Mapped[Timestamp | None]
    holder: Mapped[str]
    report: Mapped[Json | None]


class OrphanedFile(Base):
    """
    A stored file whose row is gone, and that is still to be deleted.

    A file is here once for each row that named it: what one user's row names never stands in the way of another's.
    """

    __tablename__ = "orphaned_files"
    __table_args__ = ({"schema": "worker"},)

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    bucket: Mapped[str]
    name: Mapped[str]
    owner: Mapped[UUID]
    """The project's."""
    named_by: Mapped[UUID]
    """Whose row it was: users may write rows of theirs into projects of others."""
    project: Mapped[UUID]
    added_at: Mapped[Now]
    attempts: Mapped[Count]
    not_before: Mapped[Now]
    last_error: Mapped[str | None]


class CreatedObject(Base):
    """What our migrations made in this database, so that a downgrade removes nothing else."""

    __tablename__ = "created_objects"
    __table_args__ = ({"schema": "worker"},)

    kind: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    created_at: Mapped[Now]
