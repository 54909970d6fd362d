"""SST's opencode: `opencode run --format json`."""

import json
from collections.abc import Iterator, Mapping
from typing import Final

from worker.agents.base import Event, Job, Verdict, fields, measures, text, whole
from worker.agents.cli import Cli, without_none
from worker.agents.reading import Reader, blamed, ran, said, tokens
from worker.errors import TaskFailed

PROVIDER: Final = "anthropic"
EDITS = frozenset({"edit", "write", "patch", "multiedit", "apply_patch"})


class Opencode(Cli):
    """
    It could speak to many providers; here it speaks to one, whose key the worker has.

    Of a repository's own configuration it takes AGENTS.md alone, and plugins: nothing keeps it from running these, in
    the sandbox, as it does the repository's tests.
    """

    name = "opencode"
    provider = PROVIDER
    executable = "opencode"
    install = "npm install -g opencode-ai"
    model = "claude-sonnet-5-5"

    def arguments(self, job: Job) -> tuple[str, ...]:
        """Headless, everything allowed, nothing of a repository's plugins."""
        return ("run", "--format", "json", "--auto", "--pure", "-m", f"{PROVIDER}/{self.model_of(job)}")

    def environment(self, job: Job) -> Mapping[str, str]:
        """Its configuration, in place of any other; nothing but the model's API is to be asked."""
        return {
            "OPENCODE_CONFIG_CONTENT": json.dumps(self._configuration(job)),
            "OPENCODE_DISABLE_PROJECT_CONFIG": "1",
            "OPENCODE_DISABLE_MODELS_FETCH": "1",
            "OPENCODE_DISABLE_AUTOUPDATE": "1",
            "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
            "OPENCODE_DISABLE_DEFAULT_PLUGINS": "1",
        }

    def parser(self, job: Job) -> "OpencodeParser":
        """A fresh parser."""
        return OpencodeParser(job)

    def model_of(self, job: Job) -> str:
        """The model, whether or not its provider is named before it."""
        provider, _, model = (job.model or self.model).rpartition("/")
        if provider not in {"", PROVIDER}:
            raise TaskFailed(
                f"Agent {self.name} works with models of {PROVIDER} here, and {job.model} is none of them."
            )
        return model

    def _configuration(self, job: Job) -> Mapping[str, object]:
        options = without_none({"baseURL": f"{job.base_url}/v1" if job.base_url else None, "apiKey": job.token})
        model = f"{PROVIDER}/{self.model_of(job)}"
        return {
            "provider": {PROVIDER: {"options": options, "models": {self.model_of(job): {}}}},
            "enabled_providers": [PROVIDER],
            "model": model,
            "small_model": model,
            "permission": "allow",
            "instructions": [str(job.workspace / "AGENTS.md")],
            "share": "disabled",
            "snapshot": False,
            "autoupdate": False,
        }


class OpencodeParser(Reader):
    """Reads texts, tools that are done, and steps, of which the one that ends with `stop` is the last."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._turns = 0
        self._cost = 0.0
        self._usage: dict[str, int | float] = {"input_tokens": 0, "cached_tokens": 0, "output_tokens": 0}

    def read(self, kind: str, found: Mapping[str, object]) -> Iterator[Event]:
        """What one line means."""
        part = fields(found, "part")
        match kind:
            case "text":
                yield from self.say(text(part.get("text")))
            case "tool_use":
                yield from self._tool(text(part.get("tool")), fields(part, "state"))
            case "step_finish":
                self._count(part)
                if part.get("reason") == "stop":
                    yield from self.conclude(self._verdict(ok=True, answer=self.last_words()))
            case "error":
                fault = fields(found, "error")
                words = text(fields(fault, "data").get("message")) or text(fault.get("name"))
                status = whole(fields(fault, "data").get("statusCode"))
                yield from self.conclude(self._verdict(ok=False, answer=words, status=status))

    def _tool(self, name: str, state: Mapping[str, object]) -> Iterator[Event]:
        yield from self.begin(name, self._began(name, fields(state, "input")))
        yield from self.end(
            name,
            failed=state.get("status") == "error",
            code=whole(fields(state, "metadata").get("exit")),
            output=text(state.get("output")) or text(state.get("error")),
        )

    def _began(self, name: str, given: Mapping[str, object]) -> Event | None:
        if name == "bash":
            return ran(text(given.get("command")))
        if name in EDITS:
            return self.edited(text(given.get("filePath"))) or said("Edited files")
        looked = text(given.get("url")) or text(given.get("query"))
        return said(f"Looked up {looked}") if name in {"webfetch", "websearch"} else None

    def _count(self, step: Mapping[str, object]) -> None:
        used, cost = fields(step, "tokens"), step.get("cost")
        cached = tokens(used.get("cache"), read="read", write="write")
        told = tokens(used, input_tokens="input", output_tokens=("output", "reasoning"))
        self._turns += 1
        self._cost += cost if isinstance(cost, int | float) and measures(cost) else 0
        self._usage["input_tokens"] += told.get("input_tokens", 0) + sum(cached.values())
        self._usage["cached_tokens"] += cached.get("read", 0)
        self._usage["output_tokens"] += told.get("output_tokens", 0)

    def _verdict(self, *, ok: bool, answer: str, status: int | None = None) -> Verdict:
        return Verdict(
            ok=ok,
            answer=answer,
            usage=self._usage,
            turns=self._turns or None,
            cost=self._cost or None,
            **blamed(status),
        )
