"""
Keeping secrets out of what is stored: known values in every form they are likely printed in, and known shapes.

It guards against accidents, not against an agent that means to tell: a secret spelled backwards, in hex, or in base64
that is wrapped in mid-value passes. Secrets enter no sandbox for that reason.
"""

import json
import re
from base64 import b64encode
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from operator import itemgetter
from urllib.parse import quote, quote_plus

from worker.run.text import storable, well_formed

MASK = "[redacted]"
SHORTEST = 8
"""A known value below this many characters is not looked for: it would blank out ordinary words."""
REACH = 16_384
"""How many characters of a secret in pieces are kept in mind; a known value that is longer raises it."""
CONTEXT = 8
"""How many characters before a match a pattern may look at."""
STEP = 4_096
"""A line without an end is looked at again only after so many new characters."""

Span = tuple[int, int]

PEM_BEGIN = re.compile(r"-----BEGIN [A-Z0-9 ]{0,32}PRIVATE KEY(?: BLOCK)?-----")
PEM_END = re.compile(r"-----END [A-Z0-9 ]{0,32}PRIVATE KEY(?: BLOCK)?-----")
# To its end if that is near, else as far as it looks like base64. `\n` may be two characters, as in JSON.
PEM = re.compile(
    PEM_BEGIN.pattern
    + rf"(?:(?:[^-]|-(?!----)){{0,16000}}+{PEM_END.pattern}"
    + r"|(?:(?:\s|\\[nr])*+[A-Za-z0-9+/=]{16,})*+)"
)
# A hint is a text without which its pattern cannot match: looking for it first is a hundred times cheaper.
PATTERNS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("-----BEGIN ", PEM),
    ("sk-", re.compile(r"sk-(?:ant|proj|svcacct|admin|or-v1)-[A-Za-z0-9_-]{16,}")),
    ("T3BlbkFJ", re.compile(r"sk-[A-Za-z0-9]{20}T3BlbkFJ[A-Za-z0-9]{20}")),
    *((f"gh{kind}_", re.compile(rf"gh{kind}_[A-Za-z0-9_]{{20,}}(?:\.[A-Za-z0-9_-]+)*")) for kind in "pousr"),
    ("github_pat_", re.compile(r"github_pat_[A-Za-z0-9_]{20,}")),
    ("glpat-", re.compile(r"glpat-[A-Za-z0-9_-]{20,}")),
    *((kind, re.compile(rf"{kind}(?<![A-Z0-9]{kind})[A-Z0-9]{{16}}(?![A-Z0-9])")) for kind in ("AKIA", "ASIA")),
    ("AIza", re.compile(r"AIza[A-Za-z0-9_-]{35}")),
    ("xox", re.compile(r"xox[abeprs]-[A-Za-z0-9-]{16,}")),
    ("sb_secret_", re.compile(r"sb_secret_[A-Za-z0-9_-]{16,}")),
    ("sbp_", re.compile(r"sbp_[a-f0-9]{40}")),
    ("npm_", re.compile(r"npm_[A-Za-z0-9]{36}")),
    ("e2b_", re.compile(r"e2b_[a-f0-9]{40}")),
    ("k_live_", re.compile(r"[sr]k_live_[A-Za-z0-9]{16,}")),
    ("Bearer ", re.compile(r"(?<=Bearer )[A-Za-z0-9._~+/=-]{20,}")),
    (
        "eyJ",  # a JWT; only where a run of its alphabet begins, or each of a million would be read to the end
        re.compile(
            r"eyJ(?:(?<![A-Za-z0-9_-]eyJ)|(?<=\\[nrt]eyJ)|(?<=%[0-9A-Fa-f]{2}eyJ))[A-Za-z0-9_-]{8,}+"
            r"\.eyJ[A-Za-z0-9_-]{8,}+\.[A-Za-z0-9_-]*+"
        ),
    ),
    # user:password@ or token@ of a URL; `git@` is everybody's.
    ("://", re.compile(r"(?<=://)(?!git@)[^\s/?#\"'<>\\`]+(?=@)")),
)


class Redactor:
    """
    Masks secrets in text: the given values and whatever has the shape of a credential.

    Give it leaf strings, never serialised JSON that is to be parsed again.
    """

    __slots__ = ("_forms", "_known", "_one_line", "reach")

    def __init__(self, secrets: Iterable[str]) -> None:
        known = {part for secret in secrets for part in parts(secret)}
        found = {form for secret in known for form in forms(secret) if len(form) >= SHORTEST}
        self._known = len(known)
        self._forms = tuple(sorted(found))
        self._one_line = not any("\n" in form for form in found)
        self.reach = max(REACH, *map(len, found), 0)
        """How many characters around a border must be known to see every secret that crosses it."""

    def __repr__(self) -> str:
        return f"Redactor({self._known} known values)"

    def __call__(self, text: str) -> str:
        """The text with every secret in it replaced by `[redacted]`."""
        return masked(text, self.spans(text))

    def spans(self, text: str) -> list[Span]:
        """Where the secrets are, in order and without overlap."""
        return merged([*self._values(text), *shapes(text)])

    def across(self, texts: Sequence[str]) -> list[str]:
        """
        Each text masked, also of what is part of a known value or of a private key that runs from one into the next.

        Other shapes are sought within each text alone: joined, the end of one message and the
        start of another look like too much.
        """
        joined = "".join(texts)
        long = merged([*self._values(joined), *(match.span() for match in PEM.finditer(joined))])
        ends = list(accumulate(map(len, texts)))
        return [
            masked(text, merged([*within(long, end - len(text), end), *shapes(text)]))
            for text, end in zip(texts, ends, strict=True)
        ]

    def stream(self) -> "Stream":
        """A redactor of one text that arrives in chunks."""
        return Stream(self)

    def settled(self, text: str) -> int:
        """How much of an unfinished text is too far back for a secret to begin in it and end in a later chunk."""
        lines = text.rfind("\n") + 1 if self._one_line else 0
        return max(len(text) - self.reach, lines, 0)

    def _values(self, text: str) -> Iterator[Span]:
        for form in self._forms:
            yield from occurrences(form, text)


