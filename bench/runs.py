"""What a run costs besides its agent: the time and the memory of sandbox, git and gateway around it."""

import random
import subprocess
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import perf_counter
from uuid import uuid4

from bench.fleet import Fleet, Process, descendants, end, until
from bench.logs import WORDS
from bench.measure import Bench, Row, new_user, one
from bench.memory import memory
from worker.gateway.config import Caps
from worker.gateway.keys import Access
from worker.local.git_server import serve
from worker.run import gateway
from worker.sandbox.base import Sandbox
from worker.sandbox.bubblewrap import Bubblewrap
from worker.sandbox.command import Command
from worker.sandbox.process import ProcessSandbox
from worker.settings import Settings

COMMITS, FILES, WORDS_EACH = 200, 10, 1_500
"""Of the repository: each commit writes so many new files of so many words."""
KEY = "sk-ant-a-key-that-opens-nothing"
AGENT = """#!/bin/sh
cat > /dev/null
date > line.txt
test ! -e wait || sleep 60
echo '{"type": "result", "subtype": "success", "is_error": false, "result": "Done.", "num_turns": 1}'
"""
"""In place of claude: it asks its model nothing."""
ITS_OWN = frozenset({"claude", "sleep", "sh"})
"""What the agent's own processes are called."""
IDENTITY = ("-c", "user.name=Bench", "-c", "user.email=bench@example.com")


def measure(bench: Bench) -> Iterator[Row]:
    """Times first, then the memory of one run that goes on."""
    with remote(bench.folder / "remote") as address, Fleet(bench, **environment(bench.folder, address)) as fleet:
        yield from times(bench, fleet, address)
        yield from parts(bench)
        yield from memories(bench, fleet, address)


def environment(folder: Path, address: str) -> dict[str, str]:
    """Settings for runs with a repository of ours and an agent of ours, called claude."""
    (folder / "bin").mkdir()
    (folder / "bin" / "claude").write_text(AGENT)
    (folder / "bin" / "claude").chmod(0o755)
    return {
        "PATH": f"{folder / 'bin'}:/usr/local/bin:/usr/bin:/bin",
        "CODINGIT_ALLOWED_HOSTS": address.removeprefix("http://"),
        "CODINGIT_ANTHROPIC_API_KEY": KEY,
    }


@contextmanager
def remote(folder: Path) -> Iterator[str]:
    """A git host that has two repositories: `site`, and `waits`, in which the agent waits."""
    folder.mkdir()
    for name in ("site", "waits"):
        bare = folder / f"{name}.git"
        subprocess.run(("git", "init", "-q", "--bare", "--initial-branch=main", bare), check=True)
        written = history(waits=name == "waits")
        subprocess.run(("git", "fast-import", "--quiet"), cwd=bare, input=written, check=True)
    with serve(folder, token=None) as address:
        yield address


def history(*, waits: bool) -> bytes:
    """Some years of commits, for `git fast-import`."""
    chosen = random.Random(7)  # noqa: S311 - no secret
    lines = []
    for commit in range(COMMITS):
        lines += ["commit refs/heads/main", f"committer Bench <bench@example.com> {1_600_000_000 + commit} +0000"]
        lines += ["data 4", "Work"]
        for file in range(FILES):
            text = " ".join(chosen.choices(WORDS, k=WORDS_EACH))
            lines += [f"M 644 inline src/{file}/module_{commit}.txt", f"data {len(text)}", text]
    if waits:
        lines += ["M 644 inline wait", "data 0", ""]
    return "\n".join((*lines, "")).encode()


# How long -------------------------------------------------------------------------------------------------------------


def times(bench: Bench, fleet: Fleet, address: str) -> Iterator[Row]:
    """The same by hand, then whole runs in either sandbox; they take turns."""

    def run(kept: str) -> float:
        return fleet.ask("bench.attempt", kept, *(str(task(bench, f"{address}/site")) for _ in range(2)))

    ways: dict[str, Callable[[], float]] = {
        "git by hand: clone, commit, push": lambda: by_hand(bench.folder, f"{address}/site"),
        "run, process sandbox, repository kept": lambda: within(fleet, "process", lambda: run("kept")),
        "run, bubblewrap, repository kept": lambda: within(fleet, "bubblewrap", lambda: run("kept")),
        "run, bubblewrap, repository not kept": lambda: within(fleet, "bubblewrap", lambda: run("cold")),
    }
    found: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(bench.repeats):
        for way, seconds in ways.items():
            found[way].append(seconds())
    hand, process, kept, cold = (Row.of("runs", way, values, "s") for way, values in found.items())
    yield hand
    yield Row.of("runs", process.case, found[process.case], "s", against=hand)
    for row, against in ((kept, hand), (kept, process), (cold, hand), (cold, kept)):
        yield Row.of("runs", row.case, found[row.case], "s", against=against)


