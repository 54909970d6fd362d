"""A gateway before a provider, and a client at the gateway's socket."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.integration.gateway.provider import Provider, message, serving
from worker.gateway.config import Caps
from worker.gateway.keys import Access
from worker.gateway.ledger import Counters
from worker.run import gateway
from worker.settings import ProviderName, Settings

KEY = "sk-real-0123456789abcdef"
HELLO = {"model": "claude-test-1", "max_tokens": 10, "messages": [{"role": "user", "content": "Hello"}]}


@dataclass
class Inside:
    """What a program in the sandbox has: a socket, and the token of its run."""

    gateway: gateway.Gateway
    client: httpx.Client

    @property
    def token(self) -> str:
        return self.gateway.token

    def post(self, path: str = "/v1/messages", body: object = HELLO, **headers: str) -> httpx.Response:
        return self.client.post(path, json=body, headers={"x-api-key": self.token} | headers)

    def used(self) -> Counters:
        return self.gateway.used()


Open = Callable[..., Inside]


@pytest.fixture
def provider() -> Iterator[Provider]:
    with serving(Provider(answer=message(input_tokens=10, output_tokens=5))) as served:
        yield served


@pytest.fixture
def opened(provider: Provider, tmp_path: Path) -> Iterator[Open]:
    """Opens the gateway of a run to the provider."""
    with ExitStack() as stack:

        def opening(name: ProviderName = "anthropic", *, caps: Caps | None = None, **settings: object) -> Inside:
            made = gateway.opened(
                Settings(_env_file=None, **settings),  # type: ignore[arg-type]  # names and values of settings
                tmp_path / "gateway",
                access=Access(provider=name, key=KEY, upstream=provider.url),
                caps=caps or Caps(),
                watch=lambda: None,
            )
            found = stack.enter_context(made)
            assert found
            assert found.model
            transport = httpx.HTTPTransport(uds=str(found.model))
            client = stack.enter_context(httpx.Client(transport=transport, base_url="http://model", timeout=20))
            return Inside(gateway=found, client=client)

        yield opening


@pytest.fixture
def inside(opened: Open) -> Inside:
    return opened()
