"""What `up` tells programs: one JSON object a line."""

import json
from typing import Any, cast

import pytest

from worker.local.board import Row
from worker.local.screen import screen

ROW = Row(id=7, agent="rehearsal", status="error", progress=40, branch=None, message="No “moon plants”\n here")


def test_everything_that_happens_is_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    shown = screen(json=True)
    shown.done("Database", "version 4")
    shown.say("All is well.")
    shown.show(cast("Any", None), [ROW])
    shown.facts("Pushed commits", [("abc", "one"), ("abc", "two")])
    shown.settle()

    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["event"] for each in told] == ["done", "said", "task", "facts"]
    assert (told[2]["id"], told[2]["status"], told[2]["message"]) == (7, "error", ROW.message)
    assert told[3]["facts"] == [["abc", "one"], ["abc", "two"]]
