"""No key is to be read anywhere: not while an agent works, and not after it has printed one in every way it could."""

import json
from base64 import b64encode
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from tests.acceptance.conftest import TOKEN, Adding, Remote, Started
from tests.acceptance.traces import at_work, ended, found_anywhere
from tests.support.fleet import Fleet, until
from tests.support.model_api import Hang, Say, Use
from tests.support.rows import Rows

KEY = 'sk-of-a/kind "+that=is"\\escaped'.replace(" ", "_")
"""Without the shape of any provider's, and different in each way to spell it."""
WRITE = Use("Write", {"file_path": "greeting.txt", "content": "Hello\n"}, "I will write the greeting.")


def spelled(secret: str) -> tuple[str, ...]:
    """The ways in which one may be printed."""
    inner = json.dumps(secret)[1:-1]
    encoded = b64encode(secret.encode()).decode()
    return (secret, inner, json.dumps(inner)[1:-1], quote(secret), quote(secret, safe=""), encoded)


def test_what_an_agent_prints_of_a_key_is_nowhere_to_be_read(
    started: Started, fleet: Fleet, rows: Rows, task: Adding, remote: Remote
) -> None:
    """It can know none; a prompt could have told it one."""
    ways = "\n".join(spelled(KEY) + spelled(TOKEN))
    half = len(KEY) // 2
    shows = Use("Bash", {"command": f"cat <<'END'\n{ways}\nEND\nexit 3", "description": "Show"}, KEY[:half])
    api = started(Use("Bash", {"command": "true", "description": "Wait"}, ways), shows, WRITE, Say(KEY[half:] + ways),
                  CODINGIT_ANTHROPIC_API_KEY=KEY)  # fmt: skip
    mine = task()
    until(ended(rows, mine), within=90, what=fleet.text)

    assert rows.status(mine) == "completed", rows.messages(mine)
    assert {asked.key for asked in api.asked} == {KEY}
    assert "\n".join(rows.messages(mine)).count("[redacted]") > len(spelled(KEY))
    assert found_anywhere(fleet, rows, remote, spelled(KEY) + spelled(TOKEN)) == []


def test_while_an_agent_works_no_process_of_its_run_has_a_key_in_its_command_or_its_environment(
    started: Started, fleet: Fleet, task: Adding
) -> None:
    api = started(WRITE, Hang())
    task()
    until(lambda: len(api.questions) > 1, within=60, what=fleet.text)
    commands = {pid: read(f"/proc/{pid.name}/cmdline") for pid in Path("/proc").glob("[0-9]*")}
    environments = [read(f"/proc/{pid}/environ") for pid in at_work(fleet)]

    assert any(b"worker.gateway" in command for command in commands.values())
    assert any(b"ANTHROPIC_API_KEY=" in environment for environment in environments)  # the token of the run
    secrets = [secret.encode() for secret in (api.asked[0].key, TOKEN)]
    assert not [text for text in (*commands.values(), *environments) for secret in secrets if secret in text]


def read(path: str) -> bytes:
    """What a process shows; nothing where it is gone."""
    with suppress(OSError):
        return Path(path).read_bytes()
    return b""
