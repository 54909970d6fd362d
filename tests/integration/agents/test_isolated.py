"""The same agents in a sandbox that isolates them: what they say they read is all that they need of the host."""

import pytest

from tests.integration.agents.conftest import TOKEN, Running
from tests.integration.agents.test_others import DONE, SHELLS, WRITES
from tests.support.model_api import Use

WRITING = WRITES | {"claude": Use("Write", {"file_path": "greeting.txt", "content": "Hello\n"})}
LOOKING = SHELLS | {"claude": lambda command: Use("Bash", {"command": command, "description": "Look"})}


@pytest.mark.parametrize("agent", sorted(WRITING))
def test_it_works_with_no_network_but_its_model_and_no_file_but_its_own(running: Running, agent: str) -> None:
    look = LOOKING[agent]("git status --short; test ! -e /root/.bashrc")
    seen = running(agent, WRITING[agent], look, DONE, isolated=True)

    verdict = seen.concluded()
    assert (seen.code, verdict.ok, verdict.answer) == (0, True, DONE.words)
    assert (seen.repository / "greeting.txt").read_text() == "Hello\n"
    assert [kind for kind, _ in seen.told()] == ["info", "command"], seen.told()
    assert {asked.key for asked in seen.api.asked} == {TOKEN}
