"""Cleaning up, as beat asks for it."""

from worker import git
from worker.app import app
from worker.run import workspace
from worker.settings import settings


@app.task(name="maintenance.workspaces", acks_late=True)  # type: ignore[untyped-decorator]  # Celery has no types
def workspaces() -> str:
    """Remove the workspaces that killed workers of this host left behind."""
    return f"{workspace.sweep(settings().workspaces_dir)} removed"


@app.task(name="maintenance.mirrors", acks_late=True)  # type: ignore[untyped-decorator]  # Celery has no types
def mirrors() -> str:
    """Remove what this host keeps of repositories that no run has used for long, or that there is no room for."""
    return f"{git.evict(workspace.mirrors(settings()))} removed"
