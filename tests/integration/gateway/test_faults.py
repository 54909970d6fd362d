"""When the provider, the network, the run or the worker fails in the middle."""

import asyncio
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from aiohttp import web

from tests.integration.gateway.conftest import HELLO, KEY, Inside, Open
from tests.integration.gateway.provider import Provider, event, events, message, serving, whole
from tests.support.processes import eventually
from worker.gateway import config
from worker.gateway.config import Caps
from worker.gateway.keys import Access
from worker.run import gateway
from worker.settings import Settings


@pytest.mark.parametrize("status", [400, 403, 404, 429, 500, 529])
def test_an_error_of_the_provider_comes_through_as_it_is(inside: Inside, provider: Provider, status: int) -> None:
    said = {"type": "error", "error": {"type": "some_error", "message": "It is so."}}
    provider.answer = whole(said, status=status, headers={"retry-after": "7"})

    answer = inside.post()

    assert (answer.status_code, answer.json()) == (status, said)
    assert answer.headers["retry-after"] == "7"
    assert inside.used().statuses == {str(status): 1}


def test_a_key_that_the_provider_refuses_is_told_without_its_words(inside: Inside, provider: Provider) -> None:
    provider.answer = whole({"error": {"message": "Incorrect API key provided: sk-real-****cdef"}}, status=401)

    answer = inside.post()

    assert answer.status_code == 401
    assert answer.json()["error"]["message"] == "The provider refused the key that this worker has for it."


def test_an_error_that_does_not_end_is_told_in_short(inside: Inside, provider: Provider) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=500)
        await response.prepare(request)
        while True:
            await response.write(b"x" * 10_000)

    provider.answer = endless

    answer = inside.post()

    assert (answer.status_code, answer.json()["error"]["message"]) == (500, "The provider answered with status 500.")
    assert provider.left.wait(10)


def test_a_provider_that_is_not_there_is_a_passing_fault(inside: Inside, provider: Provider, opened: Open) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        provider.url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
    answer = opened().post()

    assert answer.status_code == 502
    assert answer.json()["error"]["type"] == "api_error"
    assert inside.used().tokens == 0


