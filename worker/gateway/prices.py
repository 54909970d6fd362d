"""What tokens cost: as the operator says, since a list of ours would be wrong before long."""

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from worker.gateway.usage import Usage

MILLION = 10**6


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """US dollars for a million tokens of each kind, of the models whose names fit the pattern."""

    pattern: str
    input: float
    output: float
    cache_read: float
    cache_write: float

    def of(self, usage: Usage) -> float:
        """What this usage costs, in US dollars."""
        whole = usage.input * self.input + usage.output * self.output
        return (whole + usage.cache_read * self.cache_read + usage.cache_write * self.cache_write) / MILLION


def read(lines: Iterable[str]) -> tuple[Price, ...]:
    """Prices from `model=input/output[/cache read[/cache write]]`; what is not said costs as much as input."""
    return tuple(price(line) for line in lines)


def price(line: str) -> Price:
    """One of them."""
    pattern, _, listed = line.rpartition("=")
    numbers = [float(number) for number in listed.split("/")]
    entry, left = numbers[0], numbers[2:]
    return Price(
        pattern=pattern,
        input=entry,
        output=numbers[1],
        cache_read=left[0] if left else entry,
        cache_write=left[1] if len(left) > 1 else entry,
    )


def cost(prices: Iterable[Price], model: str | None, usage: Usage) -> float | None:
    """What it costs by the first price that fits the model; None where none does."""
    fitting = next((each for each in prices if fnmatchcase(model or "", each.pattern)), None)
    return None if fitting is None else fitting.of(usage)
