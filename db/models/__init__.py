"""SQLAlchemy models of every table that the worker serves."""

from db.models.auth import User
from db.models.base import Base
from db.models.public.tasks import Task, TaskStatus
from db.models.worker import CreatedObject, Lease, Run, Turn

__all__ = ["Base", "CreatedObject", "Lease", "Run", "Task", "TaskStatus", "Turn", "User"]
