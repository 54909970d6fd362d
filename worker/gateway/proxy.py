"""Passes what an agent asks its model on to the provider, with the real key, and the answer back as it comes."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from typing import Any
from urllib.parse import parse_qsl, urlencode

from aiohttp import ClientConnectorError, ClientError, ClientResponse, ClientSession, ClientTimeout, DummyCookieJar, web
from multidict import CIMultiDict
from yarl import URL

from worker.gateway import headers, prices
from worker.gateway.config import Model
from worker.gateway.ledger import Ledger
from worker.gateway.meter import Meter
from worker.gateway.providers import PROVIDERS, Route

AT_ONCE = 16
"""Requests that are in memory at the same time; more wait for their turn."""
CONNECT = 30.0
LARGEST_ERROR = 64 * 10**3
FAREWELL = 0.2
"""Seconds that answers have to end when the gateway does."""
FIRST_FAILURE, FIRST_ERROR, OURS, DENIED = 300, 400, 500, 401


class Refused(Exception):
    """A request that is answered here: a status, and a sentence for whoever reads the agent's log."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence


class Proxy:
    """The gateway's answer to every request of one run."""

    def __init__(self, model: Model, ledger: Ledger, session: ClientSession) -> None:
        self._model = model
        self._ledger = ledger
        self._session = session
        self._provider = PROVIDERS[model.provider]
        self._prices = prices.read(model.prices)
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """The provider's answer, or why there is none."""
        try:
            route = self._route(request)
            async with self._turns:
                body = await self._body(request)
                self._unless_capped()
                return await self._passed_on(request, route, body)
        except Refused as refused:
            self._ledger.refuse()
            return self._error(refused)

    def _route(self, request: web.BaseRequest) -> Route:
        """The route that is asked for by somebody who may."""
        path, _, query = request.raw_path.partition("?")
        if not headers.admitted(shown(request, query), self._model.token):
            raise Refused(401, "This is not the token of this run.")
        route = self._provider.route(request.method, path)
        if route is None:
            asked = f"{request.method} {path[:100]}"
            raise Refused(403, f"This worker passes nothing on but requests to a model, and {asked!r} is none.")
        return route

    async def _body(self, request: web.BaseRequest) -> bytes:
        """The whole request, if it is neither too large nor would reach further than the run may."""
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            raise Refused(413, f"A request may have {self._model.largest // 10**6} MB at most.") from None
        reaching = self._provider.reaching(parsed(body)) if body else None
        if reaching:
            raise Refused(403, f"This worker does not pass on requests with {reaching[:50]!r}.")
        return body

    def _unless_capped(self) -> None:
        if sentence := self._ledger.refusal():
            raise Refused(self._provider.final, sentence)

    async def _passed_on(self, request: web.BaseRequest, route: Route, body: bytes) -> web.StreamResponse:
        with self._ledger.request(len(body)), self._metered(route, len(body)) as meter:
            try:
                async with self._asked(request, body) as answer:
                    self._ledger.answered(answer.status)
                    meter.free = meter.free or answer.status >= FIRST_FAILURE
                    meter.streamed = answer.content_type == "text/event-stream"
                    return await self._handed_back(request, answer, meter)
            except TimeoutError:
                raise Refused(504, "The provider does not answer.") from None
            except ClientError as away:
                meter.free = meter.free or isinstance(away, ClientConnectorError)
                raise Refused(502, "The provider cannot be reached.") from None

    def _asked(self, request: web.BaseRequest, body: bytes) -> AbstractAsyncContextManager[ClientResponse]:
        """Ask the provider the same, as somebody who may."""
        outward = headers.onward(request.headers)
        outward += [("Accept-Encoding", "identity"), *self._provider.admission(self._model.key).items()]
        return self._session.request(
            request.method, self._address(request), data=body or None, headers=outward, allow_redirects=False
        )

    @contextmanager
    def _metered(self, route: Route, size: int) -> Iterator[Meter]:
        """The meter of a request, whose sum is added however the request ends."""
        meter = Meter(self._provider.read, asked=size, free=not route.metered)
        try:
            yield meter
        finally:
            if not meter.free:
                usage = meter.usage()
                cost = prices.cost(self._prices, meter.model, usage)
                self._ledger.used(usage, cost=cost, estimated=meter.estimated)

    def _address(self, request: web.BaseRequest) -> URL:
        """The provider's, whatever host was asked for; of the parameters only those that belong to its API."""
        path, _, query = request.raw_path.partition("?")
        kept = [(name, value) for name, value in parse_qsl(query, keep_blank_values=True)
                if name in self._provider.queries]  # fmt: skip
        return URL(f"{self._model.upstream.rstrip('/')}{path}{'?' if kept else ''}{urlencode(kept)}", encoded=True)

    async def _handed_back(self, request: web.BaseRequest, answer: ClientResponse, meter: Meter) -> web.StreamResponse:
        if answer.status >= FIRST_FAILURE:
            return await self._failure(answer)
        if answer.headers.get("Content-Encoding", "identity") != "identity":
            raise Refused(
                502, "The provider's answer is compressed, although it was not to be, so it is not passed on."
            )
        response = web.StreamResponse(status=answer.status, reason=answer.reason, headers=self._back(answer))
        response.content_length = answer.content_length
        await response.prepare(request)
        if await passed(answer, response, meter):
            await response.write_eof()
        elif request.transport:
            request.transport.close()  # the end of it must not look like one
        return response

    async def _failure(self, answer: ClientResponse) -> web.Response:
        """The provider's own error, unless that tells of the key, or of another address."""
        if answer.status < FIRST_ERROR:
            raise Refused(502, "The provider's address redirects elsewhere, which is not followed.")
        body = await beginning(answer, LARGEST_ERROR)
        if answer.status == DENIED:
            return self._error(Refused(answer.status, "The provider refused the key that this worker has for it."))
        if body is None or "Content-Encoding" in answer.headers or self._model.key.encode() in body:
            return self._error(Refused(answer.status, f"The provider answered with status {answer.status}."))
        return web.Response(status=answer.status, reason=answer.reason, headers=self._back(answer), body=body)

    def _back(self, answer: ClientResponse) -> CIMultiDict[str]:
        passing = headers.back(answer.headers)
        return CIMultiDict((name, value) for name, value in passing if self._model.key not in value)

    def _error(self, refused: Refused) -> web.Response:
        """An answer of ours in the provider's shape, which its clients take as final where it is to be."""
        final = {} if refused.status >= OURS else {"x-should-retry": "false"}
        return web.json_response(
            self._provider.error(refused.status, refused.sentence), status=refused.status, headers=final
        )


