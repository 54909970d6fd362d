"""A row that names claude becomes a pushed branch: the real CLI, isolated, through the gateway, to a model of ours."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.acceptance.conftest import Remote
from tests.integration.agents.conftest import require
from tests.support.fleet import Fleet, until
from tests.support.model_api import ModelApi, Move, Refuse, Say, Use, serving
from tests.support.rows import Rows
from tests.support.sandboxes import isolating

Adding = Callable[..., int]
KEY = "sk-ant-the-owners-own-key-of-this-test"
WRITE = Use("Write", {"file_path": "greeting.txt", "content": "Hello\n"}, "I will write the greeting.")
TELL = Use("Bash", {"command": "env; cat /proc/*/environ; true", "description": "Look around"})
DONE = Say("The greeting is there.")

Modelled = Callable[..., ModelApi]


@pytest.fixture
def modelled(fleet: Fleet) -> Iterator[Modelled]:
    """A fleet whose model makes these moves."""
    require("claude")
    isolating(())
    with ExitStack() as stack:

        def start(*moves: Move) -> ModelApi:
            api = ModelApi(*moves)
            url = stack.enter_context(serving(api))
            fleet.env |= {"CODINGIT_ANTHROPIC_API_KEY": KEY, "CODINGIT_ANTHROPIC_BASE_URL": url}
            fleet.dispatcher()
            fleet.worker()
            return api

        yield start


def test_a_row_for_claude_becomes_a_pushed_branch_and_the_key_is_seen_by_nobody(
    modelled: Modelled, fleet: Fleet, rows: Rows, add: Adding, remote: Remote
) -> None:
    api = modelled(WRITE, TELL, DONE)
    task = add("Write a greeting", repo_url=remote.repository(), agent="claude")
    until(lambda: rows.status(task) in {"completed", "error"}, within=60, what=fleet.text())

    assert rows.status(task) == "completed", rows.messages(task)
    assert remote.show(f"{rows.see(task)['branch_name']}:greeting.txt") == "Hello"
    told = rows.messages(task)
    for words in ("I will write the greeting.", "Edited greeting.txt", "It took 3 turns, 300 tokens read", DONE.words):
        assert any(words in message for message in told), told
    (run,) = rows.runs(task)
    assert run["usage"]["output_tokens"] == run["usage"]["gateway_output_tokens"] == 30
    assert {asked.key for asked in api.asked} == {KEY}
    shown_to_the_model = str([asked.body for asked in api.asked])
    assert "IS_SANDBOX=1" in shown_to_the_model  # it did look around
    assert KEY not in shown_to_the_model
    assert KEY not in str((told, run))
    assert fleet.agents() == []


FAULTS = {401: ("error", "provider refused the key"), 529: ("pending", "overloaded")}


@pytest.mark.parametrize("status", FAULTS)
def test_a_fault_of_the_provider_ends_the_task_or_puts_it_off(
    modelled: Modelled, fleet: Fleet, rows: Rows, add: Adding, status: int
) -> None:
    modelled(Refuse(status))
    task = add("Write a greeting", agent="claude")
    until(lambda: rows.runs(task) and rows.runs(task)[0]["outcome"], within=60, what=fleet.text())

    became, words = FAULTS[status]
    assert rows.status(task) == became, rows.messages(task)
    assert any(words in message for message in rows.messages(task)), rows.messages(task)
    assert KEY not in str((rows.messages(task), rows.runs(task), fleet.text()))
