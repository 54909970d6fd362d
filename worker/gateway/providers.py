"""The providers of models: which of their paths a run may use, how they take a key, and how they tell of an error."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from worker.gateway import usage

NAME = r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}"
"""A model, as a part of a path: nothing that could lead to another one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A path of an API with its method."""

    method: str
    path: re.Pattern[str]
    metered: bool = True
    """Whether it costs anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """One API."""

    routes: tuple[Route, ...]
    queries: frozenset[str]
    """The parameters after `?` that are passed on."""
    header: str
    """The header that carries the key."""
    prefix: str
    """What stands before the key there."""
    read: usage.Read
    final: int
    """The status that its clients do not ask again after: they go on too long after its own for 'too many'."""
    error: Callable[[int, str], Mapping[str, Any]]
    """The body of an error with this status and sentence, in the provider's own shape."""
    reaching: Callable[[Mapping[str, Any]], str | None]
    """What in a request would have the provider do what is not seen or not wanted here; None for nothing."""

    def route(self, method: str, path: str) -> Route | None:
        """The route of a request, if it is one of those."""
        return next((each for each in self.routes if each.method == method and each.path.fullmatch(path)), None)

    def admission(self, key: str) -> dict[str, str]:
        """The headers that admit us."""
        return {self.header: f"{self.prefix}{key}"}


def post(path: str, *, metered: bool = True) -> Route:
    """Something to be done."""
    return Route(method="POST", path=re.compile(path), metered=metered)


def get(path: str) -> Route:
    """Something to be read, for nothing."""
    return Route(method="GET", path=re.compile(path), metered=False)


# What an error looks like ---------------------------------------------------------------------------------------------

ANTHROPIC_ERRORS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    413: "request_too_large",
}
GOOGLE_ERRORS = {
    400: "FAILED_PRECONDITION",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    413: "INVALID_ARGUMENT",
    502: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def anthropic_error(status: int, sentence: str) -> Mapping[str, Any]:
    """As in Anthropic's page on errors."""
    return {"type": "error", "error": {"type": ANTHROPIC_ERRORS.get(status, "api_error"), "message": sentence}}


def openai_error(status: int, sentence: str) -> Mapping[str, Any]:
    """As OpenAI's clients read it; their `code` is what some of them decide by whether to try again."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    return {"error": {"message": sentence, "type": kind, "param": None, "code": None}}


def google_error(status: int, sentence: str) -> Mapping[str, Any]:
    """As in Google's AIP-193."""
    return {"error": {"code": status, "message": sentence, "status": GOOGLE_ERRORS.get(status, "INTERNAL")}}


# What a request may not ask for ---------------------------------------------------------------------------------------


def anthropic_reach(body: Mapping[str, Any]) -> str | None:
    """Servers that Anthropic would talk to for the run, which itself may not."""
    if body.get("mcp_servers"):
        return "mcp_servers"
    return next((kind for kind in kinds(body) if kind.startswith(("web_fetch", "mcp"))), None)


def openai_reach(body: Mapping[str, Any]) -> str | None:
    """The same of OpenAI; and an answer made in the background, of which nothing would be counted."""
    if body.get("background"):
        return "background"
    return next((kind for kind in kinds(body) if kind == "mcp"), None)


def google_reach(body: Mapping[str, Any]) -> str | None:
    """The same of Google."""
    named = (name for tool in tools(body) for name in tool)
    return next((name for name in named if name in {"urlContext", "url_context", "mcpServers", "mcp_servers"}), None)


def kinds(body: Mapping[str, Any]) -> Iterator[str]:
    """The type of each tool."""
    yield from (str(tool.get("type")) for tool in tools(body))


def tools(body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The tools that a request names."""
    named = body.get("tools")
    yield from (tool for tool in named if isinstance(tool, dict)) if isinstance(named, list) else ()


# The table ------------------------------------------------------------------------------------------------------------

PROVIDERS: Mapping[str, Provider] = {
    "anthropic": Provider(
        routes=(
            post("/v1/messages"),
            post("/v1/messages/count_tokens", metered=False),
            get(f"/v1/models(/{NAME})?"),
        ),
        queries=frozenset({"beta", "limit", "before_id", "after_id"}),
        header="x-api-key",
        prefix="",
        read=usage.of_anthropic,
        final=402,  # after 400, claude asks five times more in other words
        error=anthropic_error,
        reaching=anthropic_reach,
    ),
    "openai": Provider(
        routes=(
            post("/v1/responses"),
            post("/v1/responses/compact"),
            post("/v1/responses/input_tokens", metered=False),
            post("/v1/chat/completions"),
            get(f"/v1/models(/{NAME})?"),
        ),
        queries=frozenset({"client_version"}),
        header="authorization",
        prefix="Bearer ",
        read=usage.of_openai,
        final=400,
        error=openai_error,
        reaching=openai_reach,
    ),
    "google": Provider(
        routes=(
            post(f"/v1(beta)?/models/{NAME}:(generateContent|streamGenerateContent)"),
            post(f"/v1(beta)?/models/{NAME}:countTokens", metered=False),
            get(f"/v1(beta)?/models(/{NAME})?"),
        ),
        queries=frozenset({"alt", "pageSize", "pageToken"}),
        header="x-goog-api-key",
        prefix="",
        read=usage.of_google,
        final=400,
        error=google_error,
        reaching=google_reach,
    ),
}
