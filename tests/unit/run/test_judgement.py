"""When an agent is done, and what its owner is told when it is not."""

from dataclasses import replace
from datetime import timedelta

import pytest

from worker.agents import Verdict
from worker.errors import Cause, RunInterrupted, TaskFailed
from worker.run.judgement import LONGEST_BACKOFF, judged
from worker.sandbox.command import Completed

DONE = Verdict(ok=True, answer="It is done.", turns=3)


def failure(verdict: Verdict | None, code: int, stderr: bytes = b"") -> str:
    with pytest.raises(TaskFailed) as failed:
        judged(verdict, Completed(returncode=code, stderr=stderr), backoffs=0)
    return str(failed.value)


def test_done_is_what_the_last_event_and_the_exit_code_agree_on() -> None:
    assert judged(DONE, Completed(returncode=0), backoffs=0) == "It is done."
    assert judged(replace(DONE, turns=None, answer=""), Completed(returncode=0), backoffs=0) == "Done."


@pytest.mark.parametrize(
    ("verdict", "code", "told"),
    [
        (None, 0, "The agent ended without a result (exit code 0)."),
        (None, 143, "The agent ended without a result (exit code 143)."),
        (DONE, 1, "The agent said that it was done, and ended with exit code 1."),
        (replace(DONE, turns=0), 0, "The agent ended without asking its model anything."),
        (replace(DONE, ok=False, answer="Out of ideas"), 0, "The agent gave up: Out of ideas"),
        (replace(DONE, ok=False, answer=""), 1, "The agent gave up."),
    ],
)
def test_anything_else_is_a_failure_and_says_which(verdict: Verdict | None, code: int, told: str) -> None:
    assert failure(verdict, code) == told


def test_without_a_result_the_last_complaint_is_told() -> None:
    noise = b"warning\nError: unknown option --yolo\n\n"
    assert failure(None, 2, noise) == "The agent ended without a result (exit code 2): Error: unknown option --yolo"
    assert len(failure(None, 2, b"x" * 10_000)) < 400


def test_a_refused_key_is_told_without_what_the_provider_said_about_it() -> None:
    told = failure(replace(DONE, ok=False, denied=True, answer="invalid x-api-key: sk-ant-1234"), 1)
    assert "refused the key" in told
    assert "sk-ant" not in told


def test_an_overloaded_provider_gives_the_task_back_later_and_later() -> None:
    delays = []
    for backoffs in (0, 1, 2, 50):
        with pytest.raises(RunInterrupted) as interrupted:
            judged(replace(DONE, ok=False, overloaded=True), Completed(returncode=1), backoffs=backoffs)
        assert interrupted.value.cause is Cause.OVERLOADED
        delays.append(interrupted.value.delay)
    assert delays == [timedelta(seconds=15), timedelta(seconds=30), timedelta(minutes=1), LONGEST_BACKOFF]
