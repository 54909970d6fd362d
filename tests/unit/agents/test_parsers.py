"""What each agent prints becomes entries that a person wants to read, and a verdict; nothing it prints is a fault."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.agents import Event, Job, Verdict, find
from worker.agents.claude import current
from worker.agents.codex import BUSY, unwrapped
from worker.agents.reading import HELD, OPEN, Reader
from worker.agents.rehearsal_program import RUBBISH

FIXTURES = Path(__file__).parent / "fixtures"
AGENTS = ("claude", "codex", "gemini", "opencode", "copilot", "cursor")
JOB = Job(task_id=7, prompt="Mend it", model=None, workspace=Path("/runs/7/work/repo"), home=Path("/runs/7/home"))
ANSWER = "Done: the Größe is right."
TOKENS = {"input_tokens": 9200, "cached_tokens": 8000, "output_tokens": 345}
EXTRA: dict[str, dict[str, Any]] = {
    "claude": {"turns": 6, "cost": 0.0432},
    "opencode": {"turns": 2, "cost": 0.0432},
    "copilot": {"turns": 2},
}
"""What only some of them tell."""


def lines(agent: str) -> list[bytes]:
    return (FIXTURES / f"{agent}.jsonl").read_bytes().splitlines()


def fed(agent: str, *given_: bytes) -> tuple[list[Event], Verdict | None]:
    parser = find(agent).parser(JOB)
    return [event for line in given_ for event in parser.feed(line)], parser.verdict


def verdict(agent: str, *objects: object) -> Verdict:
    found = fed(agent, *(json.dumps(each).encode() for each in objects))[1]
    assert found is not None
    return found


@pytest.mark.parametrize("agent", AGENTS)
def test_a_person_reads_what_was_said_edited_and_run_and_nothing_else(agent: str) -> None:
    told = [(event.type, event.message) for event in fed(agent, *lines(agent))[0]]
    about = [entry for entry in told if entry[1].startswith(("Model: ", "The model's provider"))]
    command = "make test failed" if agent == "gemini" else "make test ended with exit code 2"
    assert [entry for entry in told if entry not in about] == [
        ("info", "I will mend the Größe."),
        ("info", "Edited src/app.py"),
        ("command", "make test"),
        ("error", f"{command}:\n1 failed"),
        ("command", "make lint"),
    ]
    assert len(about) <= 2


@pytest.mark.parametrize("agent", AGENTS)
def test_the_terminal_event_is_the_verdict_with_what_it_took(agent: str) -> None:
    assert fed(agent, *lines(agent))[1] == Verdict(ok=True, answer=ANSWER, usage=TOKENS, **EXTRA.get(agent, {}))


@pytest.mark.parametrize("agent", AGENTS)
def test_without_a_terminal_event_there_is_no_verdict(agent: str) -> None:
    assert fed(agent, *lines(agent)[:-1])[1] is None


@pytest.mark.parametrize("agent", AGENTS)
def test_success_without_a_word_or_a_deed_counts_no_turns(agent: str) -> None:
    """As a prompt ends that is taken for a command; claude tells it by itself."""
    last = json.loads(lines(agent)[-1])
    nothing = {"num_turns": 0} if agent == "claude" else {}
    found = verdict(agent, {**last, **nothing})
    assert (found.ok, found.turns) == (True, 1 if agent == "opencode" else 0)


def test_claude_says_success_and_means_an_error() -> None:
    failed = {"type": "result", "subtype": "success", "is_error": True, "num_turns": 1, "result": "API Error: …"}
    assert verdict("claude", failed) == Verdict(ok=False, answer="API Error: …", turns=1)
    limit = {"type": "result", "subtype": "error_max_turns", "is_error": False, "num_turns": 9}
    assert verdict("claude", limit) == Verdict(ok=False, answer="error max turns", turns=9)
    told = {"type": "result", "subtype": "error_during_execution", "is_error": True, "errors": ["No session"]}
    assert verdict("claude", told).answer == "No session"


FAULTS: dict[str, Callable[[int], list[object]]] = {
    "claude": lambda status: [
        {"type": "assistant", "error": "server_error", "message": {"content": [{"type": "text", "text": "Sorry"}]}},
        {"type": "result", "subtype": "success", "is_error": True, "api_error_status": status, "result": "Sorry"},
    ],
    "codex": lambda status: [
        {"type": "error", "message": f"unexpected status {status} No: Sorry"},
        {"type": "turn.failed", "error": {"message": f"unexpected status {status} No: Sorry"}},
    ],
    "gemini": lambda status: [
        {
            "type": "result",
            "status": "error",
            "error": {"message": f'[API Error: {{"error": {{"code": {status}, "message": "Sorry"}}}}]'},
        },
    ],
    "opencode": lambda status: [
        {"type": "error", "error": {"name": "APIError", "data": {"message": "Sorry", "statusCode": status}}},
    ],
    "copilot": lambda status: [
        {"type": "session.error", "data": {"message": "Sorry", "statusCode": status}},
        {"type": "result", "exitCode": 1},
    ],
}


@pytest.mark.parametrize("agent", sorted(FAULTS))
@pytest.mark.parametrize(
    ("status", "denied", "overloaded"),
    [(400, False, False), (401, True, False), (403, True, False), (404, False, False)]
    + [(status, False, True) for status in (429, 500, 503, 529)],
)
def test_a_fault_of_the_provider_is_told_apart(agent: str, status: int, denied: bool, overloaded: bool) -> None:
    found = verdict(agent, *FAULTS[agent](status))
    assert (found.ok, found.denied, found.overloaded) == (False, denied, overloaded)
    assert found.answer.endswith("Sorry")


@pytest.mark.parametrize("agent", sorted(FAULTS))
def test_why_it_failed_is_the_verdicts_to_tell_and_is_told_once(agent: str) -> None:
    events = fed(agent, *(json.dumps(each).encode() for each in FAULTS[agent](400)))[0]
    assert events == []


def test_codex_tells_no_status_of_a_fault_of_the_servers() -> None:
    assert verdict("codex", {"type": "turn.failed", "error": {"message": BUSY}}).overloaded
    assert verdict(
        "codex", {"type": "turn.failed", "error": {"message": "exceeded retry limit, last status: 429 …"}}
    ).overloaded
    assert not verdict("codex", {"type": "turn.failed", "error": {"message": f"I wrote about {BUSY}"}}).overloaded


def test_gemini_tells_a_limit_of_its_provider_in_words() -> None:
    def failed(message: str) -> Verdict:
        return verdict(
            "gemini", {"type": "result", "status": "error", "error": {"type": "unknown", "message": message}}
        )

    limited = failed("[API Error: Quota exceeded]\nPlease wait and try again later. To increase your limits, …")
    assert (limited.overloaded, limited.answer) == (True, "Quota exceeded")
    assert not failed("[API Error: You said: Please wait and try again later. ]").overloaded
    assert failed("Tool failed").answer == "Tool failed"


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize(
    "line", [*RUBBISH, b"", b"null", b"[]", b"9" * 5000, b'{"type": "unknown"}', b'{"type":"result"']
)
def test_rubbish_is_no_verdict_and_no_error(agent: str, line: bytes) -> None:
    events, found = fed(agent, line)
    assert (events, found) == ([], None)


@pytest.mark.parametrize("agent", AGENTS)
def test_lines_are_read_as_they_were_cut_at_newlines_alone(agent: str) -> None:
    """Carriage returns and U+2028 within a line end nothing; a byte that is no UTF-8 costs itself alone."""
    odd = [
        line.replace("Größe".encode(), "Gr\N{LINE SEPARATOR}\N{REPLACEMENT CHARACTER}e".encode())
        for line in lines(agent)
    ]
    broken = [line.replace("Größe".encode(), b"Gr\xe2\x80\xa8\xffe") for line in lines(agent)]
    assert fed(agent, *odd) == fed(agent, *broken) != fed(agent, *lines(agent))


@pytest.mark.parametrize("agent", AGENTS)
def test_events_of_three_megabytes_are_read(agent: str) -> None:
    long = [
        line.replace(b"All is well.", b"x" * 3_000_000).replace(b"1 failed", b"y" * 3_000_000) for line in lines(agent)
    ]
    events, found = fed(agent, *long)
    assert found is not None
    assert found.ok
    assert max(len(event.message) for event in events) < 2_000


@pytest.mark.parametrize("agent", AGENTS)
def test_a_line_that_is_cut_loses_that_event_alone(agent: str) -> None:
    whole = lines(agent)
    events, found = fed(agent, *(piece for line in whole for piece in (line[: len(line) // 2], line)))
    assert (events, found) == fed(agent, *whole)


WORDS = (
    *("system", "assistant", "user", "result", "message", "tool_use", "tool_result", "error", "init", "item.started"),
    *("item.completed", "turn.completed", "turn.failed", "text", "step_finish", "tool_call", "assistant.message"),
    *("tool.execution_start", "tool.execution_complete", "session.error", "assistant.usage", "success", "api_retry"),
    *("command_execution", "file_change", "agent_message", "started", "completed", "stop", "bash", "Bash", "Edit"),
)
NAMES = (
    *("type", "subtype", "message", "content", "text", "item", "part", "data", "error", "usage", "stats", "tool_call"),
    *("input", "state", "status", "command", "path", "file_path", "id", "tool_use_id", "toolCallId", "tool_id", "name"),
    *("tool", "changes", "exit_code", "exitCode", "result", "success", "tokens", "cache", "cost", "statusCode"),
    *("api_error_status", "num_turns", "total_cost_usd", "errors", "arguments", "parameters", "args", "reason", "role"),
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5) | st.sampled_from(WORDS),
    lambda some: st.lists(some, max_size=3) | st.dictionaries(st.sampled_from(NAMES), some, max_size=6),
    max_leaves=12,
)
EVENTS = st.builds(
    lambda kind, rest: {**rest, "type": kind},
    st.sampled_from(WORDS),
    st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=5),
)


@pytest.mark.parametrize("agent", AGENTS)
@settings(max_examples=60, deadline=None)
@given(events=st.lists(EVENTS, max_size=3))
def test_events_with_fields_of_any_kind_are_no_error(agent: str, events: list[object]) -> None:
    fed(agent, *(json.dumps(event).encode() for event in events))


@pytest.mark.parametrize("agent", AGENTS)
def test_each_field_of_each_event_may_be_anything(agent: str) -> None:
    """Every value in what it is known to print, replaced by one of another kind."""
    for odd in (None, True, 7, -1.5, "x", [], [7], {}, {"type": 7}, [{"type": "text", "text": 7}]):
        for line in lines(agent):
            for changed in altered(json.loads(line), odd):
                fed(agent, json.dumps(changed).encode(), *lines(agent)[-1:])


def altered(value: object, odd: object) -> list[object]:
    """The value with each of its parts replaced, one at a time."""
    if isinstance(value, dict):
        return [odd, *({**value, name: part} for name, each in value.items() for part in altered(each, odd))]
    if isinstance(value, list):
        return [
            odd,
            *([*value[:i], part, *value[i + 1 :]] for i, each in enumerate(value) for part in altered(each, odd)),
        ]
    return [odd]


@given(st.binary())
def test_bytes_of_any_kind_are_no_error(line: bytes) -> None:
    assert [fed(agent, line)[1] for agent in AGENTS] == [None] * len(AGENTS)


def test_a_tool_that_never_ends_has_been_told_and_is_forgotten_in_time() -> None:
    parser = find("claude").parser(JOB)
    for number in range(OPEN * 2):
        use = {
            "type": "tool_use",
            "id": str(number),
            "name": "Bash",
            "input": {"command": f"sleep {number} " + "x" * 10**5},
        }
        (told,) = parser.feed(json.dumps({"type": "assistant", "message": {"content": [use]}}).encode())
        assert (told.type, len(told.message)) == ("command", HELD)
    assert isinstance(parser, Reader)
    assert len(parser._begun) == OPEN


@pytest.mark.parametrize(
    ("selected", "asked"),
    [
        ("claude-3-5-sonnet", "sonnet"),
        ("claude-3-5-sonnet-20241022", "sonnet"),
        ("claude-3.5-haiku", "haiku"),
        ("claude-3-opus", "opus"),
        ("claude-3-7-sonnet-latest", "sonnet"),
        ("claude-2.1", "sonnet"),
        ("claude-instant-1.2", "sonnet"),
        ("claude-sonnet-4-5", "claude-sonnet-4-5"),
        ("claude-opus-5", "claude-opus-5"),
        ("claude-30-sonnet", "claude-30-sonnet"),
        ("opus", "opus"),
    ],
)
def test_a_model_of_claude_that_is_retired_gives_way_to_the_newest_of_its_family(selected: str, asked: str) -> None:
    assert current(selected) == asked


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        ("/bin/bash -lc 'make test'", "make test"),
        ("bash -c 'echo \"it'\"'\"'s\"'", 'echo "it\'s"'),
        ("/bin/bash -lc 'unfinished", "/bin/bash -lc 'unfinished"),
        ("git commit -m message", "git commit -m message"),
        ("", ""),
    ],
)
def test_a_command_of_codex_is_shown_without_its_shell(printed: str, shown: str) -> None:
    assert unwrapped(printed) == shown