def test_a_stream_that_breaks_off_does_not_look_complete(inside: Inside, provider: Provider) -> None:
    async def reset(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(event({"type": "ping"}))
        assert request.transport
        request.transport.abort()
        return response

    provider.answer = reset

    with pytest.raises(httpx.RemoteProtocolError):
        inside.post()
    assert eventually(lambda: inside.used().estimated == 1)
    provider.answer = message(input_tokens=1)
    assert inside.post().status_code == 200


def test_a_provider_that_says_nothing_is_given_up(tmp_path: Path, provider: Provider) -> None:
    """The real patience is ten minutes; this gateway is told of a shorter one."""

    async def silent(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(60)
        raise AssertionError

    provider.answer = silent
    model = config.Model(provider="anthropic", key=KEY, upstream=provider.url, token="t", socket="s", silence=0.5)
    told = config.written(config.Config(counters="c", model=model))
    with subprocess.Popen(
        (sys.executable, "-I", "-m", "worker.gateway"), cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(told)
        process.stdin.close()
        assert process.stdout.readline() == b"ready\n"
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(tmp_path / "s")), timeout=20) as client:
            answer = client.post("http://model/v1/messages", json=HELLO, headers={"x-api-key": "t"})
        process.terminate()

    assert answer.status_code == 504
    assert provider.left.wait(10)


def test_a_client_that_leaves_while_the_provider_thinks_is_not_waited_for(inside: Inside, provider: Provider) -> None:
    async def thinking(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(60)
        raise AssertionError

    provider.answer = thinking
    with pytest.raises(httpx.ReadTimeout):
        inside.client.post("/v1/messages", json=HELLO, headers={"x-api-key": inside.token}, timeout=0.5)

    assert provider.left.wait(10)
    assert eventually(lambda: inside.used().estimated == 1)


def test_a_compressed_answer_that_could_not_be_read_is_refused(inside: Inside, provider: Provider) -> None:
    provider.answer = whole({}, headers={"Content-Encoding": "x-strange"})

    assert inside.post().status_code == 502
    assert provider.asked[0].headers["Accept-Encoding"] == "identity"


def test_a_client_that_does_not_read_stops_the_provider_and_not_the_others(inside: Inside, provider: Provider) -> None:
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        while True:
            await response.write(b"data: " + b"x" * 10**5 + b"\n\n")
            sent += 10**5

    provider.answer = endless
    with inside.client.stream("POST", "/v1/messages", json=HELLO, headers={"x-api-key": inside.token}) as answer:
        next(answer.iter_raw())
        provider.answer = message(input_tokens=1)
        assert all(inside.post().status_code == 200 for _ in range(20))
        assert sent < 30 * 10**6

    assert provider.left.wait(10)


def test_everything_ends_with_the_run_also_in_the_middle_of_an_answer(provider: Provider, tmp_path: Path) -> None:
    provider.answer = events(*[{"type": "ping"}] * 1000, pause=0.1)
    with gateway.opened(
        Settings(_env_file=None), tmp_path, access=access(provider), caps=Caps(), watch=lambda: None
    ) as made:
        assert made
        client = httpx.Client(transport=httpx.HTTPTransport(uds=str(made.model)), timeout=20)
        stream = client.stream("POST", "http://m/v1/messages", json=HELLO, headers={"x-api-key": made.token})
        answer = stream.__enter__()
        next(answer.iter_raw())

    assert provider.left.wait(10)
    assert not made.lives
    assert [path.name for path in tmp_path.iterdir()] == ["counters.json"]
    assert (made.used().requests, made.used().estimated) == (1, 1)
    client.close()


def test_nothing_is_left_when_the_worker_is_killed(provider: Provider, tmp_path: Path) -> None:
    program = f"""
import os, signal
from pathlib import Path
from worker.run import gateway
from worker.gateway.config import Caps
from worker.gateway.keys import Access
from worker.settings import Settings
access = Access(provider="anthropic", key="{KEY}", upstream="{provider.url}")
with gateway.opened(Settings(_env_file=None), Path({str(tmp_path)!r}), access=access, caps=Caps(), watch=lambda: None):
    print("open", flush=True)
    signal.pause()
"""
    with subprocess.Popen((sys.executable, "-c", program), stdout=subprocess.PIPE) as worker:
        assert worker.stdout
        assert worker.stdout.readline() == b"open\n"
        running = gateways(tmp_path)
        worker.send_signal(signal.SIGKILL)

    assert running
    assert eventually(lambda: not gateways(tmp_path))
    assert not list(tmp_path.glob("*.sock"))


def test_a_gateway_that_dies_is_noticed_and_its_last_count_stands(inside: Inside, tmp_path: Path) -> None:
    inside.post()
    assert eventually(lambda: inside.used().requests == 1)
    for pid in gateways(inside.gateway.folder):
        os.kill(pid, signal.SIGKILL)

    assert eventually(lambda: not inside.gateway.lives)
    assert inside.used().requests == 1


def test_the_provider_s_certificate_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    request = ("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    names = ("-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2")
    subprocess.run((*request, *names, "-keyout", key, "-out", certificate), check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    with serving(Provider(answer=message(input_tokens=1)), tls) as provider:
        unknown = once(provider, tmp_path / "1")
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        known = once(provider, tmp_path / "2")

    assert (unknown, known) == (502, 200)
    assert len(provider.asked) == 1


def once(provider: Provider, folder: Path) -> int:
    """The status of one request through a gateway of its own."""
    with gateway.opened(
        Settings(_env_file=None), folder, access=access(provider), caps=Caps(), watch=lambda: None
    ) as made:
        assert made
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(made.model)), timeout=20) as client:
            answer = client.post("http://m/v1/messages", json=HELLO, headers={"x-api-key": made.token})
            assert json.loads(answer.content)
            return answer.status_code


def access(provider: Provider) -> Access:
    return Access(provider="anthropic", key=KEY, upstream=provider.url)


def gateways(folder: Path) -> list[int]:
    """The processes of gateways that work in that folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if b"worker.gateway" in (process / "cmdline").read_bytes() and (process / "cwd").readlink() == folder:
                found.append(int(process.name))
        except OSError:
            continue
    return found