def within(fleet: Fleet, sandbox: str, measured: Callable[[], float]) -> float:
    """What is measured where runs have that sandbox."""
    fleet.env["CODINGIT_SANDBOX"] = sandbox
    return measured()


def task(bench: Bench, url: str) -> int:
    """A pending task for claude of a new user."""
    with bench.connect() as connection:
        insert = """INSERT INTO public.tasks (user_id, prompt, selected_agent, repo_url)
                    VALUES (%s, 'bench', 'claude', %s) RETURNING id"""
        return one(connection.execute(insert, [new_user(connection), url]))


def by_hand(folder: Path, url: str) -> float:
    """Seconds that git takes for a clone, a commit and a push of a new branch, with nothing around it."""
    clone = folder / uuid4().hex
    began = perf_counter()
    subprocess.run(("git", "clone", "-q", url, clone), check=True)
    (clone / "line.txt").write_text("A line\n")
    for words in (("checkout", "-q", "-b", clone.name), ("add", "."), ("commit", "-qm", "Work")):
        subprocess.run(("git", *IDENTITY, *words), cwd=clone, check=True)
    subprocess.run(("git", "push", "-q", "origin", clone.name), cwd=clone, check=True, stderr=subprocess.DEVNULL)
    return perf_counter() - began


def parts(bench: Bench) -> Iterator[Row]:
    """What a run is made of: some forty programs in either sandbox, and a gateway."""
    ways: dict[str, Callable[[], object]] = {
        "a program that does nothing": lambda: subprocess.run(("true",), check=True),
        "the same in the process sandbox": lambda: seen_out(ProcessSandbox()),
        "the same in bubblewrap": lambda: seen_out(Bubblewrap(writable=())),
        "a gateway, from its start to its end": lambda: opened(bench.folder / "gateway"),
    }
    found: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(5 * bench.repeats):
        for way, does in ways.items():
            began = perf_counter()
            does()
            found[way].append((perf_counter() - began) * 1000)
    bare, process, bubblewrap, gated = (Row.of("runs", way, values, "ms") for way, values in found.items())
    yield bare
    yield Row.of("runs", process.case, found[process.case], "ms", against=bare)
    yield Row.of("runs", bubblewrap.case, found[bubblewrap.case], "ms", against=process)
    yield gated


def seen_out(sandbox: Sandbox) -> None:
    """Start a program that does nothing, and wait for its end."""
    child = sandbox.start(Command(argv=("true",), cwd=Path("/"), env={"PATH": "/usr/bin:/bin"}))
    while child.poll() is None:
        time.sleep(0.001)
    child.close()


def opened(folder: Path) -> None:
    """A gateway that nobody asks anything."""
    access = Access(provider="anthropic", key=KEY, upstream="http://127.0.0.1:1")
    with gateway.opened(Settings(_env_file=None), folder, access=access, caps=Caps(), watch=lambda: None):
        pass


# How much memory ------------------------------------------------------------------------------------------------------


def memories(bench: Bench, fleet: Fleet, address: str) -> Iterator[Row]:
    """What one more run takes while its agent is at work: all its processes but the agent's own."""
    found: dict[str, list[tuple[float, float]]] = {"process": [], "bubblewrap": []}
    for _ in range(bench.repeats):
        for sandbox, values in found.items():
            fleet.env["CODINGIT_SANDBOX"] = sandbox
            values.append(taken(fleet, task(bench, f"{address}/waits")))
    around = {sandbox: [share for share, _ in values] for sandbox, values in found.items()}
    process = Row.of("runs", "process sandbox and relay of a run, USS", around["process"], "MB")
    yield process
    yield Row.of("runs", "bubblewrap and relay of a run, USS", around["bubblewrap"], "MB", against=process)
    yield Row.of("runs", "gateway of a run, USS", [gated for _, gated in found["bubblewrap"]], "MB")


def taken(fleet: Fleet, waiting: int) -> tuple[float, float]:
    """Megabytes around the agent of a run that goes on, and of its gateway."""
    run = fleet.spawn("bench.attempt", "kept", str(waiting))
    try:
        until(lambda: any(called(pid) == "sleep" for pid in descendants(run.pid)), what="an agent that waits")
        time.sleep(2)
        return shares(run)
    finally:
        end(run)


def shares(run: Process) -> tuple[float, float]:
    """What its processes but the agent's own take, and what its gateway takes."""
    others = [pid for pid in descendants(run.pid) if called(pid) not in ITS_OWN]
    gated = [pid for pid in others if b"worker.gateway" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return total(set(others) - set(gated)), total(gated)


def total(pids: Collection[int]) -> float:
    """Megabytes of all of them."""
    return sum(memory(pid, "Private") for pid in pids)


def called(pid: int) -> str:
    """What a process is called; empty once it is gone."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""
