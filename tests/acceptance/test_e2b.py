"""From a pending row to a pushed branch in a machine of E2B: its real SDK, against a stand-in on loopback."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import KEY, TOKEN, Adding, Remote
from tests.acceptance.test_agents import DONE, WRITE
from tests.acceptance.traces import ended, found_anywhere, usage
from tests.integration.agents.conftest import require
from tests.support import e2b
from tests.support.e2b import Provider
from tests.support.fleet import Fleet, until
from tests.support.model_api import Hang, ModelApi, serving
from tests.support.rows import Rows
from tests.support.sandboxes import isolating

SLOW = 150
"""Seconds: each step there starts a program here that loads the SDK."""


@pytest.fixture
def provider(fleet: Fleet, tmp_path: Path) -> Iterator[Provider]:
    """A stand-in, and a fleet that is told to use it."""
    isolating([])  # the stand-in's machines are made by bubblewrap
    (tmp_path / "e2b").mkdir()
    with e2b.answering(tmp_path / "e2b") as running:
        fleet.env |= {
            "CODINGIT_SANDBOX": "e2b",
            "CODINGIT_E2B_API_KEY": running.key,
            "CODINGIT_E2B_API_URL": running.url,
            "CODINGIT_E2B_SANDBOX_URL": running.url,
        }
        yield running


@pytest.fixture
def model(fleet: Fleet) -> Iterator[Callable[..., ModelApi]]:
    """A model that makes these moves, for claude."""
    require("claude")
    with ExitStack() as stack:

        def answers(*moves: Any) -> ModelApi:
            api = ModelApi(*moves)
            url = stack.enter_context(serving(api))
            fleet.env |= {"CODINGIT_ANTHROPIC_API_KEY": KEY, "CODINGIT_ANTHROPIC_BASE_URL": url}
            return api

        yield answers


def noted(rows: Rows) -> list[str]:
    """The machines that the database knows of."""
    return [row["id"] for row in rows.execute("SELECT id FROM worker.sandboxes ORDER BY id")]


def address(rows: Rows, task: int) -> str:
    return str(rows.execute("SELECT sandbox_url FROM public.tasks WHERE id = %s", task)[0]["sandbox_url"])


def test_a_row_becomes_a_pushed_branch_and_its_machine_is_gone(
    provider: Provider, fleet: Fleet, rows: Rows, add: Adding, remote: Remote
) -> None:
    fleet.dispatcher()
    fleet.worker()
    mine = add("Say hello", repo_url=remote.repository())
    until(ended(rows, mine), within=SLOW, what=fleet.text)

    assert rows.status(mine) == "completed", rows.messages(mine)
    branch = rows.see(mine)["branch_name"]
    assert remote.parent(remote.heads()[branch]) == remote.heads()["main"]
    assert provider.asked()["metadata"] == {"task": str(mine), "fence": str(rows.runs(mine)[0]["fence"])}
    assert address(rows, mine).startswith("https://3000-")
    until(lambda: not provider.machines() and not noted(rows), within=20, what=f"{noted(rows)}\n{fleet.text()}")
    until(lambda: not list((fleet.state / "workspaces").iterdir()), within=10, what="a workspace")


def test_claude_works_there_with_its_model_behind_the_gateway_and_no_key_gets_there(  # noqa: PLR0917 - fixtures
    provider: Provider, model: Callable[..., ModelApi], fleet: Fleet, rows: Rows, add: Adding, remote: Remote
) -> None:
    api = model(WRITE, DONE)
    fleet.dispatcher()
    fleet.worker()
    mine = add("Write a greeting.", agent="claude", repo_url=remote.repository())
    until(ended(rows, mine), within=SLOW, what=fleet.text)

    assert rows.status(mine) == "completed", rows.messages(mine)
    assert remote.show(f"{rows.see(mine)['branch_name']}:greeting.txt") == "Hello"
    assert {asked.key for asked in api.asked} == {KEY}
    assert usage(rows, mine)["gateway_requests"] == len(api.asked)
    assert found_anywhere(fleet, rows, remote, (KEY, TOKEN, provider.key)) == []
    until(lambda: not provider.machines(), within=20, what=fleet.text)


def test_without_a_repository_an_agent_works_there_too(
    provider: Provider, fleet: Fleet, rows: Rows, add: Adding
) -> None:
    fleet.dispatcher()
    fleet.worker()
    mine = add("Say hello")
    until(ended(rows, mine), within=SLOW, what=fleet.text)
    assert rows.status(mine) == "completed", rows.messages(mine)
    until(lambda: not provider.machines() and not noted(rows), within=20, what=fleet.text)


def test_a_task_that_its_owner_deletes_takes_its_machine_with_it(  # noqa: PLR0917 - fixtures
    provider: Provider, model: Callable[..., ModelApi], fleet: Fleet, rows: Rows, add: Adding, remote: Remote
) -> None:
    api = model(Hang())
    fleet.dispatcher()
    fleet.worker()
    mine = add("Write a greeting.", agent="claude", repo_url=remote.repository())
    until(lambda: api.questions, within=SLOW, what=fleet.text)
    assert noted(rows) == provider.machines() != []
    rows.execute("DELETE FROM public.tasks WHERE id = %s", mine)

    until(lambda: rows.runs(mine)[-1]["outcome"] == "gone", within=30, what=fleet.text)
    until(lambda: not provider.machines() and not noted(rows), within=30, what=fleet.text)
    assert set(remote.heads()) == {"main"}


def test_a_killed_workers_machine_is_ended_by_maintenance_whatever_its_row_says(  # noqa: PLR0917 - fixtures
    provider: Provider, model: Callable[..., ModelApi], fleet: Fleet, rows: Rows, add: Adding, remote: Remote
) -> None:
    api = model(Hang())
    fleet.dispatcher()
    fleet.worker()
    mine = add("Write a greeting.", agent="claude", repo_url=remote.repository())
    until(lambda: api.questions, within=SLOW, what=fleet.text)
    (left,) = provider.machines()
    os.killpg(fleet.processes[-1].pid, signal.SIGKILL)
    rows.execute("UPDATE worker.leases SET expires_at = now() + interval '1 hour'")  # a command may take long to start
    rows.execute("UPDATE public.tasks SET sandbox_url = 'https://3000-of-somebody-else.e2b.test' WHERE id = %s", mine)
    sweep = ("worker", "maintenance", "run", "stray_sandboxes")
    assert fleet.start(*sweep, DATABASE_URL=rows.url).wait(60) == 0
    assert provider.machines() == [left], "its lease has not run out yet"

    rows.execute("UPDATE worker.leases SET expires_at = now()")
    until(lambda: rows.status(mine) == "pending", within=20, what=fleet.text)
    assert fleet.start(*sweep, DATABASE_URL=rows.url).wait(60) == 0
    assert (provider.machines(), noted(rows)) == ([], []), fleet.text()


def test_where_e2b_gives_no_machine_the_task_is_put_off(
    provider: Provider, fleet: Fleet, rows: Rows, add: Adding, remote: Remote
) -> None:
    with provider.down():
        fleet.dispatcher()
        fleet.worker()
        mine = add("Say hello", repo_url=remote.repository())
        until(lambda: rows.runs(mine) and rows.runs(mine)[-1]["outcome"], within=SLOW, what=fleet.text)
    assert (rows.runs(mine)[-1]["outcome"], rows.status(mine)) == ("overloaded", "pending")
