"""Google's Gemini CLI: `gemini --output-format stream-json`."""

import json
from collections.abc import Iterator, Mapping

from worker.agents.base import Event, Job, Verdict, fields, parsed, text, whole
from worker.agents.cli import Cli, without_none
from worker.agents.reading import Reader, blamed, complained, ran, said, tokens

LIMITED = "\nPlease wait and try again later. "
"""How it goes on after what the provider said with a status of 429."""
ATTEMPTS = 4
"""How often it asks a provider that is overloaded; then the task is given back."""
SETTINGS = ".gemini/settings.json"
EDITS = frozenset({"write_file", "replace", "edit"})


class Gemini(Cli):
    """
    Without a terminal it works in trusted folders alone.

    Trusted by --skip-trust, for this session and after its settings are read, it takes neither settings nor hooks nor
    servers of a repository.
    """

    name = "gemini"
    provider = "google"
    executable = "gemini"
    install = "npm install -g @google/gemini-cli"
    model = "pro"

    def arguments(self, job: Job) -> tuple[str, ...]:
        """Headless, all tools allowed."""
        return (
            *("--output-format", "stream-json", "--approval-mode", "yolo", "--skip-trust", "--extensions", "none"),
            *("-m", self.model_of(job)),
        )

    def environment(self, job: Job) -> Mapping[str, str]:
        """Where its API is; what is set here is not replaced by a repository's .env."""
        return without_none(
            {
                "GEMINI_API_KEY": job.token,
                "GOOGLE_GEMINI_BASE_URL": job.base_url,
            }
        )

    def files(self, job: Job) -> Mapping[str, str]:  # noqa: ARG002 - as the protocol has it
        """Its settings, as the user's."""
        settings = {
            "security": {"auth": {"selectedType": "gemini-api-key"}},
            "hooksConfig": {"enabled": False},
            "privacy": {"usageStatisticsEnabled": False},
            "general": {"maxAttempts": ATTEMPTS, "enableAutoUpdate": False, "enableAutoUpdateNotification": False},
        }
        return {SETTINGS: json.dumps(settings)}

    def parser(self, job: Job) -> "GeminiParser":
        """A fresh parser."""
        return GeminiParser(job)


class GeminiParser(Reader):
    """Reads words in pieces, tools that begin and end, and the closing `result`."""

    def read(self, kind: str, found: Mapping[str, object]) -> Iterator[Event]:
        """What one line means."""
        match kind:
            case "init":
                yield said(f"Model: {text(found.get('model'))}" if found.get("model") else "")
            case "message" if found.get("role") == "assistant":
                yield from self.speak(text(found.get("content")))
            case "tool_use":
                given = fields(found, "parameters")
                yield from self.begin(text(found.get("tool_id")), self._tool(text(found.get("tool_name")), given))
            case "tool_result":
                yield from self._result(found)
            case "error":
                yield complained(text(found.get("message")))
            case "result":
                yield from self.conclude(self._verdict(found))

    def _tool(self, name: str, given: Mapping[str, object]) -> Event | None:
        if name == "run_shell_command":
            return ran(text(given.get("command")))
        if name in EDITS:
            return self.edited(text(given.get("file_path")))
        if name in {"google_web_search", "web_fetch"}:
            return said(f"Looked up {text(given.get('query')) or text(given.get('prompt'))}")
        return None

    def _result(self, found: Mapping[str, object]) -> Iterator[Event]:
        output = text(found.get("output")) or text(fields(found, "error").get("message"))
        yield from self.end(text(found.get("tool_id")), failed=found.get("status") != "success", output=output)

    def _verdict(self, found: Mapping[str, object]) -> Verdict:
        ok, stats = found.get("status") == "success", fields(found, "stats")
        words, status = unpacked(text(fields(found, "error").get("message")))
        return Verdict(
            ok=ok,
            answer=self.last_words() if ok else words,
            usage=tokens(stats, input_tokens="input_tokens", cached_tokens="cached", output_tokens="output_tokens"),
            **blamed(status),
        )


def unpacked(words: str) -> tuple[str, int | None]:
    """What the provider said and its HTTP status, of a message like `[API Error: {"error": {"code": 500, …}}]`."""
    said_, _, advice = words.partition("]\n")
    inside = said_.removesuffix("]").removeprefix("[API Error: ")
    answer = fields(parsed(inside.encode(errors="replace")), "error")
    limited = f"\n{advice}".startswith(LIMITED)
    return text(answer.get("message")) or inside, 429 if limited else whole(answer.get("code"))
