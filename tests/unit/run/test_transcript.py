"""The log of one attempt: nothing lost, nothing secret, few writes, and never a failure of the run."""

import gzip
import json
import re
import resource
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import count, pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from freezegun import freeze_time
from hypothesis import assume, given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from worker.run import transcript as transcripts
from worker.run.redaction import MASK, REACH, Redactor
from worker.run.text import storable
from worker.run.transcript import MESSAGE_LIMIT, Batch, Entry, Transcript, closing, patience, transcript_path

SECRET = "correct-horse-battery"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return transcript_path(tmp_path / "transcripts", task_id=7, fence=42)


@pytest.fixture
def transcript(path: Path) -> Transcript:
    return Transcript(path, redactor=Redactor([SECRET]))


def kept(path: Path) -> str:
    return gzip.decompress(path.read_bytes()).decode()


def taken(transcript: Transcript) -> Batch:
    batch = transcript.batch(0.0)
    assert batch
    transcript.written(batch, stored=0)
    return batch


def messages(batch: Batch) -> list[str]:
    return [entry.message for entry in batch.entries]


def left_out(entry: Entry) -> int:
    """How many entries an entry stands for."""
    marker = re.fullmatch(r"elided-([0-9]{14})", entry.id)
    return int(marker[1]) if marker else 1


# Entries


@freeze_time("2026-01-02 03:04:05.678901")
def test_an_entry_has_the_shape_that_the_web_app_reads(transcript: Transcript) -> None:
    transcript.add("command", "git status")

    [entry] = taken(transcript).as_dicts()
    assert re.fullmatch(r"[A-Za-z0-9_-]{21}", entry.pop("id"))
    assert entry == {"timestamp": "2026-01-02T03:04:05.678Z", "type": "command", "message": "git status"}


def test_a_message_is_made_storable_redacted_and_clipped(transcript: Transcript) -> None:
    transcript.add("info", b"\n\x1b[1mpassword\x00: \xff " + SECRET.encode() + b"\n\n")

    assert messages(taken(transcript)) == [f"password: \ufffd {MASK}"]


def test_no_part_of_a_secret_stays_where_a_message_is_clipped(transcript: Transcript) -> None:
    for before in range(20, 45):  # around the note of what is left out
        transcript.add("info", "x" * (MESSAGE_LIMIT - before) + SECRET + "y" * 1000)

    for long in messages(taken(transcript)):
        assert len(long.encode()) <= MESSAGE_LIMIT
        assert SECRET[:3] not in long


@pytest.mark.parametrize("nothing", ["", "\n \n", b"\x1b[2K\x00\r", "\u202e"])
def test_a_message_that_shows_nothing_is_no_entry(transcript: Transcript, nothing: bytes | str) -> None:
    transcript.add("info", nothing)

    assert transcript.batch(0.0) is None


def test_a_secret_split_over_two_messages_is_masked_in_both(transcript: Transcript) -> None:
    transcript.add("info", "it is " + SECRET[:9])
    transcript.add("info", SECRET[9:] + ", keep it")

    assert messages(taken(transcript)) == [f"it is {MASK}", f"{MASK}, keep it"]


def test_a_secret_begun_in_a_batch_that_is_written_is_masked_in_the_next(transcript: Transcript) -> None:
    transcript.add("info", "it is " + SECRET[:9])
    assert messages(taken(transcript)) == ["it is " + SECRET[:9]]
    transcript.add("info", SECRET[9:] + ", keep it")

    assert messages(taken(transcript)) == [f"{MASK}, keep it"]


def test_no_repr_shows_what_is_not_yet_redacted(transcript: Transcript) -> None:
    transcript.add("info", SECRET)

    assert SECRET not in repr([transcript, transcript._buffer.entries()])


# Batches


def test_a_batch_stays_the_same_until_it_is_known_to_be_written(transcript: Transcript) -> None:
    transcript.add("info", "one")
    first = transcript.batch(0.0)
    transcript.add("info", "two")
    again = transcript.batch(1.0)
    assert first
    assert first is again

    transcript.written(first, stored=100)
    second = transcript.batch(2.0)
    assert second
    assert (first.number, messages(first)) == (1, ["one"])
    assert (second.number, messages(second)) == (2, ["two"])


