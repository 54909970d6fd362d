"""A provider of models on loopback: it remembers what it was asked, and answers as a test says."""

import asyncio
import json
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request, as it arrived."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Provider:
    """The stand-in; `answer` may be replaced at any time."""

    answer: Answer
    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    left: threading.Event = field(default_factory=threading.Event)
    """Set when a client left before the end of an answer."""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.asked.append(Asked(method=request.method, path=request.raw_path, headers=dict(request.headers), body=body))
        try:
            return await self.answer(request)
        except (ConnectionResetError, asyncio.CancelledError):
            self.left.set()
            raise


def message(**usage: int) -> Answer:
    """A whole message, as Anthropic answers one."""
    said = {"type": "message", "model": "claude-test-1", "content": [{"type": "text", "text": "Hello"}], "usage": usage}
    return whole(said)


def whole(said: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """One JSON answer."""

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response(said, status=status, headers=headers)

    return answer


def events(*said: object, pause: float = 0.0) -> Answer:
    """A stream of events, each an object, or bytes as they are."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for each in said:
            await response.write(each if isinstance(each, bytes) else event(each))
            await asyncio.sleep(pause)
        return response

    return answer


def event(said: Any) -> bytes:
    """One event of a stream."""
    return f"event: {said.get('type', 'x')}\ndata: {json.dumps(said)}\n\n".encode()


@contextmanager
def serving(provider: Provider, tls: ssl.SSLContext | None = None) -> Iterator[Provider]:
    """The provider at its address, in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def wait(work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(20)

    app = web.Application(client_max_size=2**30)
    app.router.add_route("*", "/{path:.*}", provider.handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    try:
        wait(runner.setup())
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        wait(site.start())
        host, port = runner.addresses[0][:2]
        provider.url = f"{'https' if tls else 'http'}://{host}:{port}"
        yield provider
    finally:
        wait(runner.cleanup())
        loop.call_soon_threadsafe(loop.stop)
        thread.join(20)
        loop.close()
