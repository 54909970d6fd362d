"""OpenAI's Codex: `codex exec --json`."""

import json
import re
import shlex
from collections.abc import Iterator, Mapping

from worker.agents.base import Event, Job, Verdict, fields, objects, text, whole
from worker.agents.cli import Cli, without_none
from worker.agents.reading import HELD, Reader, blamed, complained, ran, said, tokens

STATUS = re.compile(r"\bstatus:? (\d{3})\b")
"""Where its messages tell the provider's HTTP status, for which its events have no field."""
BUSY = "We’re currently experiencing high demand, which may cause temporary errors."  # noqa: RUF001 - as it says it
"""What it says of a status from 500 on."""
TOKEN = "CODINGIT_TOKEN"  # noqa: S105 - the name of a variable
RETRIES = 3


class Codex(Cli):
    """What it is told by `-c` goes before a repository's own .codex/config.toml."""

    name = "codex"
    provider = "openai"
    executable = "codex"
    install = "npm install -g @openai/codex"
    model = "gpt-5.5"

    def arguments(self, job: Job) -> tuple[str, ...]:
        """Headless and without a sandbox of its own, for it runs in ours."""
        given = {"analytics.enabled": "false", "check_for_update_on_startup": "false", **provided(job)}
        return (
            *("exec", "--json", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"),
            *("-m", self.model_of(job)),
            *(part for name, value in given.items() for part in ("-c", f"{name}={value}")),
            "-",
        )

    def environment(self, job: Job) -> Mapping[str, str]:
        """The token, which no argument holds: those are in the list of processes."""
        return without_none({TOKEN: job.token})

    def parser(self, job: Job) -> "CodexParser":
        """A fresh parser."""
        return CodexParser(job)


class CodexParser(Reader):
    """Reads items, each of which begins and ends, and the closing `turn.completed` or `turn.failed`."""

    def read(self, kind: str, found: Mapping[str, object]) -> Iterator[Event]:
        """What one line means."""
        item = fields(found, "item")
        match kind:
            case "item.started":
                yield from self.begin(text(item.get("id")), self._begins(item))
            case "item.completed":
                yield from self._ends(item)
            case "error":
                yield from self.say(text(found.get("message")))
            case "turn.completed":
                yield from self.conclude(Verdict(ok=True, answer=self.last_words(), usage=used(found)))
            case "turn.failed":
                words = text(fields(found, "error").get("message"))
                yield from self.conclude(Verdict(ok=False, answer=words, **blamed(status(words))))

    def _begins(self, item: Mapping[str, object]) -> Event | None:
        return ran(unwrapped(text(item.get("command")))) if item.get("type") == "command_execution" else None

    def _ends(self, item: Mapping[str, object]) -> Iterator[Event]:
        failed = item.get("status") == "failed"
        match item.get("type"):
            case "agent_message":
                yield from self.say(text(item.get("text")))
            case "command_execution":
                code, output = whole(item.get("exit_code")), text(item.get("aggregated_output"))
                yield from self.end(text(item.get("id")), failed=failed, code=code, output=output)
            case "file_change" if not failed:
                yield self.edited(*(text(change.get("path")) for change in objects(item.get("changes")))) or said("")
            case "web_search":
                yield said(f"Looked up {text(item.get('query'))}")
            case "error":
                yield complained(text(item.get("message")))


def provided(job: Job) -> dict[str, str]:
    """Its provider under another name, for only such a one has an address and retries to be told; values are TOML."""
    provider = {
        "name": "OpenAI",
        "base_url": f"{job.base_url or 'https://api.openai.com'}/v1",
        "env_key": TOKEN,
        "wire_api": "responses",
    }
    told = {f"model_providers.run.{name}": json.dumps(value) for name, value in provider.items()}
    retries = {f"model_providers.run.{name}": str(RETRIES) for name in ("request_max_retries", "stream_max_retries")}
    return {"model_provider": '"run"', **told, **retries}


def used(turn: Mapping[str, object]) -> dict[str, int | float]:
    """Its tokens; it tells no cost."""
    return tokens(
        turn.get("usage"),
        input_tokens="input_tokens",
        cached_tokens="cached_input_tokens",
        output_tokens="output_tokens",
    )


def status(words: str) -> int | None:
    """The HTTP status that a message tells."""
    found = STATUS.search(words)
    return int(found[1]) if found else 503 if words == BUSY else None


def unwrapped(command: str) -> str:
    """A command without the shell around it: `/bin/bash -lc 'make test'`."""
    try:
        shell, flag, inside = shlex.split(command[:HELD])
    except ValueError:
        return command
    return inside if flag in {"-c", "-lc"} and shell.endswith("sh") else command
