"""What a search in messages and a listing of a directory cost as the tables grow: 10,000 rows, then a million."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from time import perf_counter

from sqlalchemy import Connection
from sqlalchemy.orm import Session

from bench import crowd
from bench.measure import Bench, Row
from db.engine import engine
from db.queries import files, messages
from db.rls import acting_as

SIZES = {"10k rows": 10_000 // crowd.EACH, "1M rows": 1_000_000 // crowd.EACH}
"""Users; what one of them finds is the same."""
ROUNDS, WARM_UP = 50, 10
ME = crowd.FIRST
ASKED: Mapping[str, tuple[Callable[[Session], list[object]], int]] = {
    "search for a rare word, 10 found": (
        lambda session: [*messages.search(session, "needle", user_id=ME)],
        crowd.NEEDLES,
    ),
    "search for a word that all use, 50 of own 100": (
        lambda session: [*messages.search(session, "common", user_id=ME)],
        50,
    ),
    "directory of 10 files": (lambda session: [*files.listing(session, "src/3", user_id=ME)], 10),
}
"""What the user asks, and how many are found."""


def measure(bench: Bench) -> Iterator[Row]:
    """Both sizes take turns, so that a slow minute of the machine is both's."""
    with ExitStack() as stack:
        connections = {size: prepared(bench, users, stack) for size, users in SIZES.items()}
        taken: dict[tuple[str, str], list[float]] = {(what, size): [] for what in ASKED for size in SIZES}
        for what, size in taken:
            rounds(connections[size], what, WARM_UP)
        for _ in range(bench.repeats):
            for (what, size), times in taken.items():
                times.append(rounds(connections[size], what, ROUNDS))
    for what in ASKED:
        small, large = SIZES
        first = Row.of("search", f"{what}, {small}", taken[what, small], "ms")
        yield first
        yield Row.of("search", f"{what}, {large}", taken[what, large], "ms", against=first)


def prepared(bench: Bench, users: int, stack: ExitStack) -> Connection:
    """A connection to an app of this size."""
    copy = stack.enter_context(bench.copied())
    with copy.connect() as owner:
        crowd.fill(owner, users=users)
        owner.execute("CHECKPOINT")
    database = engine(copy.url)
    stack.callback(database.dispose)
    return stack.enter_context(database.connect())


def rounds(connection: Connection, what: str, count: int) -> float:
    """Milliseconds of one call in the user's name, the mean of so many."""
    ask, found = ASKED[what]
    with acting_as(connection, ME) as session:
        began = perf_counter()
        for _ in range(count):
            assert len(ask(session)) == found
        return 1000 * (perf_counter() - began) / count
