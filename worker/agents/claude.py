"""Anthropic's Claude Code: `claude -p --output-format stream-json`."""

import json
import re
from collections.abc import Iterator, Mapping

from worker.agents.base import Event, Job, Verdict, fields, measures, objects, text, whole
from worker.agents.cli import Cli, without_none
from worker.agents.reading import Reader, blamed, ran, said, tokens

RETRIES = 4
"""How often it asks a provider again that is overloaded: about half a minute; then the task is given back."""
RETIRED = re.compile(r"claude-(?:3[-.][57]|3|2|instant)(?:-(opus|sonnet|haiku))?\b.*")
"""Models that are no more, `claude-3-5-sonnet` among them, which rows still name: their family's newest serves."""
FILES = ("file_path", "notebook_path")
EDITS = frozenset({"Edit", "MultiEdit", "Write", "NotebookEdit"})
EXIT = re.compile(r"Exit code (\d{1,3})\n?")
"""How the result of a command that failed begins."""


class Claude(Cli):
    """The settings that it is given go before a repository's, which may name another address and run hooks."""

    name = "claude"
    provider = "anthropic"
    executable = "claude"
    install = "npm install -g @anthropic-ai/claude-code (or: pip install claude-agent-sdk)"
    wheel = "claude_agent_sdk/_bundled/claude"
    model = "sonnet"

    def arguments(self, job: Job) -> tuple[str, ...]:
        """Headless, all tools allowed, no settings but ours for what guards the token."""
        return (
            *("-p", "--output-format", "stream-json", "--verbose", "--dangerously-skip-permissions"),
            *("--strict-mcp-config", "--settings", json.dumps({"env": address(job), "disableAllHooks": True})),
            *("--model", current(self.model_of(job))),
        )

    def environment(self, job: Job) -> Mapping[str, str]:
        """IS_SANDBOX lets it run as root; nothing but the model's API is to be asked."""
        return {
            "IS_SANDBOX": "1",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "CLAUDE_CODE_MAX_RETRIES": str(RETRIES),
            "DISABLE_AUTOUPDATER": "1",
            **address(job),
            **without_none({"ANTHROPIC_API_KEY": job.token}),
        }

    def parser(self, job: Job) -> "ClaudeParser":
        """A fresh parser."""
        return ClaudeParser(job)


class ClaudeParser(Reader):
    """Reads messages of the model, results of tools, and the closing `result`."""

    def read(self, kind: str, found: Mapping[str, object]) -> Iterator[Event]:
        """What one line means."""
        match kind, found.get("subtype"):
            case "system", "init":
                yield said(f"Model: {text(found.get('model'))}" if found.get("model") else "")
            case "system", "api_retry":
                yield said(again(found))
            case "assistant", _:
                yield from self._message(found)
            case "user", _:
                yield from self._results(found)
            case "result", _:
                yield from self.conclude(self._verdict(found))

    def _message(self, message: Mapping[str, object]) -> Iterator[Event]:
        for part in objects(fields(message, "message").get("content")):
            if part.get("type") == "text" and not message.get("error"):
                yield from self.say(text(part.get("text")))
            elif part.get("type") == "tool_use":
                yield from self.begin(text(part.get("id")), self._tool(text(part.get("name")), fields(part, "input")))

    def _tool(self, name: str, given: Mapping[str, object]) -> Event | None:
        if name == "Bash":
            return ran(text(given.get("command")))
        if name in EDITS:
            return self.edited(*(text(given.get(field)) for field in FILES))
        if name.startswith("Web"):
            return said(f"Looked up {text(given.get('url')) or text(given.get('query'))}")
        return said(f"Had another agent do: {text(given.get('description'))}") if name in {"Task", "Agent"} else None

    def _results(self, message: Mapping[str, object]) -> Iterator[Event]:
        for part in objects(fields(message, "message").get("content")):
            if part.get("type") == "tool_result":
                output = printed(part.get("content"))
                code = EXIT.match(output)
                yield from self.end(
                    text(part.get("tool_use_id")),
                    failed=part.get("is_error") is True,
                    code=int(code[1]) if code else None,
                    output=output[code.end() :] if code else output,
                )

    def _verdict(self, result: Mapping[str, object]) -> Verdict:
        ok = result.get("subtype") == "success" and result.get("is_error") is False
        cost = result.get("total_cost_usd")
        return Verdict(
            ok=ok,
            answer=text(result.get("result")) or ("" if ok else reason(result)),
            usage=tokens(
                result.get("usage"),
                input_tokens=("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"),
                cached_tokens="cache_read_input_tokens",
                output_tokens="output_tokens",
            ),
            turns=whole(result.get("num_turns")),
            cost=cost if isinstance(cost, int | float) and measures(cost) else None,
            **blamed(None if ok else whole(result.get("api_error_status"))),
        )


def address(job: Job) -> dict[str, str]:
    """Where it finds the API."""
    return without_none({"ANTHROPIC_BASE_URL": job.base_url})


def current(model: str) -> str:
    """The model, or the newest of its family where it is retired."""
    found = RETIRED.fullmatch(model)
    return (found[1] or Claude.model) if found else model


def printed(content: object) -> str:
    """What a tool printed: a text, or a list of parts of which some are texts."""
    return text(content) or "\n".join(text(part.get("text")) for part in objects(content))


def again(retry: Mapping[str, object]) -> str:
    """That the provider is asked once more, and why."""
    status = whole(retry.get("error_status"))
    return f"The model's provider answered {status or 'nothing'}; asking again."


def reason(result: Mapping[str, object]) -> str:
    """Why it ended, where it has no words for that."""
    errors = result.get("errors")
    told = [text(each) for each in errors if text(each)] if isinstance(errors, list) else []
    return "; ".join(told) or text(result.get("subtype")).replace("_", " ")
