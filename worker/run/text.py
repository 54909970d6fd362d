"""Making text out of what an agent printed: storable in PostgreSQL, readable by a person, harmless on a terminal."""

import re

REPLACEMENT = "\ufffd"

# Every quantifier is possessive and every body ends at the next control character, so that no
# character is looked at more than a few times, whatever is printed.
ESCAPES = re.compile(
    r"""
      (?: \x1b\[ | \x9b ) (?: [0-?]*+ [ -/]*+ [@-~] )?+                              # CSI: colours, cursor
    | (?: \x1b[\]PX^_] | [\x90\x98\x9d-\x9f] )                                       # OSC, DCS, SOS, PM, APC:
      (?: [^\x00-\x08\x0a-\x1f\x7f-\x9f]*+ (?: \x07 | \x1b\\ | \x9c ) )?+             # titles, links, clipboard
    | \x1b (?: [ -/]*+ [0-~] )?+                                                     # everything else, a lone ESC
    """,
    re.VERBOSE,
)
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]+")
BIDI = re.compile("[\u202a-\u202e\u2066-\u2069]+")
"""The embeddings, overrides and isolates that show a text in another order than it is stored (CVE-2021-42574)."""
SURROGATES = re.compile("[\ud800-\udfff]")


def storable(raw: bytes | str) -> str:
    """
    What a terminal would have been left with, as text that jsonb accepts.

    Escape sequences, controls other than newline and tab, and bidirectional overrides are
    dropped; of a line rewritten by carriage returns the last state stays; what is no
    character becomes U+FFFD. Applying it twice changes nothing more.
    """
    text = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else well_formed(raw)
    if not CONTROLS.search(text):  # with one of which escape sequences begin: most text has none, and to look is cheap
        return in_order(text)
    return CONTROLS.sub("", last_states(in_order(ESCAPES.sub("", text))))


def in_order(text: str) -> str:
    """The text without what shows it in another order."""
    return text if text.isascii() else BIDI.sub("", text)


def well_formed(text: str) -> str:
    """The text with surrogate pairs joined and lone surrogates, which UTF-8 cannot hold, as U+FFFD."""
    if text.isascii() or not SURROGATES.search(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def last_states(text: str) -> str:
    """Each line as its last carriage return left it; a progress bar is one line."""
    if "\r" not in text:
        return text
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))


def legible(text: str) -> str:
    """
    All that was printed, without what only a terminal obeys: a state that a carriage return rewrote is a line too.

    Give it whole lines: an escape sequence does not go on after a newline, and a secret that is coloured in the middle
    is whole again, to be found.
    """
    text = well_formed(text)
    if not CONTROLS.search(text):
        return in_order(text)
    return CONTROLS.sub("", in_order(ESCAPES.sub("", text).replace("\r\n", "\n").replace("\r", "\n")))


def clip(text: str, limit: int) -> str:
    """The text in at most `limit` bytes of UTF-8, cut between characters, with a note of how many are left out."""
    whole = text.encode()
    if len(whole) <= limit:
        return text
    room = limit - len(left_out(len(whole)).encode())
    kept = whole[: max(room, 0)].decode("utf-8", "ignore")
    return kept + left_out(len(whole) - len(kept.encode()))


def left_out(count: int) -> str:
    """The note at the end of a clipped text."""
    return f"… [{count:,} bytes left out]"
