"""Cursor's agent: `cursor-agent -p --output-format stream-json`, as documented; it is in no package registry."""

from collections.abc import Iterator, Mapping

from worker.agents.base import Event, Job, Verdict, fields, objects, text, whole
from worker.agents.cli import Cli
from worker.agents.reading import Reader, ran, said, tokens
from worker.errors import TaskFailed

EDITS = frozenset({"writeToolCall", "editToolCall", "applyPatchToolCall"})


class Cursor(Cli):
    """
    It speaks to Cursor's own service, at no other address: its key would have to enter the sandbox.

    No worker gives it one, so it refuses its tasks; the token of a job is used where there is one.
    """

    name = "cursor"
    provider = None
    executable = "cursor-agent"
    install = "curl https://cursor.com/install -fsS | bash"
    model = "auto"

    def arguments(self, job: Job) -> tuple[str, ...]:
        """Headless, everything allowed."""
        return ("-p", "--force", "--output-format", "stream-json", "--model", self.model_of(job))

    def environment(self, job: Job) -> Mapping[str, str]:
        """Its key."""
        if job.token is None:
            raise TaskFailed(
                "Agent cursor speaks to Cursor's own service alone, so its key cannot be kept out of its sandbox, "
                "and this worker gives it none. Choose another agent."
            )
        return {"CURSOR_API_KEY": job.token}

    def parser(self, job: Job) -> "CursorParser":
        """A fresh parser."""
        return CursorParser(job)


class CursorParser(Reader):
    """Reads messages, tools that begin and end, and the closing `result`; a failure has none."""

    def read(self, kind: str, found: Mapping[str, object]) -> Iterator[Event]:
        """What one line means."""
        match kind, found.get("subtype"):
            case "system", "init":
                yield said(f"Model: {text(found.get('model'))}" if found.get("model") else "")
            case "assistant", _:
                parts = objects(fields(found, "message").get("content"))
                yield from self.say("".join(text(part.get("text")) for part in parts))
            case "tool_call", "started":
                for name, call in fields(found, "tool_call").items():
                    yield from self.begin(text(found.get("call_id")), self._tool(name, fields(call, "args")))
            case "tool_call", "completed":
                for call in fields(found, "tool_call").values():
                    yield from self._ends(text(found.get("call_id")), fields(call, "result"))
            case "result", _:
                yield from self.conclude(self._verdict(found))

    def _tool(self, name: str, given: Mapping[str, object]) -> Event | None:
        if name == "shellToolCall":
            return ran(text(given.get("command")))
        if name == "deleteToolCall":
            return said(f"Deleted {text(given.get('path'))}")
        return self.edited(text(given.get("path"))) if name in EDITS else None

    def _ends(self, key: str, result: Mapping[str, object]) -> Iterator[Event]:
        succeeded = fields(result, "success")
        told = succeeded or next((fields(each) for each in result.values()), {})
        output = text(told.get("stderr")) or text(told.get("stdout")) or text(told.get("errorMessage"))
        failed = bool(result) and "success" not in result
        yield from self.end(key, failed=failed, code=whole(told.get("exitCode")), output=output)

    def _verdict(self, found: Mapping[str, object]) -> Verdict:
        return Verdict(
            ok=found.get("subtype") == "success" and found.get("is_error") is False,
            answer=text(found.get("result")),
            usage=tokens(
                found.get("usage"),
                input_tokens=("inputTokens", "cacheReadTokens", "cacheWriteTokens"),
                cached_tokens="cacheReadTokens",
                output_tokens="outputTokens",
            ),
        )
