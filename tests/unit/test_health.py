"""The health of a process over HTTP, asked on a real socket of the loopback address."""

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from time import monotonic
from typing import Any

import pytest

from worker.errors import CommandFailed
from worker.monitoring.health import NAMES, STALE_AFTER, STUCK_AFTER, Pulse, served


@pytest.fixture
def pulse() -> Pulse:
    """All well just now."""
    fresh = Pulse()
    for name in NAMES:
        fresh.beat(name)
    return fresh


@pytest.fixture
def address(pulse: Pulse) -> Iterator[str]:
    """Where it is served, on a free port."""
    with served(pulse, "127.0.0.1:0") as taken:
        yield taken


def ask(address: str, path: str, *, method: str = "GET") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(address, timeout=5)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def facts(address: str, path: str) -> tuple[int, dict[str, Any]]:
    status, body = ask(address, path)
    return status, json.loads(body)


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/readyz?probe=1"])
def test_a_process_that_is_well_says_so_and_how_old_each_beat_is(address: str, path: str) -> None:
    status, said = facts(address, path)

    assert status == 200
    assert said["ok"] is True
    assert list(said["seconds_since"]) == ["loop", "database", "broker"]
    assert all(age < 5 for age in said["seconds_since"].values())


def test_a_process_that_just_began_is_neither_alive_nor_ready() -> None:
    with served(Pulse(), "127.0.0.1:0") as address:
        assert facts(address, "/healthz")[0] == 503
        assert facts(address, "/readyz") == (
            503,
            {"ok": False, "seconds_since": {"loop": None, "database": None, "broker": None}},
        )


@pytest.mark.parametrize("silent", ["database", "broker"])
def test_a_server_out_of_reach_makes_it_unready_and_leaves_it_alive(address: str, pulse: Pulse, silent: str) -> None:
    pulse.beats[silent] = monotonic() - STALE_AFTER.total_seconds() - 1

    status, said = facts(address, "/readyz")

    assert (status, said["ok"]) == (503, False)
    assert said["seconds_since"][silent] > STALE_AFTER.total_seconds()
    assert facts(address, "/healthz")[0] == 200


def test_a_loop_that_is_stuck_is_not_alive(address: str, pulse: Pulse) -> None:
    pulse.beats["loop"] = monotonic() - STUCK_AFTER.total_seconds() - 1

    assert facts(address, "/healthz")[0] == 503


def test_a_beat_brings_it_back(address: str, pulse: Pulse) -> None:
    pulse.beats["broker"] = monotonic() - STALE_AFTER.total_seconds() - 1
    assert facts(address, "/readyz")[0] == 503

    pulse.beat("broker")

    assert facts(address, "/readyz")[0] == 200


def test_any_other_path_is_answered_with_those_that_exist(address: str) -> None:
    assert facts(address, "/metrics") == (404, {"ok": False, "paths": ["/healthz", "/readyz"]})


def test_a_head_request_is_answered_without_a_body(address: str) -> None:
    assert ask(address, "/healthz", method="HEAD") == (200, b"")


def test_a_port_that_is_taken_is_told_in_a_sentence(address: str, pulse: Pulse) -> None:
    with pytest.raises(CommandFailed) as refused, served(pulse, address):
        pass

    assert str(refused.value) == (
        f"Cannot listen on {address}: Address already in use. Set CODINGIT_HEALTH_ADDRESS to another."
    )


def test_a_host_that_is_not_ours_is_told_in_a_sentence(pulse: Pulse) -> None:
    with pytest.raises(CommandFailed, match=r"Cannot listen on 192\.0\.2\.1:8787: "), served(pulse, "192.0.2.1:8787"):
        pass


def test_it_is_served_on_an_ipv6_address_too(pulse: Pulse) -> None:
    try:
        with served(pulse, "[::1]:0") as address:
            assert facts(address, "/healthz")[0] == 200
    except CommandFailed:
        pytest.skip("this machine has no IPv6")


def test_a_client_that_hangs_up_or_says_nothing_disturbs_nobody(
    address: str, capfd: pytest.CaptureFixture[str]
) -> None:
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port))), socket.create_connection((host, int(port))) as rude:
        rude.sendall(b"GET /healthz HTTP/1.1\r\n")
        rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # hang up by a reset
        rude.close()

        assert facts(address, "/healthz")[0] == 200

    assert capfd.readouterr().err == ""


def test_the_port_is_free_again_also_when_what_ran_meanwhile_failed(pulse: Pulse) -> None:
    with pytest.raises(RuntimeError), served(pulse, "127.0.0.1:0") as address:
        raise RuntimeError

    with served(pulse, address) as again:
        assert again == address
    assert not [thread for thread in threading.enumerate() if thread.name == "health" and thread.is_alive()]
