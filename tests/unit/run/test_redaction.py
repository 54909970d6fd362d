"""No secret that we know, and nothing that looks like one, gets into what is stored."""

import json
from base64 import b64encode
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from worker.run.redaction import MASK, REACH, Redactor

SECRET = 'p@ss/w+rd "é" \\ 1234'
PEM = "-----BEGIN RSA PRIVATE KEY-----\n" + "MIIEpAIBAAKCAQEA0/=+\n" * 40 + "c2hvcnQ=\n-----END RSA PRIVATE KEY-----"
CREDENTIALS = {
    "anthropic": "sk-ant-api03-" + "aB3_-" * 10,
    "openai": "sk-proj-" + "aB3_-" * 10,
    "openai, older": "sk-" + "a1B2c" * 4 + "T3BlbkFJ" + "a1B2c" * 4,
    "github": "ghp_" + "a1B2c3" * 6,
    "github app": "ghs_" + "a1B2c3" * 6 + ".eyJhbGci.c2ln-",
    "github, fine-grained": "github_pat_" + "a1B2c_" * 12,
    "gitlab": "glpat-" + "a1B2c" * 4,
    "aws": "AKIA" + "IOSFODNN7EXAMPLE",
    "google": "AIza" + "a1B2c" * 7,
    "slack": "xoxb-" + "123456789012-" * 2 + "abc",
    "supabase": "sb_secret_" + "a1B2c" * 5,
    "jwt": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl-_",
    "pem": PEM,
    "pem as JSON": json.dumps(PEM)[1:-1],
    "pem without end": PEM.partition("\nc2hv")[0],
}


def encoded(secret: str, *, before: int, after: int, alphabet: bytes = b"+/") -> str:
    """The secret in base64, between so many other bytes."""
    return b64encode(b"?" * before + secret.encode() + b"~" * after, alphabet).decode()


FORMS: dict[str, Callable[[str], str]] = {
    "itself": lambda secret: secret,
    "JSON": lambda secret: json.dumps(secret)[1:-1],
    "JSON, not ASCII": lambda secret: json.dumps(secret, ensure_ascii=False)[1:-1],
    "JSON in JSON": lambda secret: json.dumps(json.dumps(secret))[3:-3],
    "URL": lambda secret: quote(secret, safe=""),
    "path": quote,
    "form": quote_plus,
    **{f"base64 {b}+{a}": partial(encoded, before=b, after=a) for b in range(3) for a in range(3)},
    **{f"URL base64 {b}": partial(encoded, before=b, after=0, alphabet=b"-_") for b in range(3)},
}
secrets_of_any_kind = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zs"]), min_size=8, max_size=40)


def cut(text: str, places: list[int]) -> list[str]:
    """The text in chunks, cut at the places."""
    borders = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    return [text[start:end] for start, end in pairwise(borders)]


def through_a_stream(redactor: Redactor, chunks: list[str]) -> str:
    stream = redactor.stream()
    return "".join([*(stream.feed(chunk) for chunk in chunks), stream.close()])


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_known_value_is_masked_in_every_form(form: Callable[[str], str]) -> None:
    redacted = Redactor([SECRET])(f"see: {form(SECRET)}.")

    assert redacted.startswith("see: ")
    assert MASK in redacted
    assert len(redacted) <= len("see: .") + len(MASK) + 9  # of base64, what belongs to the neighbours stays


@given(
    secrets_of_any_kind, st.sampled_from(sorted(FORMS)), st.text(max_size=5), st.lists(st.integers(0, 400), max_size=4)
)
def test_no_form_of_any_secret_passes_however_it_is_cut(secret: str, form: str, around: str, places: list[int]) -> None:
    assume(secret not in MASK)
    spelled = FORMS[form](secret)
    redactor = Redactor([secret])
    text = f"{around} {spelled} {around}"

    assert spelled not in redactor(text)
    assert spelled not in through_a_stream(redactor, cut(text, places))
    assert spelled not in "".join(redactor.across(cut(text, places)))


@pytest.mark.parametrize("credential", CREDENTIALS.values(), ids=CREDENTIALS)
def test_what_looks_like_a_credential_is_masked(credential: str) -> None:
    assert Redactor([])(f"key {credential} end") == f"key {MASK} end"
    assert Redactor([])(f'"key":"a\\n{credential}"') == f'"key":"a\\n{MASK}"'


@pytest.mark.parametrize("credential", CREDENTIALS.values(), ids=CREDENTIALS)
@pytest.mark.parametrize("size", [1, 7, 5000])
def test_what_looks_like_a_credential_is_masked_however_it_is_cut(credential: str, size: int) -> None:
    text = f"{'x ' * REACH}key {credential} end\n" * 2
    chunks = [text[at : at + size] for at in range(0, len(text), size)]

    assert through_a_stream(Redactor([]), chunks) == f"{'x ' * REACH}key {MASK} end\n" * 2


@pytest.mark.parametrize(
    ("printed", "kept"),
    [
        ("https://joe:s3cr@t@github.com/a/b.git", f"https://{MASK}@github.com/a/b.git"),
        ("postgresql://u:p@h:5432,h2/db", f"postgresql://{MASK}@h:5432,h2/db"),
        ("https://token@host/", f"https://{MASK}@host/"),
        ("Authorization: Bearer abcdefghijklmnop.qrstuvw", f"Authorization: Bearer {MASK}"),
    ],
)
def test_credentials_of_an_address_are_masked_and_the_rest_stays(printed: str, kept: str) -> None:
    assert Redactor([])(printed) == kept


