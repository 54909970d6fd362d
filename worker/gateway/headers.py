"""Which headers pass the gateway, either way."""

from collections.abc import Iterable, Iterator
from hmac import compare_digest
from typing import Protocol

HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
CREDENTIALS = frozenset(
    {
        "authorization",
        "x-api-key",
        "api-key",
        "x-goog-api-key",
        "cookie",
        # Whose account pays is ours to say, where a key may draw on several.
        "openai-organization",
        "openai-project",
        "x-goog-user-project",
    }
)
OURS = frozenset({"host", "content-length", "content-encoding", "accept-encoding", "expect", "forwarded", "via"})
"""What says something of the connection or the body that is not so any more on the way out."""
UNASKED = frozenset(
    {
        "set-cookie",
        "alt-svc",
        "strict-transport-security",
        "content-length",
        "openai-organization",
        "openai-project",
        "anthropic-organization-id",
    }
)
"""What an answer holds that is nothing to a run: the length is told by the server anew."""


class Named(Protocol):
    """Headers, as both halves of the HTTP library have them."""

    def items(self) -> Iterable[tuple[str, str]]:
        """Each header, also those that are there twice."""
        ...


def onward(headers: Named) -> list[tuple[str, str]]:
    """What of a request's headers goes on to the provider."""
    return list(without(headers, HOP_BY_HOP | CREDENTIALS | OURS))


def back(headers: Named) -> list[tuple[str, str]]:
    """What of an answer's headers goes back to the run."""
    return list(without(headers, HOP_BY_HOP | UNASKED))


def without(headers: Named, dropped: frozenset[str]) -> Iterator[tuple[str, str]]:
    """All but these, and but what `Connection` names as for one hop."""
    named = {word.strip().lower() for name, value in headers.items() if name.lower() == "connection"
             for word in value.split(",")}  # fmt: skip
    for name, value in headers.items():
        lower = name.lower()
        if lower not in dropped and lower not in named and not lower.startswith("x-forwarded-"):
            yield name, value


def admitted(shown: Iterable[str | None], token: str) -> bool:
    """Whether one of what was shown is the token; it takes as long either way."""
    found = [compare_digest((each or "").encode(errors="replace"), token.encode()) for each in shown]
    return any(found)