def test_an_answer_that_comes_twice_confirms_no_later_batch(transcript: Transcript) -> None:
    transcript.add("info", "one")
    first = taken(transcript)
    transcript.add("info", "two")
    second = transcript.batch(0.0)
    transcript.written(first, stored=100)

    assert transcript.batch(0.0) is second


def test_past_its_bound_the_middle_of_the_buffer_gives_way_to_one_entry_that_counts(transcript: Transcript) -> None:
    for number in range(20_000):
        transcript.add("info", f"line {number}")

    batch = taken(transcript)
    [gap] = [place for place, entry in enumerate(batch.entries) if entry.id.startswith("elided-")]
    missing = left_out(batch.entries[gap])
    assert sum(map(left_out, batch.entries)) == 20_000
    assert 400_000 < sum(entry.size for entry in batch.entries) < 450_500
    assert messages(batch)[:gap] == [f"line {number}" for number in range(gap)]
    assert messages(batch)[gap + 1 :] == [f"line {number}" for number in range(gap + missing, 20_000)]
    assert messages(batch)[gap] == f"{missing} entries left out here; the whole transcript is kept by the worker."
    assert len(batch.entries[gap].id) == 21


def test_what_waits_behind_a_batch_is_bounded_too(transcript: Transcript) -> None:
    transcript.add("info", "first")
    pending = transcript.batch(0.0)
    for _ in range(1_000):
        transcript.add("info", "x" * 3_000)
    assert transcript._buffer.size <= 450_000

    assert pending
    transcript.written(pending, stored=100)
    assert sum(map(left_out, taken(transcript).entries)) == 1_000


# When to write


@dataclass(frozen=True, slots=True)
class Write:
    """One write: when it was made, how much it added, and how large the log is then."""

    at: float
    added: int
    stored: int


def played(arrivals: list[tuple[float, str]], path: Path) -> list[Write]:
    """The writes of a loop that turns every 50 ms until all is written; the database elides as it does."""
    transcript = Transcript(path, redactor=Redactor([]))
    writes, stored = [], 2
    waiting = deque(arrivals)
    for now in (turn * 0.05 for turn in count()):
        while waiting and waiting[0][0] <= now:
            transcript.add("info", waiting.popleft()[1])
        if (transcript.due(now) or not waiting) and (batch := transcript.batch(now)):
            added = sum(entry.size for entry in batch.entries)
            stored = stored + added if stored + added <= 900_000 else 400_000
            transcript.written(batch, stored=stored)
            writes.append(Write(now, added, stored))
        if not waiting and not transcript.batch(now):
            return writes
    raise AssertionError


@pytest.mark.parametrize("lines", [500, 2_000, 8_000, 20_000])
@pytest.mark.parametrize("a_second", [500, 10_000])
def test_the_writes_of_a_busy_run_come_to_five_times_its_text_and_its_last_write(
    path: Path, lines: int, a_second: int
) -> None:
    writes = played([(number / a_second, f"line {number:05} " + "x" * 60) for number in range(lines)], path)

    text = sum(write.added for write in writes)
    assert sum(write.stored for write in writes[:-1]) <= 5 * text


@pytest.mark.parametrize("every", [0.05, 1.0, 3.0])
def test_a_trickle_is_written_no_more_often_than_what_is_stored_allows(path: Path, every: float) -> None:
    writes = played([(number * every, "x" * 1_000) for number in range(700)], path)

    for before, write in pairwise(writes[:-1]):
        assert write.added >= before.stored / 4 or write.at - before.at >= patience(before.stored) - 0.01


def test_what_follows_a_silence_is_shown_at_once_and_the_rest_not_long_after(path: Path) -> None:
    quiet = [(number * 60.0, "x" * 1_000) for number in range(700)]
    writes = played([*quiet, (42_001.0, "one"), (42_001.1, "two"), (42_030.0, "end")], path)

    shown = [write.at for write in writes]
    assert shown[:700] == pytest.approx([at for at, _ in quiet], abs=0.06)
    assert shown[700:] == pytest.approx([42_001.0, 42_011.0, 42_030.0], abs=0.11)


