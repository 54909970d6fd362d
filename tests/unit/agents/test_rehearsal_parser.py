"""The parser of rehearsal's events, which believes nothing."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.agents.base import Event, Job, Verdict
from worker.agents.rehearsal import Rehearsal, RehearsalParser
from worker.agents.rehearsal_program import RUBBISH


def fed(*lines: bytes) -> tuple[list[Event], Verdict | None]:
    parser = RehearsalParser()
    return [event for line in lines for event in parser.feed(line)], parser.verdict


@pytest.mark.parametrize(
    ("fields", "event"),
    [
        ({"type": "say", "text": "hello"}, Event(type="info", message="hello")),
        ({"type": "edit", "path": "a/b"}, Event(type="info", message="Edited a/b")),
        ({"type": "command", "command": "ls", "exit": 0}, Event(type="command", message="ls")),
        ({"type": "command", "command": "ls", "exit": 2}, Event(type="command", message="ls  (exit code 2)")),
        ({"type": "error", "text": "oh"}, Event(type="error", message="oh")),
    ],
)
def test_each_event_has_its_entry(fields: dict[str, object], event: Event) -> None:
    assert fed(json.dumps(fields).encode()) == ([event], None)


def test_the_verdict_is_the_terminal_events() -> None:
    line = b'{"type": "result", "ok": true, "answer": "Done", "usage": {"steps": 5, "cost": 0.5}}'
    assert fed(line) == ([], Verdict(ok=True, answer="Done", usage={"steps": 5, "cost": 0.5}))


@pytest.mark.parametrize("ok", ["true", 1, None, [True], {}])
def test_only_a_plain_true_is_ok(ok: object) -> None:
    _, verdict = fed(json.dumps({"type": "result", "ok": ok, "overloaded": ok}).encode())
    assert verdict == Verdict(ok=False, answer="")


def test_usage_is_plain_finite_numbers_under_plain_names() -> None:
    usage = '{"a": 1, "b": NaN, "c": Infinity, "d": true, "e": "5", "f": 1e999, "\\u0000": 1, "\\ud800": 1, "g": 1%s}'
    _, verdict = fed(b'{"type": "result", "ok": true, "usage": %s}' % (usage % ("0" * 40)).encode())
    assert verdict is not None
    assert verdict.usage == {"a": 1}
    many = json.dumps({"type": "result", "usage": {str(number): number for number in range(1000)}}).encode()
    assert len((fed(many)[1] or Verdict(ok=False, answer="")).usage) == 32


@pytest.mark.parametrize("line", [*RUBBISH, b"", b"null", b"[]", b"9" * 5000, b'{"type": "unknown"}', b"x" * 3 * 2**20])
def test_rubbish_is_no_verdict_and_no_error(line: bytes) -> None:
    events, verdict = fed(line)
    assert verdict is None
    assert len(events) <= 1


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda some: st.lists(some) | st.dictionaries(st.text(), some),
    )
)
def test_fields_of_any_kind_are_no_error(value: object) -> None:
    kinds = ("say", "edit", "command", "error", "result", "other")
    names = ("text", "path", "command", "exit", "ok", "answer", "usage", "overloaded")
    fed(*(json.dumps({**dict.fromkeys(names, value), "type": kind}).encode() for kind in kinds))
    fed(json.dumps(value).encode(), json.dumps({"type": value}).encode())


@given(st.binary())
def test_bytes_of_any_kind_are_no_error(line: bytes) -> None:
    assert fed(line)[1] is None


def test_the_prompt_goes_in_by_stdin_and_the_environment_is_bare() -> None:
    job = Job(task_id=1, prompt="/quit \ud800", model="--help", workspace=Path("/w"), home=Path("/h"))
    command = Rehearsal().command(job)
    assert command.stdin == b"/quit ?"
    assert set(command.env) == {"PATH", "HOME", "LANG", "GIT_CEILING_DIRECTORIES"}
    assert (command.cwd, command.env["HOME"]) == (Path("/w"), "/h")
    assert not {"/quit", "--help"} & set(command.argv)
