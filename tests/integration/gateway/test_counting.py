"""What is counted of an answer, in which words whichever provider tells it, and what a cap does."""

import json
import time

import pytest

from tests.integration.gateway.conftest import HELLO, Inside, Open
from tests.integration.gateway.provider import Answer, Provider, events, message, whole
from tests.support.processes import eventually
from worker.gateway.config import Caps
from worker.gateway.ledger import Counters

START = {
    "type": "message_start",
    "message": {"model": "claude-test-1", "usage": {"input_tokens": 7, "cache_read_input_tokens": 100,
                                                    "cache_creation_input_tokens": 20, "output_tokens": 1}},
}  # fmt: skip
WORD = {"type": "content_block_delta", "delta": {"type": "text_delta", "text": 'It said "usage" and {"usage": 9}'}}
END = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 42}}
OPENAI = {"input_tokens": 130, "input_tokens_details": {"cached_tokens": 100}, "output_tokens": 30}
CHAT = {"prompt_tokens": 130, "prompt_tokens_details": {"cached_tokens": 100}, "completion_tokens": 30}
GOOGLE = {"promptTokenCount": 130, "cachedContentTokenCount": 100, "candidatesTokenCount": 10, "thoughtsTokenCount": 20}
PIECE = {"usageMetadata": {"promptTokenCount": 130}, "candidates": []}

ANSWERS = [
    (
        "anthropic /v1/messages",
        message(input_tokens=7, cache_read_input_tokens=100, output_tokens=5),
        (7, 100, 0, 5),
    ),
    ("anthropic /v1/messages", events(START, WORD, END), (7, 100, 20, 42)),
    ("openai /v1/responses", whole({"model": "gpt-x", "usage": OPENAI}), (30, 100, 0, 30)),
    (
        "openai /v1/responses",
        events(
            {"type": "response.created", "response": {"model": "gpt-x", "usage": None}},
            {"type": "response.completed", "response": {"model": "gpt-x", "usage": OPENAI}},
        ),
        (30, 100, 0, 30),
    ),
    ("openai /v1/chat/completions", whole({"model": "gpt-x", "usage": CHAT}), (30, 100, 0, 30)),
    (
        "openai /v1/chat/completions",
        events({"model": "gpt-x", "usage": None}, {"model": "gpt-x", "usage": CHAT}, b"data: [DONE]\n\n"),
        (30, 100, 0, 30),
    ),
    ("google /v1beta/models/g:generateContent", whole({"usageMetadata": GOOGLE}), (30, 100, 0, 30)),
    (
        "google /v1beta/models/g:streamGenerateContent?alt=sse",
        events(PIECE, {"usageMetadata": GOOGLE}),
        (130, 100, 0, 30),
    ),
    ("google /v1beta/models/g:streamGenerateContent", whole([{"usageMetadata": GOOGLE}]), (30, 100, 0, 30)),
]


def tokens(used: Counters) -> tuple[int, int, int, int]:
    return used.input_tokens, used.cache_read_tokens, used.cache_write_tokens, used.output_tokens


@pytest.mark.parametrize(("asked", "answer", "expected"), ANSWERS)
def test_what_an_answer_used_is_read_from_it(
    opened: Open, provider: Provider, asked: str, answer: Answer, expected: tuple[int, ...]
) -> None:
    provider.answer = answer
    name, path = asked.split(" ")
    inside = opened(name)

    assert inside.post(path, {"model": "x"}).status_code == 200

    assert eventually(lambda: tokens(inside.used()) == expected), inside.used()
    assert inside.used().estimated == 0
    assert inside.used().statuses == {"200": 1}


def test_answers_add_up_and_errors_and_lists_cost_nothing(inside: Inside, provider: Provider) -> None:
    inside.post()
    inside.post()
    provider.answer = whole({"type": "error"}, status=529)
    inside.post()
    provider.answer = whole({"data": []})
    inside.client.get("/v1/models", headers={"x-api-key": inside.token})
    inside.post("/v1/messages/count_tokens")

    assert eventually(lambda: inside.used().statuses == {"200": 4, "529": 1})
    used = inside.used()
    assert (used.requests, used.tokens, used.estimated) == (5, 30, 0)


