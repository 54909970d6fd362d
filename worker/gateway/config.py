"""What the gateway of one run is told: one JSON object on its standard input, since that holds the real key."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """What one run may use of its model; None is no limit. What is in flight may go a little beyond."""

    requests: int | None = None
    tokens: int | None = None
    """Input, output and what is read from or written to a cache, together."""
    cost: float | None = None
    """US dollars, as far as prices are known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A provider of models, and how to be admitted there."""

    provider: str
    key: str = field(repr=False)
    upstream: str
    """The provider's address, without the path that its API begins with."""
    token: str = field(repr=False)
    """What the agent shows in place of the key."""
    socket: str
    """Where to listen: a path relative to the folder that the gateway is started in, as those are short."""
    caps: Caps = Caps()
    prices: tuple[str, ...] = ()
    """As `prices.read` takes them."""
    largest: int = 32 * 10**6
    """Bytes of a request."""
    silence: float = 600.0
    """Seconds for which the provider may send nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Egress:
    """Other hosts that a run may reach, over TLS."""

    hosts: tuple[str, ...]
    """Each `host`, `*.domain` (every host below it), or either with a `:port` in place of 443."""
    socket: str
    largest: int
    """Bytes in all, both ways together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The whole of it."""

    counters: str
    """The file to count in."""
    model: Model | None = None
    egress: Egress | None = None


def written(config: Config) -> bytes:
    """The configuration for `read`."""
    return json.dumps(asdict(config)).encode()


def read(text: bytes) -> Config:
    """The configuration that `written` wrote."""
    found: dict[str, Any] = json.loads(text)
    model, egress = found["model"], found["egress"]
    if model:
        model = Model(**{**model, "caps": Caps(**model["caps"]), "prices": tuple(model["prices"])})
    if egress:
        egress = Egress(**{**egress, "hosts": tuple(egress["hosts"])})
    return Config(counters=found["counters"], model=model, egress=egress)
