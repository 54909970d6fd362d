"""The sandbox E2B, by its real SDK against a stand-in: what every sandbox owes, and what is its own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.integration.sandbox.test_conformance import (  # noqa: F401  # collected here too, with this module's sandbox
    ended,
    heard,
    outcome,
    test_a_large_input_that_nobody_reads_blocks_nobody,
    test_a_program_gets_its_input_and_its_exit_code_comes_back,
    test_a_program_has_its_grace_to_end_by_itself,
    test_a_program_that_is_not_there_is_127_and_one_that_is_none_126,
    test_a_signal_shows_as_a_shell_shows_it,
    test_a_stopped_tree_ends_though_it_ignores_sigterm_and_left_its_session,
    test_closing_alone_ends_the_tree,
    test_memory_is_bounded_for_the_program_and_what_it_starts,
    test_nothing_of_ours_is_to_be_read_from_any_process_that_it_sees,
    test_the_environment_is_exactly_the_commands,
    test_what_a_program_leaves_behind_ends_with_it,
)
from tests.integration.sandbox.test_relay import (  # noqa: F401  # the same
    CONNECT,
    READ_ALL,
    relayed,
    test_a_stream_passes_piece_by_piece,
    test_it_gives_the_program_its_grace,
)
from tests.integration.sandbox.test_relay import answering as answers
from tests.support.e2b import Provider, answering
from tests.support.processes import Marked, eventually, nothing_left
from tests.support.sandboxes import isolating
from worker.errors import CommandFailed
from worker.sandbox import e2b
from worker.sandbox.command import Command
from worker.sandbox.e2b import E2B, Errand, Machine

ANY = Command(argv=("e2b",), cwd=Path("/"))


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    isolating([])  # the stand-in's machines are made by bubblewrap
    with answering(tmp_path_factory.mktemp("e2b")) as running:
        yield running


@pytest.fixture(scope="module")
def machine(provider: Provider) -> Machine:
    return Machine(provider.account, made(provider)["id"])


@pytest.fixture
def sandbox(machine: Machine, marked: Marked) -> E2B:
    return E2B(machine, writable=[marked.folder])


def made(provider: Provider) -> dict[str, str]:
    answer: dict[str, str] = json.loads(printed(e2b.creating(provider.account, task="7")))
    return answer


def printed(errand: Errand) -> bytes:
    with closing(errand.start(ANY)) as child:
        assert ended(child, within=30) == 0
        return os.read(child.stdout, 65536)


def test_a_machine_has_no_internet_and_ends_by_itself_when_nobody_is_heard(provider: Provider) -> None:
    new = made(provider)
    asked = provider.asked(new["id"])
    assert (asked["allow_internet_access"], asked["templateID"], asked["timeout"]) == (False, "base", 1800)
    assert new["url"] == f"https://3000-{new['id']}.e2b.test"
    e2b.kill(provider.account, new["id"])
    e2b.kill(provider.account, new["id"])
    assert new["id"] not in provider.machines()


def test_what_a_command_reads_is_sent_once_and_what_it_writes_is_brought_back(
    sandbox: E2B, machine: Machine, marked: Marked, tmp_path_factory: pytest.TempPathFactory
) -> None:
    read = tmp_path_factory.mktemp("read")
    (read / "in").write_bytes(b"\x00\xff\n")
    (marked.folder / "mine").write_text("before")
    copy = marked.command("sh", "-c", f"cat {read}/in mine > out; rm mine; cat out")
    command = Command(argv=copy.argv, cwd=copy.cwd, env=copy.env, reads=(read,))
    with closing(sandbox.start(command)) as child:
        assert ended(child) == 0
        assert os.read(child.stdout, 100) == b"\x00\xff\nbefore"
    assert sorted(path.name for path in marked.folder.iterdir()) == ["mine"]
    assert outcome(sandbox, marked.shell("ls"))[1] == "out\n"

    printed(e2b.fetching(machine, marked.folder / "out", largest=9))
    assert (marked.folder / "out").read_bytes() == b"\x00\xff\nbefore"


def test_a_host_that_is_not_there_hangs_up(sandbox: E2B, marked: Marked) -> None:
    program = (CONNECT, "print(s.recv(1))", CONNECT, "print(s.recv(1))")
    command = relayed(marked.python(*program), marked.folder / "no-such.sock")
    assert outcome(sandbox, command)[:2] == (0, "b''\nb''\n")


def test_an_answer_larger_than_any_buffer_arrives_whole_at_who_reads_it_late(sandbox: E2B, marked: Marked) -> None:
    program = (CONNECT, "time.sleep(0.5)", READ_ALL, "print(len(read()))")
    with answers(lambda connection: connection.sendall(b"x" * 3_000_000)) as path:
        assert outcome(sandbox, relayed(marked.python(*program), path))[:2] == (0, "3000000\n")


def test_a_result_that_is_too_large_is_refused(sandbox: E2B, machine: Machine, marked: Marked) -> None:
    outcome(sandbox, marked.shell("head -c 1000 /dev/zero > large"))
    fetching = e2b.fetching(machine, marked.folder / "large", largest=999)
    with closing(fetching.start(ANY)) as child, pytest.raises(CommandFailed, match="is larger than 999 bytes"):
        ended(child, within=30)


def test_no_output_is_lost_or_changed_on_its_way(sandbox: E2B, marked: Marked) -> None:
    lines = ("out = sys.stdout.buffer", "out.write(bytes(range(256)) * 4000)", "out.flush()", "os.write(2, b'\\xff')")
    with closing(sandbox.start(replace(marked.python(*lines), tail=True))) as child:
        assert ended(child) == 0
        assert os.pread(child.stdout, 2_000_000, 0) == bytes(range(256)) * 4000
        assert os.read(child.stderr, 10) == b"\xff"


def test_the_key_is_in_no_argument_or_environment_of_any_process(sandbox: E2B, marked: Marked) -> None:
    with closing(sandbox.start(marked.shell("echo up; sleep 60"))) as child:
        assert eventually(lambda: len(marked.alive()) >= 2, within=20)
        key = sandbox._machine.account.key.encode()
        for process in Path("/proc").glob("[0-9]*"):
            try:
                seen = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
            except OSError:
                continue
            assert key not in seen
        child.close()


WORKER = """
import sys, time
from pathlib import Path
from tests.support.processes import Marked
from worker.sandbox.e2b import Account, E2B, Machine
url, key, machine, mark, folder = sys.argv[1:]
marked = Marked(Path(folder))
marked.mark = mark
sandbox = E2B(Machine(Account(key=key, api_url=url, sandbox_url=url), machine), writable=[marked.folder])
child = sandbox.start(marked.python("time.sleep(60)"))
time.sleep(60)
"""


def test_when_the_worker_is_killed_its_program_there_ends(provider: Provider, machine: Machine, marked: Marked) -> None:
    account = provider.account
    arguments = (account.api_url or "", account.key, machine.id, marked.mark, str(marked.folder))
    worker = subprocess.Popen((sys.executable, "-c", WORKER, *arguments))
    try:
        assert eventually(lambda: len(marked.alive()) >= 2, within=30)
    finally:
        worker.kill()
        worker.wait()
    assert eventually(lambda: not marked.alive(), within=20)


def test_a_provider_that_is_away_or_refuses_the_key_is_no_fault_of_the_program(
    provider: Provider, marked: Marked
) -> None:
    away = pytest.raises(CommandFailed, match="E2B failed: SandboxException: 500: out of order")
    with provider.down(), nothing_left(marked), away:
        printed(e2b.creating(provider.account))
    stranger = e2b.Account(key="e2b_of_nobody", api_url=provider.url, sandbox_url=provider.url)
    with pytest.raises(CommandFailed, match="AuthenticationException"):
        e2b.kill(stranger, "any")


def test_a_machine_that_nobody_waits_for_any_more_is_not_left_behind(provider: Provider) -> None:
    before = provider.machines()
    e2b.creating(provider.account).start(ANY).close()
    assert provider.machines() == before


def test_a_machine_that_is_ended_meanwhile_is_told(provider: Provider, marked: Marked) -> None:
    machine = Machine(provider.account, made(provider)["id"])
    with closing(E2B(machine, writable=[marked.folder]).start(marked.shell("echo up; sleep 60"))) as child:
        assert eventually(lambda: len(marked.alive()) >= 2, within=30)
        e2b.kill(provider.account, machine.id)
        with pytest.raises(CommandFailed, match="E2B failed"):
            ended(child, within=30)
