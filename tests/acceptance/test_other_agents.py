"""The real codex, gemini, opencode and copilot, where npm has them: from a row to a branch, through the gateway."""

import pytest

from tests.acceptance.conftest import KEY, TOKEN, Adding, Remote, Started
from tests.acceptance.traces import ended, found_anywhere, nothing_is_left, usage
from tests.integration.agents.test_others import AGENTS, DONE, WRITES
from tests.support.fleet import Fleet, until
from tests.support.model_api import Refuse
from tests.support.rows import Rows

BEFORE_DONE = {"opencode": 2}
"""How many requests an agent makes until it has written; opencode asks for a title besides."""


@pytest.mark.parametrize("agent", AGENTS)
def test_a_row_becomes_a_pushed_branch(  # noqa: PLR0917 - fixtures
    started: Started, fleet: Fleet, rows: Rows, task: Adding, remote: Remote, agent: str
) -> None:
    api = started(WRITES[agent], DONE, agent=agent)
    mine = task(agent)
    until(ended(rows, mine), within=120, what=fleet.text)

    assert rows.status(mine) == "completed", rows.messages(mine)
    assert remote.show(f"{rows.see(mine)['branch_name']}:greeting.txt") == "Hello"
    assert {asked.key for asked in api.asked} == {KEY}
    assert usage(rows, mine)["gateway_requests"] >= 2
    nothing_is_left(fleet)
    assert found_anywhere(fleet, rows, remote, (KEY, TOKEN)) == []


@pytest.mark.parametrize("agent", AGENTS)
def test_a_key_that_the_provider_refuses_is_told_as_that(
    started: Started, fleet: Fleet, rows: Rows, task: Adding, agent: str
) -> None:
    started(Refuse(401), agent=agent)
    mine = task(agent)
    until(ended(rows, mine), within=120, what=fleet.text)

    assert "provider refused the key" in rows.messages(mine)[-1]
    nothing_is_left(fleet)


@pytest.mark.parametrize("agent", AGENTS)
def test_a_cap_ends_it_before_it_asks_for_long_and_what_it_did_is_pushed_as_partial(  # noqa: PLR0917 - fixtures
    started: Started, fleet: Fleet, rows: Rows, task: Adding, remote: Remote, agent: str
) -> None:
    started(WRITES[agent], DONE, agent=agent, CODINGIT_RUN_REQUESTS=str(BEFORE_DONE.get(agent, 1)))
    mine = task(agent)
    until(ended(rows, mine), within=120, what=fleet.text)

    assert "to its model in one run, and has" in rows.messages(mine)[-1]
    assert usage(rows, mine)["gateway_refused"] < 10
    assert remote.show(f"{rows.see(mine)['branch_name']}:greeting.txt") == "Hello"
    nothing_is_left(fleet)
