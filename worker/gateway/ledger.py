"""What a run has used, in a file that is whole at any moment, and whether it may use more."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from worker.gateway.config import Caps
from worker.gateway.meter import BYTES_PER_TOKEN
from worker.gateway.usage import Usage

REFUSED_HOSTS = 20


@dataclass(slots=True, kw_only=True)
class Counters:
    """The sums of a run until now."""

    requests: int = 0
    """Those passed on to the provider."""
    refused: int = 0
    """Those that were not."""
    input_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0
    """US dollars; without what had no price."""
    unpriced: int = 0
    """Answers by models that no price was given for."""
    estimated: int = 0
    """Answers whose end, and so whose usage, was not seen."""
    statuses: dict[str, int] = field(default_factory=dict)
    """How many answers of the provider had which status."""
    reached: str | None = None
    """The cap that was reached, as a sentence for the task's owner."""
    connections: int = 0
    """Those to other hosts."""
    bytes: int = 0
    """Through those."""
    refused_hosts: list[str] = field(default_factory=list)
    """Other hosts that were asked for and are not allowed, the first few."""

    @property
    def tokens(self) -> int:
        """All tokens, as a cap counts them."""
        return self.input_tokens + self.cache_read_tokens + self.cache_write_tokens + self.output_tokens

    def usage(self) -> dict[str, int | float]:
        """The sums for the history of runs, by names that no agent's own figures have; a budget adds them up."""
        return {
            "gateway_requests": self.requests,
            "gateway_refused": self.refused,
            "gateway_input_tokens": self.input_tokens,
            "gateway_cache_read_tokens": self.cache_read_tokens,
            "gateway_cache_write_tokens": self.cache_write_tokens,
            "gateway_output_tokens": self.output_tokens,
            "gateway_tokens": self.tokens,
            "gateway_cost": round(self.cost, 6),
            "gateway_unpriced": self.unpriced,
            "gateway_estimated": self.estimated,
        }

    @classmethod
    def read(cls, path: Path) -> Self:
        """The counters in the file; all nought where there is none yet."""
        try:
            return cls(**json.loads(path.read_bytes()))
        except FileNotFoundError:
            return cls()


class Ledger:
    """The counters of this run, and its caps."""

    def __init__(self, path: Path, caps: Caps) -> None:
        self.counters = Counters()
        self._path = path
        self._caps = caps
        self._in_flight = 0
        self.write()

    @contextmanager
    def request(self, size: int) -> Iterator[None]:
        """A request of so many bytes, counted, and held against the cap until it is known what it used."""
        estimate = size // BYTES_PER_TOKEN
        self.counters.requests += 1
        self._in_flight += estimate
        try:
            yield
        finally:
            self._in_flight -= estimate
            self.write()

    def used(self, usage: Usage, *, cost: float | None, estimated: bool) -> None:
        """Add what an answer used."""
        counters = self.counters
        counters.input_tokens += usage.input
        counters.cache_read_tokens += usage.cache_read
        counters.cache_write_tokens += usage.cache_write
        counters.output_tokens += usage.output
        counters.cost += cost or 0.0
        counters.unpriced += cost is None
        counters.estimated += estimated

    def answered(self, status: int) -> None:
        """Count an answer of the provider."""
        self.counters.statuses[str(status)] = self.counters.statuses.get(str(status), 0) + 1

    def refusal(self) -> str | None:
        """Why no more requests are passed on, as a sentence; None while they are."""
        counters, caps = self.counters, self._caps
        reached: list[tuple[bool, Callable[[], str]]] = [
            (
                over(counters.requests, caps.requests),
                lambda: f"{caps.requests:,} {'request' if caps.requests == 1 else 'requests'} to its model",
            ),
            (over(counters.tokens + self._in_flight, caps.tokens), lambda: f"{caps.tokens:,} tokens"),
            (over(counters.cost, caps.cost), lambda: f"{caps.cost:.2f} US dollars"),
        ]
        what = next((spoken() for is_over, spoken in reached if is_over), None)
        if what and counters.reached is None:
            counters.reached = f"This task may use {what} in one run, and has."
        return counters.reached

    def refuse(self) -> None:
        """Count a request that was not passed on."""
        self.counters.refused += 1
        self.write()

    def refuse_host(self, name: str) -> None:
        """Note a host that is not allowed."""
        hosts = self.counters.refused_hosts
        if name not in hosts and len(hosts) < REFUSED_HOSTS:
            hosts.append(name)
        self.refuse()

    def write(self) -> None:
        """Put the file in place of the one before."""
        beside = self._path.with_name(f"{self._path.name}.new")
        content: dict[str, Any] = asdict(self.counters)
        with open(beside, "w", encoding="utf-8", opener=private) as file:
            json.dump(content, file)
        beside.replace(self._path)


def over(used: float, cap: float | None) -> bool:
    """Whether nothing is left."""
    return cap is not None and used >= cap


def private(path: str, flags: int) -> int:
    """Open a file for nobody else to read."""
    return os.open(path, flags, 0o600)