def test_an_answer_that_does_not_tell_is_estimated_from_its_size(opened: Open, provider: Provider) -> None:
    """A chat completion in a stream tells its usage only when asked to."""
    provider.answer = events({"model": "gpt-x", "text": "x" * 2400}, b"data: [DONE]\n\n")
    inside = opened("openai")

    inside.post("/v1/chat/completions", {"messages": "x" * 4000})

    assert eventually(lambda: inside.used().estimated == 1)
    assert inside.used().input_tokens >= 1000
    assert inside.used().output_tokens >= 100


def test_who_leaves_before_the_end_has_used_something_too(inside: Inside, provider: Provider) -> None:
    provider.answer = events(START, *[WORD] * 10_000, END, pause=0.01)

    with inside.client.stream("POST", "/v1/messages", json=HELLO, headers={"x-api-key": inside.token}) as answer:
        next(answer.iter_raw())

    assert provider.left.wait(10), "the provider was left to answer to nobody"
    assert eventually(lambda: inside.used().estimated == 1)
    assert inside.used().cache_read_tokens == 100


@pytest.mark.parametrize(
    ("name", "caps", "passed"),
    [
        ("anthropic", Caps(requests=2), 2),
        ("openai", Caps(requests=1), 1),
        ("google", Caps(requests=1), 1),
        ("anthropic", Caps(tokens=31), 3),
        ("anthropic", Caps(cost=0.0001), 1),
    ],
)
def test_a_cap_ends_it_in_words_of_the_provider_that_no_client_tries_again(
    opened: Open, provider: Provider, name: str, caps: Caps, passed: int
) -> None:
    path = {"anthropic": "/v1/messages", "openai": "/v1/responses", "google": "/v1beta/models/g:generateContent"}[name]
    inside = opened(name, caps=caps, prices="claude-*=3/15")

    answers = [inside.post(path) for _ in range(passed + 1)]

    assert [answer.status_code for answer in answers] == [200] * passed + [402 if name == "anthropic" else 400]
    assert len(provider.asked) == passed
    error = answers[-1].json()["error"]
    assert error["message"] == inside.used().reached
    assert error["message"].startswith("This task may use ")
    assert answers[-1].headers["x-should-retry"] == "false"


def test_many_large_requests_at_once_do_not_slip_past_a_cap(opened: Open, provider: Provider) -> None:
    """Each is held against the cap by its size while it is not known what it used."""
    provider.answer = events(START, WORD, END, pause=1.0)
    inside = opened(caps=Caps(tokens=1000))
    with inside.client.stream(
        "POST", "/v1/messages", json={"messages": "x" * 8000}, headers={"x-api-key": inside.token}
    ) as first:
        assert inside.post().status_code == 402
        first.read()

    assert len(provider.asked) == 1


def test_prices_make_a_cost_and_a_model_without_one_is_counted_as_such(opened: Open, provider: Provider) -> None:
    provider.answer = events(START, END)
    inside = opened(prices="other-*=100/100,claude-*=3/15/0.3/3.75")
    inside.post()
    provider.answer = message(input_tokens=1)
    inside.post()
    provider.answer = whole({"model": "unheard-of", "type": "message", "usage": {"input_tokens": 5}})
    inside.post()

    assert eventually(lambda: inside.used().statuses == {"200": 3})
    used = inside.used()
    assert used.cost == pytest.approx((7 * 3 + 100 * 0.3 + 20 * 3.75 + 42 * 15 + 3) / 10**6)
    assert used.unpriced == 1


def test_an_event_of_any_length_passes_and_those_around_it_are_read(inside: Inside, provider: Provider) -> None:
    long = b"data: " + b"x" * 20 * 10**6 + b"\n\n"
    provider.answer = events(START, long, END)

    answer = inside.post()

    assert long in answer.content
    assert eventually(lambda: tokens(inside.used()) == (7, 100, 20, 42))


def test_the_counters_are_whole_whenever_they_are_read(inside: Inside) -> None:
    path = inside.gateway.folder / "counters.json"
    until = time.monotonic() + 1.0
    while time.monotonic() < until:
        inside.post()
        assert "requests" in json.loads(path.read_text())
    assert path.stat().st_mode & 0o077 == 0