async def passed(answer: ClientResponse, response: web.StreamResponse, meter: Meter) -> bool:
    """Pass the answer on piece by piece; whether it came to its end."""
    try:
        async for piece in answer.content.iter_any():
            meter.feed(piece)
            await response.write(piece)
    except (ClientError, TimeoutError):
        return False
    return True


async def beginning(answer: ClientResponse, most: int) -> bytes | None:
    """The whole body, or None where it is longer than that or does not come to its end."""
    body = bytearray()
    try:
        async for piece in answer.content.iter_any():
            body += piece
            if len(body) > most:
                return None
    except (ClientError, TimeoutError):
        return None
    return bytes(body)


def shown(request: web.BaseRequest, query: str) -> Iterator[str | None]:
    """Whatever a client of any provider shows as its key."""
    yield request.headers.get("x-api-key")
    yield request.headers.get("x-goog-api-key")
    scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
    yield bearer.strip() if scheme.lower() == "bearer" else None
    yield dict(parse_qsl(query)).get("key")


def parsed(body: bytes) -> dict[str, Any]:
    """The JSON object of a request; empty if it is none, which the provider will say."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


@asynccontextmanager
async def listening(model: Model, ledger: Ledger) -> AsyncIterator[None]:
    """The gateway at its socket, which is gone afterwards."""
    timeout = ClientTimeout(total=None, sock_connect=CONNECT, sock_read=model.silence)
    async with ClientSession(
        cookie_jar=DummyCookieJar(),
        timeout=timeout,
        trust_env=True,
        auto_decompress=False,
        skip_auto_headers=("User-Agent", "Accept", "Content-Type"),
    ) as session:
        proxy = Proxy(model, ledger, session)
        server = web.Server(
            proxy.answer, request_factory=sized(model.largest), handler_cancellation=True, access_log=None
        )
        runner = web.ServerRunner(server, shutdown_timeout=FAREWELL)
        await runner.setup()
        try:
            await web.UnixSite(runner, model.socket).start()
            yield
        finally:
            await runner.cleanup()
            with suppress(FileNotFoundError):
                os.unlink(model.socket)  # noqa: PTH108 - nothing else waits for this loop by now


def sized(largest: int) -> Callable[..., web.BaseRequest]:
    """Makes requests whose body may be so large."""

    def make(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
        loop = asyncio.get_running_loop()
        return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=largest)

    return make
