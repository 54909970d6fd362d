"""A real agent in a real sandbox, whose only way out is its gateway, against a model of ours."""

import subprocess
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from tests.integration.agents.conftest import require
from tests.integration.gateway.conftest import KEY
from tests.support.model_api import READ, WRITTEN, ModelApi, Move, Refuse, Say, Use, serving
from tests.support.sandboxes import isolating
from worker.agents import Job, Verdict, place
from worker.gateway.config import Caps
from worker.gateway.keys import Access
from worker.gateway.ledger import Counters
from worker.run import gateway
from worker.run.pump import Deadline, Limits, Pump
from worker.settings import Settings

PORT = 8377
WRITE = Use("Write", {"file_path": "greeting.txt", "content": "Hello\n"}, "I will write the greeting.")
SEARCH = "env; cat /proc/*/environ /proc/*/cmdline; find /etc /tmp /run /var $HOME . -type f -exec cat {} +; true"
DONE = Say("The greeting is there.")


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What became of one run."""

    repository: Path
    api: ModelApi
    printed: bytes
    verdict: Verdict | None
    used: Counters
    token: str


def run(folder: Path, *moves: Move, caps: Caps | None = None, name: str = "claude", private: str = "private") -> Seen:
    """See an agent through as a run does, from its gateway to the counters."""
    repository, home = folder / "work" / "repo", folder / "home"
    for each in (repository, home):
        each.mkdir(parents=True)
    subprocess.run(("git", "init", "-q", repository), check=True)
    agent, api, printed = require(name), ModelApi(*moves), bytearray()
    with (
        serving(api) as upstream,
        gateway.opened(
            Settings(_env_file=None),
            folder / private,
            access=Access(provider="anthropic", key=KEY, upstream=upstream),
            caps=caps or Caps(),
            watch=lambda: None,
        ) as opened,
    ):
        assert opened
        assert opened.model
        job = Job(task_id=1, prompt="Write a greeting.", model=None, workspace=repository, home=home,
                  base_url=f"http://127.0.0.1:{PORT}", token=opened.token)  # fmt: skip
        parser = agent.parser(job)  # type: ignore[attr-defined]  # each subclass has one
        place(agent.files(job), home=home)

        def on_line(line: bytes) -> None:
            printed.extend(line + b"\n")
            parser.feed(line)

        done = Pump(watch=lambda: None).run(
            replace(agent.command(job), sockets={PORT: opened.model}),
            sandbox=isolating((folder / "work", home)),
            limits=Limits(wall=Deadline.after(timedelta(seconds=120))),
            on_line=on_line,
        )
    return Seen(
        repository=repository,
        api=api,
        printed=bytes(printed) + done.stderr,
        verdict=parser.verdict,
        used=opened.used(),
        token=opened.token,
    )


def test_an_agent_does_its_work_and_only_the_provider_sees_the_key(tmp_path: Path) -> None:
    look = Use("Bash", {"command": SEARCH, "description": "Look for keys"})
    seen = run(tmp_path, WRITE, look, DONE)

    assert seen.verdict, seen.printed[-2000:]
    assert (seen.verdict.ok, seen.verdict.turns) == (True, 3), seen.verdict
    assert (seen.repository / "greeting.txt").read_text() == "Hello\n"
    assert {asked.key for asked in seen.api.asked} == {KEY}
    assert seen.used.requests == seen.used.statuses["200"] == len(seen.api.asked)
    assert (seen.used.tokens, seen.used.estimated) == (len(seen.api.asked) * (READ + WRITTEN), 0)
    assert KEY.encode() not in seen.printed
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]


def test_a_cap_ends_the_agent_s_work_at_once_and_it_says_why(tmp_path: Path) -> None:
    seen = run(tmp_path, WRITE, DONE, caps=Caps(requests=1))

    assert seen.verdict, seen.printed[-2000:]
    assert not seen.verdict.ok
    assert not seen.verdict.denied
    assert not seen.verdict.overloaded
    assert "This task may use 1 request to its model in one run, and has." in seen.verdict.answer
    assert seen.used.refused <= 3, "it is not asked again and again"


def test_a_key_that_the_provider_refuses_is_told_as_that(tmp_path: Path) -> None:
    seen = run(tmp_path, Refuse(401))

    assert seen.verdict, seen.printed[-2000:]
    assert seen.verdict.denied
    assert seen.used.statuses.keys() == {"401"}
    assert KEY.encode() not in seen.printed


def test_the_gateway_is_reached_however_deep_its_folder_lies(tmp_path: Path) -> None:
    """The address of a socket has room for a hundred characters; a worker's folder may take more."""
    private = "/".join(["a-folder-with-a-long-name"] * 6)

    seen = run(tmp_path, DONE, private=private)

    assert seen.verdict, seen.printed[-2000:]
    assert seen.verdict.ok
