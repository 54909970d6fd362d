"""What a row asks for, checked: its owner may have written anything there."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import structlog

from db.queries.queue import Claim
from worker.agents import Agent, admit, find
from worker.errors import Cause, RunInterrupted, TaskFailed, WrongUse
from worker.gateway.keys import Access, access_for
from worker.repository import Credential, Lookup, Repository, accept, credential_for
from worker.sandbox.base import Sandbox
from worker.settings import Settings

log = structlog.get_logger(__name__)

MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,127}")
Answer = TypeVar("Answer")
AGAIN = timedelta(seconds=30)
DEFAULT_AGENT = "claude"
"""The column's own default; a row may hold NULL all the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A row that may be run."""

    prompt: str
    agent: Agent
    model: str | None
    branch: str | None
    """As the row names it: git has not seen it yet."""
    repository: Repository | None
    credential: Credential | None
    access: Access | None
    """To the provider of the agent's model; None where it has none."""

    @property
    def secrets(self) -> tuple[str, ...]:
        """What this run knows and nobody may read."""
        token = (self.credential.token,) if self.credential else ()
        return (*token, self.access.key) if self.access else token


def read(claim: Claim, *, settings: Settings, sandbox: Sandbox, lookup: Lookup) -> Request:
    """
    Check what a row asks for; the repository's host is looked up by `lookup`.

    Raises:
        TaskFailed: it cannot be done; the sentence is for the task's owner.
        RunInterrupted: the name service does not answer, or whoever is asked for the credential.
    """
    agent = find(claim.agent or DEFAULT_AGENT)
    admit(agent, sandbox=sandbox, trusted=settings.sandbox == "process")
    repository = None
    if claim.repo_url:
        repository = accept(claim.repo_url, allowed_hosts=settings.allowed_hosts, lookup=lookup)
    provider = agent.provider
    return Request(
        prompt=_prompt(claim.prompt, limit=settings.prompt_limit),
        agent=agent,
        model=_model(claim.model),
        branch=claim.branch or None,
        repository=repository,
        credential=_answered(lambda: credential_for(settings, claim.user_id, repository)) if repository else None,
        access=_answered(lambda: access_for(settings, claim.user_id, provider)) if provider else None,
    )


def _prompt(prompt: str, *, limit: int) -> str:
    if len(prompt) > limit:
        raise TaskFailed(f"The prompt is longer than {limit:,} characters. Shorten it, or put the details in a file.")
    if not prompt.strip():
        raise TaskFailed("The prompt is empty. Say what is to be done.")
    return prompt


def _model(model: str | None) -> str | None:
    if model and not MODEL.fullmatch(model):
        raise TaskFailed(
            "The selected model's name begins with a letter or a digit, and holds nothing but those and . _ : / @ + -"
        )
    return model or None


def _answered(ask: Callable[[], Answer]) -> Answer:
    """What whoever keeps our secrets answers."""
    try:
        return ask()
    except (RunInterrupted, TaskFailed):
        raise
    except Exception as fault:
        if not isinstance(fault, WrongUse):
            log.exception("credentials.unanswered")
            raise RunInterrupted(Cause.OVERLOADED, delay=AGAIN) from fault
        log.error("credentials.refused", reason=str(fault))  # noqa: TRY400 - a sentence for operators, no traceback
        raise TaskFailed(
            "This worker's list of credentials has a fault. Ask whoever runs the worker to mend it."
        ) from fault
