"""Whatever bytes an agent prints become text that PostgreSQL stores and a person reads."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.run.text import clip, legible, storable

SIZE = 3_000_000


@pytest.mark.parametrize(
    ("printed", "read"),
    [
        pytest.param(b"caf\xc3\xa9 \xff\xfe", "café \ufffd\ufffd", id="invalid UTF-8"),
        pytest.param("a\x00b", "ab", id="NUL"),
        pytest.param("a\ud800b", "a\ufffdb", id="a lone surrogate"),
        pytest.param("\ud83d\ude00", "😀", id="a surrogate pair"),
        pytest.param("\x1b[1;31mred\x1b[0m", "red", id="colours"),
        pytest.param("\x9b31mred", "red", id="colours in one byte"),
        pytest.param("\x1b]0;title\x07text", "text", id="a window title"),
        pytest.param("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link", id="a link"),
        pytest.param("\x1b]52;c;Zm9v never ended", "52;c;Zm9v never ended", id="an unfinished sequence hides nothing"),
        pytest.param("\x1b[31\nand\x1b", "31\nand", id="an unfinished colour hides nothing"),
        pytest.param("\x1bP1$r\x1b\\x\x1b(By\x1bM", "xy", id="DCS, charset and line feed"),
        pytest.param("10%\r50%\r100%\nnext", "100%\nnext", id="a progress bar"),
        pytest.param("10%\r100%\r\r\nnext\r\n", "100%\nnext\n", id="a progress bar with Windows line ends"),
        pytest.param("a\tb\nc\x07\x08\x7f\x85", "a\tb\nc", id="other controls"),
        pytest.param("user\u202e\u2066 // admin\u2069", "user // admin", id="bidirectional overrides"),
        pytest.param("שלום עולם", "שלום עולם", id="right to left text"),
    ],
)
def test_what_is_printed_reads_as_on_a_terminal(printed: bytes | str, read: str) -> None:
    assert storable(printed) == read


@given(st.binary() | st.text(st.characters()) | st.text("\x1b[]0;m\x07\\\r\n\x9b\x9da\ud800\udc00\u202e\x00"))
def test_any_text_is_storable_and_stays_as_it_is(printed: bytes | str) -> None:
    text = storable(printed)

    assert json.loads(json.dumps(text).encode()) == text.encode().decode()
    assert not any(char < " " and char not in "\n\t" for char in text)
    assert storable(text) == text


@given(st.text("\x1b[]0;m\x07\\\r\n\x9b\x9da\ud800\u202e\x00é"))
def test_what_is_legible_obeys_no_terminal(printed: str) -> None:
    text = legible(printed)

    assert legible(text) == text
    assert not any((char < " " and char not in "\n\t") or "\x7f" <= char <= "\x9f" for char in text)


@pytest.mark.parametrize(
    "unit", ["\x1b[", "\x1b]", "\x9d", "\x1b", "1\r", "\x1b[1", "\x1b]0;x", "\u202e", "\x00a", "é\x01", "\x1bP\x1b"]
)
def test_three_megabytes_of_anything_are_read_in_one_pass(unit: str) -> None:
    """Each of these would take hours where a pattern looks at a character again for every start before it."""
    assert len(storable(unit * (SIZE // len(unit)))) <= SIZE


@pytest.mark.parametrize("start", ["\x1b[", "\x1b]", "\x1bP", "\x9d"])
def test_a_sequence_that_never_ends_is_three_megabytes_of_text(start: str) -> None:
    assert len(storable(start + "1" * SIZE)) >= SIZE


@given(st.text(max_size=300), st.integers(30, 200))
def test_a_clipped_text_fits_and_says_how_much_is_missing(text: str, limit: int) -> None:
    clipped = clip(text, limit)

    assert len(clipped.encode()) <= limit
    if len(text.encode()) > limit:
        kept, _, note = clipped.rpartition("… [")
        assert text.startswith(kept)
        assert note == f"{len(text.encode()) - len(kept.encode()):,} bytes left out]"
    else:
        assert clipped == text


def test_a_text_is_cut_between_characters() -> None:
    assert clip("😀" * 20, 50) == "😀" * 6 + "… [56 bytes left out]"
