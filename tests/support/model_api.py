"""The providers' model APIs on loopback, whose model says what a script tells it to: real agents run against it."""

import json
import socket
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingTCPServer
from typing import Any
from urllib.parse import urlsplit

Json = dict[str, Any]

KINDS = {400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error"}
KINDS |= {429: "rate_limit_error", 500: "api_error", 529: "overloaded_error"}
READ, WRITTEN = 100, 10
"""Tokens that each answer is said to have taken."""


@dataclass(frozen=True, slots=True)
class Say:
    """The model speaks, and is done."""

    words: str


@dataclass(frozen=True, slots=True)
class Use:
    """The model uses a tool, after saying so."""

    tool: str
    given: Mapping[str, Any]
    words: str = ""


@dataclass(frozen=True, slots=True)
class Refuse:
    """The provider answers with an error, so many times for one question; then as the next move says."""

    status: int
    times: int = 10**9


@dataclass(frozen=True, slots=True)
class Hang:
    """The provider takes the question and never answers."""


Move = Say | Use | Refuse | Hang


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request, as it came."""

    path: str
    key: str
    """What was shown as a key, in whichever header."""
    model: str
    body: Json


class ModelApi:
    """
    Answers as Anthropic, OpenAI and Google do, told apart by their paths.

    Which move it is follows from how often the model has spoken in the conversation that it is shown: a question that
    is asked again gets the same answer. Questions that come without tools (titles and the like) are no part of it.
    """

    def __init__(self, *moves: Move) -> None:
        self.asked: list[Asked] = []
        self.gone = threading.Event()
        """Set when it is over: what hangs lets go."""
        self.moves = moves
        self._refused: Counter[int] = Counter()
        self._lock = threading.Lock()

    @property
    def questions(self) -> list[Asked]:
        """The requests that are part of the conversation."""
        return [each for each in self.asked if not aside(each)]

    def move(self, turn: int) -> Move:
        """What happens at this turn of the conversation; the last move for all after it."""
        moves = iter(self.moves)
        for _ in range(turn + 1):
            found = self._unless_refused(turn, moves)
        return found

    def _unless_refused(self, turn: int, moves: Iterator[Move]) -> Move:
        move = next(moves, self.moves[-1])
        while isinstance(move, Refuse) and self._refused[turn] >= move.times:
            move = next(moves, self.moves[-1])
        return move

    def answer(self, asked: Asked, turn: int) -> Move:
        """Note the request, and say what happens."""
        with self._lock:
            self.asked.append(asked)
            if aside(asked):
                return Say("A title")
            move = self.move(turn)
            self._refused[turn] += isinstance(move, Refuse)
            return move


class Anthropic:
    """`POST /v1/messages`."""

    @staticmethod
    def turn(body: Json) -> int:
        return sum(message["role"] == "assistant" for message in body["messages"])

    @staticmethod
    def events(move: Say | Use, model: str, turn: int) -> Iterator[Json]:
        yield {"type": "message_start", "message": Anthropic.message(model, turn)}
        for index, block in enumerate(Anthropic.blocks(move, turn)):
            empty: Json = {"text": ""} if block["type"] == "text" else {"input": {}}
            yield {"type": "content_block_start", "index": index, "content_block": block | empty}
            piece = (
                {"type": "text_delta", "text": block["text"]}
                if block["type"] == "text"
                else {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
            )
            yield {"type": "content_block_delta", "index": index, "delta": piece}
            yield {"type": "content_block_stop", "index": index}
        reason = "tool_use" if isinstance(move, Use) else "end_turn"
        delta = {"stop_reason": reason, "stop_sequence": None}
        yield {"type": "message_delta", "delta": delta, "usage": {"output_tokens": WRITTEN}}
        yield {"type": "message_stop"}

    @staticmethod
    def blocks(move: Say | Use, turn: int) -> list[Json]:
        spoken = [{"type": "text", "text": move.words}] if move.words else []
        if isinstance(move, Say):
            return spoken
        return [*spoken, {"type": "tool_use", "id": f"toolu_{turn}", "name": move.tool, "input": dict(move.given)}]

    @staticmethod
    def message(model: str, turn: int) -> Json:
        usage = {"input_tokens": READ, "output_tokens": 1, "cache_read_input_tokens": 0}
        empty: Json = {"content": [], "stop_reason": None, "stop_sequence": None}
        return {"id": f"msg_{turn}", "type": "message", "role": "assistant", "model": model, "usage": usage, **empty}

    @staticmethod
    def whole(move: Say | Use, model: str, turn: int) -> Json:
        reason = "tool_use" if isinstance(move, Use) else "end_turn"
        return {**Anthropic.message(model, turn), "content": Anthropic.blocks(move, turn), "stop_reason": reason}


class OpenAI:
    """`POST /v1/responses`."""

    @staticmethod
    def turn(body: Json) -> int:
        return sum(item.get("role") == "assistant" or item.get("type", "").endswith("_call") for item in body["input"])

    @staticmethod
    def events(move: Say | Use, model: str, turn: int) -> Iterator[Json]:
        whole = OpenAI.whole(move, model, turn)
        yield {"type": "response.created", "response": {**whole, "status": "in_progress", "output": []}}
        for index, item in enumerate(whole["output"]):
            yield {"type": "response.output_item.added", "output_index": index, "item": item}
            yield {"type": "response.output_item.done", "output_index": index, "item": item}
        yield {"type": "response.completed", "response": whole}

    @staticmethod
    def whole(move: Say | Use, model: str, turn: int) -> Json:
        if isinstance(move, Use):
            call = {"name": move.tool, "arguments": json.dumps(dict(move.given)), "call_id": f"call_{turn}"}
            item: Json = {"type": "function_call", "id": f"fc_{turn}", "status": "completed", **call}
        else:
            content = [{"type": "output_text", "text": move.words, "annotations": []}]
            item = {
                "type": "message",
                "id": f"msg_{turn}",
                "role": "assistant",
                "status": "completed",
                "content": content,
            }
        usage = {
            "input_tokens": READ,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": WRITTEN,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": READ + WRITTEN,
        }
        return {"id": f"resp_{turn}", "object": "response", "model": model, "status": "completed", "output": [item]} | {
            "usage": usage
        }


class Google:
    """`POST /v1beta/models/MODEL:streamGenerateContent` and the like."""

    @staticmethod
    def turn(body: Json) -> int:
        return sum(content.get("role") == "model" for content in body["contents"])

    @staticmethod
    def events(move: Say | Use, model: str, turn: int) -> Iterator[Json]:
        yield Google.whole(move, model, turn)

    @staticmethod
    def whole(move: Say | Use, model: str, turn: int) -> Json:  # noqa: ARG004 - as the others have it
        parts: list[Json] = [{"text": move.words}] if move.words else []
        if isinstance(move, Use):
            parts.append({"functionCall": {"name": move.tool, "args": dict(move.given)}})
        candidate = {"content": {"role": "model", "parts": parts}, "finishReason": "STOP", "index": 0}
        usage = {"promptTokenCount": READ, "candidatesTokenCount": WRITTEN, "totalTokenCount": READ + WRITTEN}
        return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": model}


class Handler(BaseHTTPRequestHandler):
    """One connection; the server's `api` decides."""

    protocol_version = "HTTP/1.1"
    server: "Server"

    def do_HEAD(self) -> None:
        self.respond(200, b"")

    def do_GET(self) -> None:
        self.respond(404, b"{}")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        path = urlsplit(self.path).path
        if path.endswith(("/count_tokens", ":countTokens")):
            return self.respond(200, json.dumps({"input_tokens": READ, "totalTokens": READ}).encode())
        found = provider(path)
        if found is None:
            return self.respond(404, b"{}")
        model = body.get("model") or path.rpartition("/")[2].partition(":")[0]
        asked = Asked(path=path, key=self.key(), model=model, body=body)
        turn = found.turn(body)
        move = self.server.api.answer(asked, turn)
        if isinstance(move, Hang):
            self.server.api.gone.wait()
            self.close_connection = True
        elif isinstance(move, Refuse):
            self.refuse(move.status, found)
        elif body.get("stream") or ":stream" in path:
            self.stream(found.events(move, model, turn))
        else:
            self.respond(200, json.dumps(found.whole(move, model, turn)).encode())
        return None

    def key(self) -> str:
        """The key, whichever way this provider has it."""
        shown = self.headers.get("x-api-key") or self.headers.get("x-goog-api-key")
        return shown or self.headers.get("Authorization", "").removeprefix("Bearer ")

    def refuse(self, status: int, found: type[Anthropic | OpenAI | Google]) -> None:
        kind, words = KINDS.get(status, "api_error"), f"The stub refuses with {status}"
        error: Json = {"type": kind, "message": words}
        if found is Google:
            error = {"code": status, "message": words, "status": "UNAVAILABLE" if status >= 500 else "REFUSED"}
        self.respond(status, json.dumps({"type": "error", "error": error}).encode())

    def respond(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def stream(self, events: Iterator[Json]) -> None:
        """Server-sent events, to the end of the connection."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for event in events:
            name = f"event: {event['type']}\n" if "type" in event else ""
            self.wfile.write(f"{name}data: {json.dumps(event)}\n\n".encode())
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as it is called there
        """Nothing on stderr."""


class Server(ThreadingTCPServer):
    """Listens at a host and a port, or on a Unix socket."""

    daemon_threads = True

    def __init__(self, api: ModelApi, address: tuple[str, int] | str) -> None:
        self.api = api
        self.address_family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        super().__init__(address, Handler)  # type: ignore[arg-type]  # for a Unix socket it is a path

    def handle_error(self, request: object, client_address: object) -> None:
        """An agent that was killed in the middle of an answer is no fault of the server's."""


def aside(asked: Asked) -> bool:
    """Whether it is no part of the conversation."""
    return provider(asked.path) is not OpenAI and not asked.body.get("tools")


def provider(path: str) -> type[Anthropic | OpenAI | Google] | None:
    """Whose API this is a path of."""
    if path.endswith("/v1/messages"):
        return Anthropic
    if path.endswith("/v1/responses"):
        return OpenAI
    return Google if path.startswith("/v1beta/models/") and path.endswith("enerateContent") else None


@contextmanager
def serving(api: ModelApi, *, at: Path | None = None) -> Iterator[str]:
    """The address at which it answers while the block lasts: at a free port of loopback, or on that Unix socket."""
    server = Server(api, str(at) if at else ("127.0.0.1", 0))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield str(at) if at else f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        api.gone.set()
        server.shutdown()
        server.server_close()
        thread.join()