@pytest.mark.parametrize(
    "plain",
    [
        "ssh://git@github.com/a/b",
        "https://medium.com/@joe and joe@example.com",
        "the risk-proj-ect, task-ant-ics, sk-ant-x and ghp_short",
        "-----BEGIN CERTIFICATE-----\nMIIEpAIBAAKCAQEA\n-----END CERTIFICATE-----",
        "ghp and AKIA and eyJ and -----BEGIN ",
        "commit 3f786850e387550fdab836ed7e6dc881de23001b",
    ],
)
def test_ordinary_text_stays(plain: str) -> None:
    assert Redactor(["short", "", "  "])(f"{plain} short") == f"{plain} short"


def test_what_is_left_of_a_secret_without_its_controls_is_not_looked_for_when_short() -> None:
    assert Redactor(["as\x1b[31m if"])("as if") == "as if"


def test_secrets_that_overlap_leave_nothing_of_each_other() -> None:
    assert Redactor(["abcdefgh", "efghijkl"])("-abcdefghijkl-") == f"-{MASK}-"
    assert Redactor(["abababab"])("-abababababab-") == f"-{MASK}-"


def test_each_line_of_a_secret_with_several_is_a_secret() -> None:
    assert Redactor(["first line\r\nsecond line\n"])("a first line b second line c") == f"a {MASK} b {MASK} c"


def test_a_known_value_is_masked_in_every_message_it_runs_through() -> None:
    redacted = Redactor([SECRET]).across(["a " + SECRET[:3], SECRET[3:9], SECRET[9:] + " b", "c", ""])

    assert redacted == [f"a {MASK}", MASK, f"{MASK} b", "c", ""]


def test_a_private_key_printed_line_by_line_is_masked() -> None:
    redacted = Redactor([]).across(["before", *PEM.splitlines(), "after"])

    assert redacted == ["before", *[MASK] * len(PEM.splitlines()), "after"]


def test_other_shapes_do_not_reach_into_the_next_message() -> None:
    token = CREDENTIALS["github"]

    assert Redactor([]).across([f"token {token}", "Running"]) == [f"token {MASK}", "Running"]
    assert Redactor([]).across(["see https://example.com", "joe@example.com"])[1] == "joe@example.com"


@given(st.lists(st.text("ab\n-", max_size=9)))
def test_a_stream_keeps_everything_that_is_not_secret(chunks: list[str]) -> None:
    assert through_a_stream(Redactor(["secret-value"]), chunks) == "".join(chunks)


def test_a_stream_answers_whole_lines_at_once() -> None:
    stream = Redactor(["secret-value"]).stream()

    assert stream.feed("one\ntw") == "one\n"
    assert stream.feed("o\n") == "two\n"


def test_a_stream_holds_back_a_private_key_until_its_end() -> None:
    stream = Redactor([]).stream()
    lines = PEM.splitlines(keepends=True)

    assert [stream.feed(line) for line in lines] == [""] * len(lines)
    assert stream.feed("\nafter\n") == f"{MASK}\nafter\n"


def test_a_stream_holds_back_only_so_much_of_a_line() -> None:
    stream = Redactor([]).stream()
    chunks = [stream.feed("a " * 5_000) for _ in range(100)]

    assert sum(map(len, chunks)) == 1_000_000 - REACH


@pytest.mark.parametrize("room", range(-30, 10))
def test_a_line_without_end_is_never_parted_within_a_secret_or_right_before(room: int) -> None:
    line = f"{'x' * 9_000} https://joe:s3cr3t@host/ {'y' * (REACH + room)}"

    assert through_a_stream(Redactor([]), [line, "z"]) == line.replace("joe:s3cr3t", MASK) + "z"


def test_a_stream_finds_a_secret_of_several_short_lines() -> None:
    assert through_a_stream(Redactor(["one\ntwo\nsix"]), ["a one\n", "two\n", "six b\n"]) == f"a {MASK} b\n"


def test_a_secret_longer_than_usual_is_held_back_whole() -> None:
    secret = "0123456789" * 4_000
    text = f"{'x' * 50_000}{secret}{'y' * 90_000}"

    redacted = through_a_stream(Redactor([secret]), [text[at : at + 999] for at in range(0, len(text), 999)])
    assert redacted == f"{'x' * 50_000}{MASK}{'y' * 90_000}"


@pytest.mark.parametrize(
    "unit",
    ["a", "eyJ", " eyJaaaaaaaa.eyJaaaaaaaa", "-----BEGIN PRIVATE KEY-----", "://a@", "://", "sk-ant-", "AKIA", "-"],
)
def test_three_megabytes_of_anything_are_read_in_one_pass(unit: str) -> None:
    """Each of these would take hours where a pattern looks at a character again for every start before it."""
    text = unit * (3_000_000 // len(unit))
    assert Redactor(["a" * 8, SECRET])(text)


def test_a_redactor_never_shows_what_it_knows() -> None:
    redactor = Redactor([SECRET])

    assert repr(redactor) == "Redactor(1 known values)"
    assert SECRET not in repr(redactor.stream())