def test_the_first_entry_is_due_at_once_and_nothing_is_due_without_entries(transcript: Transcript) -> None:
    assert not transcript.due(1_000.0)
    transcript.add("info", "one")

    assert transcript.due(1_000.0)


def test_a_write_that_failed_is_not_due_again_at_once(transcript: Transcript) -> None:
    transcript.add("info", "one")
    transcript.batch(1_000.0)
    transcript.add("info", "x" * 15_000)

    assert not transcript.due(1_000.9)
    assert transcript.due(1_001.0)


def test_no_two_writes_are_closer_than_a_third_of_a_second(transcript: Transcript) -> None:
    transcript.add("info", "one")
    first = transcript.batch(1_000.0)
    assert first
    transcript.written(first, stored=100)
    transcript.add("info", "x" * 15_000)

    assert not transcript.due(1_000.29)
    assert transcript.due(1_000.31)


# The file


def test_the_whole_output_is_kept_for_nobody_else_to_read(transcript: Transcript, path: Path) -> None:
    transcript.raw(b"one\ntwo \xe2\x82")
    transcript.raw(b"\xac \x1b[2J\x00\nthree \xe2")
    transcript.close()

    assert kept(path) == "one\ntwo € \nthree \ufffd"
    assert [place.stat().st_mode & 0o777 for place in (path, path.parent, path.parent.parent)] == [0o600, 0o700, 0o700]


def test_what_was_written_before_a_crash_can_be_read(transcript: Transcript, path: Path) -> None:
    transcript.raw(b"one\nunfinished")
    transcript.add("info", "one")
    transcript.batch(0.0)
    assert kept(path) == "one\n"

    transcript.raw(b"\n" + b"x" * 99 + b"\n" * transcripts.MEMBER_SIZE)
    assert kept(path).startswith("one\nunfinished\nxxx")


@pytest.mark.parametrize("between", ["\x1b[01;31m", "\x1b[m\x1b[K", "\x00", "\u202e"])
def test_a_secret_that_is_coloured_in_the_middle_is_masked_in_the_file(
    transcript: Transcript, path: Path, between: str
) -> None:
    """As `grep --color` prints what it found."""
    transcript.raw(f"key: {SECRET[:6]}{between}{SECRET[6:]} end\n".encode())
    transcript.raw(between.join(f"wide {SECRET}\n").encode())
    transcript.close()

    assert kept(path) == f"key: {MASK} end\nwide {MASK}\n"


def test_a_secret_in_the_output_is_masked_however_it_is_cut(transcript: Transcript, path: Path) -> None:
    for byte in f"a {SECRET} b\n".encode() * 3:
        transcript.raw(bytes([byte]))
    transcript.close()

    assert kept(path) == f"a {MASK} b\n" * 3


