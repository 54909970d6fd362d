"""What a model's answer says that it used, in the words of each provider."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

MOST = 10**12


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens, none of them counted twice."""

    input: int = 0
    """Neither read from a cache nor written to one."""
    cache_read: int = 0
    cache_write: int = 0
    output: int = 0
    """With what the model thought."""

    @property
    def tokens(self) -> int:
        """All of them."""
        return self.input + self.cache_read + self.cache_write + self.output

    def at_least(self, other: "Usage") -> "Usage":
        """The larger of each: a stream tells it piece by piece, each time from the beginning."""
        return Usage(
            input=max(self.input, other.input),
            cache_read=max(self.cache_read, other.cache_read),
            cache_write=max(self.cache_write, other.cache_write),
            output=max(self.output, other.output),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What one JSON object of an answer tells."""

    usage: Usage | None = None
    model: str | None = None
    last: bool = False
    """Whether this is what it came to in the end."""


Read = Callable[[Mapping[str, Any]], Reading]


def of_anthropic(said: Mapping[str, Any]) -> Reading:
    """A message, or the events `message_start` and `message_delta` of a stream."""
    message = part(said, "message") or said
    usage = part(message, "usage")
    if not usage:
        return Reading(model=text(message, "model"))
    found = Usage(
        input=count(usage, "input_tokens"),
        cache_read=count(usage, "cache_read_input_tokens"),
        cache_write=count(usage, "cache_creation_input_tokens"),
        output=count(usage, "output_tokens"),
    )
    return Reading(usage=found, model=text(message, "model"), last=said.get("type") != "message_start")


def of_openai(said: Mapping[str, Any]) -> Reading:
    """A response or a chat completion, or the event of a stream that ends one."""
    response = part(said, "response") or said
    usage = part(response, "usage")
    if not usage:
        return Reading(model=text(response, "model"))
    details = part(usage, "input_tokens_details") or part(usage, "prompt_tokens_details")
    cached, written = count(details, "cached_tokens"), count(details, "cache_write_tokens")
    asked = count(usage, "input_tokens") or count(usage, "prompt_tokens")
    found = Usage(
        input=max(0, asked - cached - written),
        cache_read=cached,
        cache_write=written,
        output=count(usage, "output_tokens") or count(usage, "completion_tokens"),
    )
    return Reading(usage=found, model=text(response, "model"), last=True)


def of_google(said: Mapping[str, Any]) -> Reading:
    """An answer, or a piece of one: each tells the sum until then."""
    usage = part(said, "usageMetadata")
    if not usage:
        return Reading(model=text(said, "modelVersion"))
    cached = count(usage, "cachedContentTokenCount")
    asked = count(usage, "promptTokenCount") + count(usage, "toolUsePromptTokenCount")
    found = Usage(
        input=max(0, asked - cached),
        cache_read=cached,
        output=count(usage, "candidatesTokenCount") + count(usage, "thoughtsTokenCount"),
    )
    return Reading(usage=found, model=text(said, "modelVersion"), last=True)


def part(said: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The object of that name; empty where there is none."""
    found = said.get(name)
    return found if isinstance(found, dict) else {}


def text(said: Mapping[str, Any], name: str) -> str | None:
    """The text of that name."""
    found = said.get(name)
    return found if isinstance(found, str) else None


def count(said: Mapping[str, Any], name: str) -> int:
    """The number of that name, where it can be one of tokens."""
    found = said.get(name)
    return min(found, MOST) if isinstance(found, int) and not isinstance(found, bool) and found > 0 else 0
