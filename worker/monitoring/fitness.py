"""What a host must have before it takes runs, so that no task fails for the lack of it."""

from datetime import timedelta
from pathlib import Path

import structlog

from worker import git
from worker.run.pump import Deadline, Limits, Pump
from worker.sandbox import choice
from worker.sandbox.command import Command, Completed
from worker.sandbox.process import ProcessSandbox
from worker.settings import Settings

log = structlog.get_logger(__name__)

PATIENCE = timedelta(seconds=20)


def check(settings: Settings) -> None:
    """
    Raises:
        CommandFailed: git is missing or too old, the state folder cannot be written, or the sandbox that the settings
            insist on cannot be had; the sentence says what to do.
    """
    settings.workspaces_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    git.version(alone, Path(settings.workspaces_dir))
    choice.sandbox(settings.sandbox, processes=settings.process_limit, memory=settings.memory_limit)
    if settings.sandbox not in {"process", "e2b"}:
        log.info("sandbox.checked", isolates=choice.fault() is None, told=" ".join(choice.told()))


def alone(command: Command) -> Completed:
    """Run a program outside of any run."""
    return Pump(watch=lambda: None).run(command, sandbox=ProcessSandbox(), limits=Limits(wall=Deadline.after(PATIENCE)))
