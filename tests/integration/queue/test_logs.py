"""The log column: both ways of storing it, garbage in it, repeats, and the cap."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from db.engine import Database
from db.queries import queue
from tests.integration.queue.conftest import append, entry
from tests.support.rows import Rows

Claiming = Callable[..., queue.Claim]
REPLACED = "The earlier log could not be read and was replaced."


def test_a_flush_repeated_with_its_number_is_done_once(database: Database, rows: Rows, claim: Claiming) -> None:
    task = rows.task()
    claimed = claim(task)

    append(database, claimed, "one", flush=1)
    assert append(database, claimed, "one", flush=1).refusal is None
    append(database, claimed, "two", flush=2)

    assert rows.messages(task) == ["one", "two"]
    assert rows.runs(task)[0]["entries"] == 2


def test_a_log_kept_as_a_json_string_stays_one(database: Database, rows: Rows, claim: Claiming) -> None:
    task = rows.task(logs=Jsonb(json.dumps([entry("by the web app")])))
    append(database, claim(task), "by us")

    stored = rows.see(task)["logs"]
    assert isinstance(stored, str)
    assert [e["message"] for e in json.loads(stored)] == ["by the web app", "by us"]


@pytest.mark.parametrize("empty", [None, Jsonb(None), Jsonb([])])
def test_nothing_is_an_empty_array(database: Database, rows: Rows, claim: Claiming, empty: Any) -> None:
    task = rows.task(logs=empty)
    append(database, claim(task), "first")

    assert rows.messages(task) == ["first"]


class Raw(str):
    """JSON as it stands, for what Python cannot write."""

    __slots__ = ()


EXPLODING = Raw("[" + ", ".join(["1e131071"] * 9_000) + "]")
TINY = Raw("[" + ", ".join(["1e-16000"] * 9_000) + "]")
OVERFLOWING = [{"id": "elided-99999999999999"}] * 49_000


@pytest.mark.parametrize(
    "garbage",
    [EXPLODING, TINY, Raw(f'[[{{"deep": {EXPLODING}}}]]'), [1] * 60_000, json.dumps([1] * 60_000), str(EXPLODING)],
    ids=["numbers", "fractions", "nested", "too many", "too many in text", "numbers in text"],
)
def test_what_would_cost_too_much_to_read_is_replaced_too(
    database: Database, rows: Rows, claim: Claiming, garbage: Any
) -> None:
    task = rows.task()
    claimed = claim(task)
    written = garbage if isinstance(garbage, Raw) else json.dumps(garbage)
    rows.execute("UPDATE public.tasks SET logs = %s::jsonb WHERE id = %s", written, task)

    assert append(database, claimed, "first").refusal is None
    assert rows.messages(task) == [REPLACED, "first"]


def test_counts_of_elided_entries_that_overflow_do_no_harm(database: Database, rows: Rows, claim: Claiming) -> None:
    task = rows.task(logs=Jsonb(OVERFLOWING))
    appended = append(database, claim(task), "first")

    assert appended.refusal is None
    assert rows.see(task)["logs"][-1]["message"] == "first"


@pytest.mark.parametrize(
    "garbage",
    [{"an": "object"}, 42, True, "no json", '{"an": "object"}', '["\\u0000"]', "[" * 100_000, "x" * 5_000_000],
    ids=["object", "number", "boolean", "text", "object in text", "NUL escape", "deep", "oversized"],
)
def test_garbage_is_replaced_by_a_fresh_array_that_says_so(
    database: Database, rows: Rows, claim: Claiming, garbage: Any
) -> None:
    task = rows.task(logs=Jsonb(garbage))
    appended = append(database, claim(task), "first")

    assert appended.refusal is None
    assert rows.messages(task) == [REPLACED, "first"]


def test_elements_that_are_no_entries_are_kept_as_they_are(database: Database, rows: Rows, claim: Claiming) -> None:
    task = rows.task(logs=Jsonb([1, "two", {"id": 3}]))
    append(database, claim(task), "first")

    assert rows.see(task)["logs"][:3] == [1, "two", {"id": 3}]


def test_garbage_written_while_it_runs_does_not_stop_the_run(database: Database, rows: Rows, claim: Claiming) -> None:
    task = rows.task()
    claimed = claim(task)
    append(database, claimed, "one", flush=1)
    rows.execute("UPDATE public.tasks SET logs = '7' WHERE id = %s", task)
    append(database, claimed, "two", flush=2)

    assert rows.messages(task) == [REPLACED, "two"]


@pytest.mark.parametrize("as_text", [False, True], ids=["array", "string"])
def test_past_the_cap_the_middle_is_left_out_and_counted(
    database: Database, rows: Rows, claim: Claiming, as_text: bool
) -> None:
    task = rows.task(logs=Jsonb("[]") if as_text else Jsonb([]))
    claimed = claim(task)
    sizes = []
    for flush in range(1, 31):
        lines = [f"{flush}.{n} " + "x" * 450 for n in range(100)]
        sizes.append(append(database, claimed, *lines, flush=flush).stored)

    stored = rows.see(task)["logs"]
    entries = json.loads(stored) if as_text else stored
    markers = [e for e in entries if e["id"].startswith("elided-")]
    assert max(sizes) <= 900_000
    assert len(markers) == 1
    assert len(markers[0]["id"]) == 21
    assert int(markers[0]["id"].removeprefix("elided-")) + len(entries) - 1 == 3000
    assert entries[0]["message"].startswith("1.0 ")
    assert entries[-1]["message"].startswith("30.99 ")
    numbers = [tuple(map(int, e["message"].split()[0].split("."))) for e in entries if e not in markers]
    assert numbers == sorted(numbers)


def test_progress_alone_leaves_the_log_as_it_is(database: Database, rows: Rows, claim: Claiming) -> None:
    task = rows.task(logs=Jsonb({"an": "object"}))
    append(database, claim(task), progress=30)

    assert rows.see(task)["logs"] == {"an": "object"}