class Stream:
    """
    Redacts a text that arrives in chunks, however they are cut.

    Whole lines are answered at once; of an unfinished line, or a private key that has begun,
    as much is held back as a secret may still need.
    """

    __slots__ = ("_held", "_new", "_redactor")

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._held = ""
        self._new = 0

    def feed(self, text: str) -> str:
        """What is settled by now, masked; possibly nothing."""
        self._held += text
        self._new += len(text)
        if "\n" not in text and self._new < STEP:
            return ""
        self._new = 0
        spans = self._redactor.spans(self._held)
        return self._take(spans, self._border(spans))

    def close(self) -> str:
        """What was held back, masked."""
        return self._take(self._redactor.spans(self._held), len(self._held))

    def _border(self, spans: list[Span]) -> int:
        """The settled length, moved out of any secret it falls into or right before."""
        cut, length, reach = self._redactor.settled(self._held), len(self._held), self._redactor.reach
        for start, end in spans:
            if start - CONTEXT < cut < end:
                unfinished = end == length and length - start <= 2 * reach
                cut = min(cut, max(start - CONTEXT, 0)) if unfinished else end
        key = open_pem(self._held)
        return cut if key is None or length - key > reach else min(cut, key)

    def _take(self, spans: list[Span], cut: int) -> str:
        done, self._held = self._held[:cut], self._held[cut:]
        return masked(done, list(within(spans, 0, cut)))


def parts(secret: str) -> Iterator[str]:
    """The secret and, if it has several lines, each of them: tools print a key file line by line."""
    whole = well_formed(secret).strip()
    if whole:
        yield whole
        yield from (line.strip() for line in whole.splitlines() if len(line.strip()) >= SHORTEST)


def forms(secret: str) -> Iterator[str]:
    """How a secret of at least 8 characters may be spelled: itself, JSON-escaped once and twice, URL-quoted, base64."""
    if len(secret) < SHORTEST:
        return
    yield from (secret, storable(secret))
    for escaped in (json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]):
        yield from (escaped, escaped.replace("/", "\\/"), json.dumps(escaped)[1:-1])
    for quoted in (quote(secret), quote(secret, safe=""), quote_plus(secret)):
        yield from (quoted, re.sub("%..", lambda code: code[0].lower(), quoted))
    yield from base64_forms(secret.encode())


def base64_forms(secret: bytes) -> Iterator[str]:
    """What of the secret's base64 does not depend on its neighbours, for each place it may have in a group of three."""
    for before, foreign in ((0, 0), (1, 2), (2, 3)):
        encoded = b64encode(bytes(before) + secret).decode()
        blurred = {0: 0, 1: 3, 2: 2}[(before + len(secret)) % 3]
        core = encoded[foreign : len(encoded) - blurred]
        yield from (core, core.replace("+", "-").replace("/", "_"))


def occurrences(form: str, text: str) -> Iterator[Span]:
    """Where the form stands in the text; occurrences that overlap are one span."""
    found = text.find(form)
    while found >= 0:
        start, end = found, found + len(form)
        while 0 <= (found := text.find(form, found + 1)) <= end:
            end = found + len(form)
        yield start, end


def shapes(text: str) -> Iterator[Span]:
    """Where something has the shape of a credential."""
    for hint, pattern in PATTERNS:
        if hint in text:
            yield from (match.span() for match in pattern.finditer(text))


def open_pem(text: str) -> int | None:
    """Where a private key begins that has not ended yet."""
    if "-----BEGIN " not in text:
        return None
    begin = max((match.start() for match in PEM_BEGIN.finditer(text)), default=None)
    return begin if begin is not None and not PEM_END.search(text, begin) else None


def merged(spans: list[Span]) -> list[Span]:
    """The spans in order, those that touch or overlap as one."""
    whole: list[Span] = []
    for start, end in sorted(spans):
        if whole and start <= whole[-1][1]:
            whole[-1] = (whole[-1][0], max(end, whole[-1][1]))
        else:
            whole.append((start, end))
    return whole


def within(spans: list[Span], start: int, end: int) -> Iterator[Span]:
    """The parts of merged spans that lie between start and end, counted from start."""
    place = bisect_right(spans, start, key=itemgetter(1))
    while place < len(spans) and spans[place][0] < end:
        first, last = spans[place]
        yield max(first, start) - start, min(last, end) - start
        place += 1


def masked(text: str, spans: list[Span]) -> str:
    """The text with each span replaced by the mask."""
    if not spans:
        return text
    borders = [0, *(border for span in spans for border in span), len(text)]
    return MASK.join(text[borders[i] : borders[i + 1]] for i in range(0, len(borders), 2))
