"""What a meter keeps, and what it makes of answers cut anywhere."""

import json
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from worker.gateway.meter import LONGEST_EVENT, Meter
from worker.gateway.usage import Usage, of_anthropic

START = {"type": "message_start", "message": {"model": "m", "usage": {"input_tokens": 7, "output_tokens": 1}}}
END = {"type": "message_delta", "usage": {"output_tokens": 42}}
STREAM = "".join(f"event: x\r\ndata: {json.dumps(said)}\r\n\r\n" for said in (START, {"type": "é"}, END)).encode()


def metered(*chunks: bytes) -> Meter:
    meter = Meter(of_anthropic, asked=400)
    meter.streamed = True
    for chunk in chunks:
        meter.feed(chunk)
    return meter


@given(st.lists(st.integers(0, len(STREAM)), max_size=6))
def test_wherever_a_stream_is_cut_into_chunks_it_says_the_same(cuts: list[int]) -> None:
    at = [0, *sorted(cuts), len(STREAM)]

    meter = metered(*(STREAM[begin:end] for begin, end in pairwise(at)))

    assert (meter.usage(), meter.model, meter.estimated) == (Usage(input=7, output=42), "m", False)


def test_an_event_without_end_is_not_kept() -> None:
    meter = metered(*[b"data: " + b"x" * 10**6] * 30)

    assert len(meter._kept) <= LONGEST_EVENT
    meter.feed(b"\n" + STREAM)
    assert meter.usage() == Usage(input=7, output=42)


def test_numbers_that_are_none_are_nothing() -> None:
    said = {"type": "message", "usage": {"input_tokens": "9", "output_tokens": -5, "cache_read_input_tokens": True}}
    meter = Meter(of_anthropic, asked=0)
    meter.feed(json.dumps(said).encode())

    assert meter.usage() == Usage()
