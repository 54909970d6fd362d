"""GitHub's Copilot CLI with a model of one's own: `copilot --output-format json`."""

from collections.abc import Iterator, Mapping
from typing import Final

from worker.agents.base import Event, Job, Verdict, fields, text, whole
from worker.agents.cli import Cli, without_none
from worker.agents.reading import Reader, blamed, ran, said, tokens

PROVIDER: Final = "anthropic"
EDITS = frozenset({"create", "edit", "str_replace", "str_replace_editor", "apply_patch"})


class Copilot(Cli):
    """Offline, so that it asks nobody but the provider, and needs no account with GitHub."""

    name = "copilot"
    provider = PROVIDER
    executable = "copilot"
    install = "npm install -g @github/copilot"
    model = "claude-sonnet-5-5"

    def arguments(self, job: Job) -> tuple[str, ...]:
        """Headless, with all tools, paths and addresses allowed: what it may reach is the sandbox's to say."""
        return (
            *("--output-format", "json", "--allow-all", "--no-ask-user", "--disable-builtin-mcps"),
            *("--no-auto-update", "--model", self.model_of(job)),
        )

    def environment(self, job: Job) -> Mapping[str, str]:
        """Where its provider is."""
        return without_none(
            {
                "COPILOT_OFFLINE": "true",
                "COPILOT_PROVIDER_TYPE": PROVIDER,
                "COPILOT_PROVIDER_BASE_URL": job.base_url or "https://api.anthropic.com",
                "COPILOT_PROVIDER_API_KEY": job.token,
                "COPILOT_MODEL": self.model_of(job),
            }
        )

    def parser(self, job: Job) -> "CopilotParser":
        """A fresh parser."""
        return CopilotParser(job)


class CopilotParser(Reader):
    """Reads messages, tools that begin and end, and the closing `result`."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._turns = 0
        self._usage: dict[str, int | float] = {}
        self._fault: Mapping[str, object] = {}

    def read(self, kind: str, found: Mapping[str, object]) -> Iterator[Event]:
        """What one line means."""
        told = fields(found, "data")
        match kind:
            case "assistant.turn_start":
                self._turns += 1
            case "assistant.message":
                yield from self.say(text(told.get("content")))
            case "assistant.usage":
                self._count(told)
            case "tool.execution_start":
                given = fields(told, "arguments")
                yield from self.begin(text(told.get("toolCallId")), self._tool(text(told.get("toolName")), given))
            case "tool.execution_complete":
                yield from self._ends(told)
            case "session.error":
                self._fault = told
                yield from self.say(text(told.get("message")))
            case "session.info" if told.get("infoType") == "model_retry":
                yield said(text(told.get("message")))
            case "result":
                yield from self.conclude(self._verdict(found))

    def _tool(self, name: str, given: Mapping[str, object]) -> Event | None:
        if name in {"bash", "shell"}:
            return ran(text(given.get("command")))
        if name in EDITS:
            return self.edited(text(given.get("path")))
        return said(f"Looked up {text(given.get('url'))}") if name == "web_fetch" else None

    def _ends(self, told: Mapping[str, object]) -> Iterator[Event]:
        output = text(fields(told, "result").get("content")) or text(fields(told, "error").get("message"))
        code, failed = whole(fields(told, "shellExecution").get("exitCode")), told.get("success") is not True
        yield from self.end(text(told.get("toolCallId")), failed=failed, code=code, output=output)

    def _count(self, told: Mapping[str, object]) -> None:
        used = tokens(
            told,
            input_tokens="inputTokens",
            cached_tokens="cacheReadTokens",
            output_tokens="outputTokens",
        )
        self._usage = {name: self._usage.get(name, 0) + count for name, count in used.items()}

    def _verdict(self, found: Mapping[str, object]) -> Verdict:
        ok = found.get("exitCode") == 0 and not self._fault
        return Verdict(
            ok=ok,
            answer=self.last_words() if ok else text(self._fault.get("message")),
            usage=self._usage,
            turns=self._turns or None,
            **blamed(whole(self._fault.get("statusCode"))),
        )