@contextmanager
def full_disk() -> Iterator[None]:
    """No file of this process grows past 1,000 bytes, the one that pytest reports to among them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def lines_that_do_not_compress(number: int) -> bytes:
    return b"".join(transcripts.new_id().encode() + b"\n" for _ in range(number))


def test_a_full_disk_stops_the_file_with_one_warning_and_not_the_run(transcript: Transcript, path: Path) -> None:
    with capture_logs() as logged, full_disk():
        for number in range(50):
            transcript.raw(lines_that_do_not_compress(20))
            transcript.add("info", f"{number}")
            assert messages(taken(transcript)) == [f"{number}"]
        transcript.close()

    assert [(line["event"], line["log_level"]) for line in logged] == [("transcript.stopped", "warning")]
    assert not transcript.recorded
    assert kept(path).count("\n") % 20 == 0
    assert path.stat().st_size < 1_000


def test_a_folder_that_cannot_be_made_stops_the_file_and_not_the_run(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    transcript = Transcript(transcript_path(tmp_path / "taken", task_id=1, fence=1), redactor=Redactor([]))
    transcript.raw(b"one\n")
    transcript.close()

    assert not transcript.recorded


def test_a_link_in_place_of_the_file_is_not_followed(transcript: Transcript, path: Path, tmp_path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.symlink_to(tmp_path / "elsewhere")
    transcript.raw(b"one\n")
    transcript.close()

    assert not (tmp_path / "elsewhere").exists()


# The end


def test_the_closing_entry_names_outcome_duration_branch_and_commit() -> None:
    took = timedelta(seconds=83, milliseconds=440)

    assert closing("completed", took, branch="fix/it", commit="1a2b3c4") == (
        "success",
        "Completed after 83.4 seconds. Branch fix/it at commit 1a2b3c4.",
    )
    assert closing("error", took, reason="The agent printed nothing for 10 minutes.", recorded=False) == (
        "error",
        (
            "Error after 83.4 seconds: The agent printed nothing for 10 minutes. "
            "The worker could not keep the whole transcript of this run."
        ),
    )
    assert closing("given_back", took) == ("info", "Given back after 83.4 seconds.")


# All of it, on anything

ANYTHING = st.binary(max_size=60) | st.text("\x1b[]m\r\n\x00\x9b\u202eé😀ab", max_size=20).map(str.encode)
SECRETS = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zs"]), min_size=8, max_size=30)


@given(st.lists(ANYTHING, max_size=12), SECRETS, st.integers(0, 12), st.integers(1, 29), st.integers(0, 12))
def test_anything_is_stored_in_order_without_loss_and_without_secrets(
    printed: list[bytes], secret: str, place: int, cut: int, flush: int
) -> None:
    """The secret is printed as it is, JSON-escaped, and in two messages."""
    assume(secret == storable(secret).strip() and secret not in MASK and 0 < cut < len(secret))
    first, second = secret[:cut], secret[cut:]
    assume(first == first.rstrip() and second == second.strip())
    mixed = [*printed[:place], f"={secret}={json.dumps(secret)}=".encode(), *printed[place:]]
    mixed += [first.encode(), second.encode()]
    with TemporaryDirectory() as folder:
        file = Path(folder) / "a" / "b"
        transcript = Transcript(file, redactor=Redactor([secret]))
        batches = []
        for number, chunk in enumerate(mixed):
            transcript.add("info", chunk)
            transcript.raw(chunk)
            if number == flush and transcript.batch(0.0):
                batches.append(taken(transcript))
        if transcript.batch(0.0):
            batches.append(taken(transcript))
        transcript.close()
        whole = kept(file)

    entries = [entry for batch in batches for entry in batch.as_dicts()]
    assert json.loads(json.dumps(entries).encode()) == entries
    read = [entry["message"] for entry in entries]
    assert not any("\x00" in text or any("\ud800" <= char <= "\udfff" for char in text) for text in [*read, whole])
    assert secret not in "".join(read)
    assert secret not in whole
    expected = [text for chunk in mixed if (text := storable(chunk).strip("\n").rstrip())]
    assert len(read) == len(expected)
    assert all(MASK in now or now == before for now, before in zip(read, expected, strict=True))


@given(st.lists(st.integers(1, 90_000), max_size=40), st.sets(st.integers(0, 40)))
def test_whatever_is_elided_is_counted_exactly(sizes: list[int], flushes: set[int]) -> None:
    buffer, shown = transcripts.Buffer(), []
    for number, size in enumerate(sizes):
        if number in flushes:
            shown += buffer.entries()
            buffer = transcripts.Buffer()
        buffer.add(Entry(id=f"{number}", timestamp="", type="info", message="x" * size))
        assert buffer.size <= 450_000
    shown += buffer.entries()

    place = 0
    for entry in shown:
        assert entry.id.startswith("elided-") or entry.id == f"{place}"
        place += left_out(entry)
    assert place == len(sizes)


def test_a_line_of_three_megabytes_is_logged_and_kept(transcript: Transcript, path: Path) -> None:
    line = b"x" * 3_000_000
    transcript.add("info", line)
    for at in range(0, len(line), 65_536):
        transcript.raw(line[at : at + 65_536])
    transcript.close()

    assert len(messages(taken(transcript))[0]) <= MESSAGE_LIMIT
    assert len(kept(path)) == len(line) > REACH
