"""What passes the gateway, and what does not."""

import json
import socket
import subprocess
from pathlib import Path

import pytest

from tests.integration.gateway.conftest import HELLO, KEY, Inside, Open
from tests.integration.gateway.provider import Provider, events, whole

OTHERS = [
    ("POST", "/v1/messages/batches"),
    ("POST", "/v1/files"),
    ("GET", "/v1/messages"),
    ("POST", "/v1/models"),
    ("GET", "/v1/organizations/api_keys"),
    ("DELETE", "/v1/models/x"),
    ("POST", "/v1/messages/"),
    ("POST", "//v1/messages"),
    ("POST", "/v1/x/../messages"),
    ("POST", "/v1/%6dessages"),
    ("GET", "/v1/models/..%2f..%2ffiles"),
    ("GET", "/"),
    ("CONNECT", "/v1/messages"),
]


def test_a_request_reaches_the_provider_with_the_real_key_and_without_the_token(
    inside: Inside, provider: Provider
) -> None:
    answer = inside.post()

    assert answer.json()["content"] == [{"type": "text", "text": "Hello"}]
    (asked,) = provider.asked
    assert json.loads(asked.body) == HELLO
    assert asked.headers["x-api-key"] == KEY
    assert inside.token not in str(asked)


@pytest.mark.parametrize(
    "shown",
    [
        {"x-api-key": "{token}"},
        {"Authorization": "Bearer {token}"},
        {"authorization": "bearer {token}"},
        {"x-goog-api-key": "{token}"},
    ],
)
def test_the_token_is_taken_wherever_a_client_shows_its_key(inside: Inside, shown: dict[str, str]) -> None:
    headers = {name: value.format(token=inside.token) for name, value in shown.items()}

    assert inside.client.post("/v1/messages", json=HELLO, headers=headers).status_code == 200


def test_the_token_is_taken_from_the_address_and_does_not_go_on(inside: Inside, provider: Provider) -> None:
    answer = inside.client.post(f"/v1/messages?beta=true&key={inside.token}&access_token=x", json=HELLO)

    assert answer.status_code == 200
    assert provider.asked[0].path == "/v1/messages?beta=true"


@pytest.mark.parametrize("shown", [{}, {"x-api-key": ""}, {"x-api-key": "wrong"}, {"Authorization": "Basic {token}"},
                                   {"x-api-key": KEY}, {"x-api-key": "é"}])  # fmt: skip
def test_without_the_token_nothing_passes(inside: Inside, provider: Provider, shown: dict[str, str]) -> None:
    headers = {name.encode(): value.format(token=inside.token).encode() for name, value in shown.items()}

    answer = inside.client.post("/v1/messages", json=HELLO, headers=headers)

    assert answer.status_code == 401
    assert answer.json()["error"]["type"] == "authentication_error"
    assert provider.asked == []
    assert inside.used().refused == 1


@pytest.mark.parametrize(("method", "path"), OTHERS)
def test_nothing_but_the_paths_of_models_passes(inside: Inside, provider: Provider, method: str, path: str) -> None:
    """Written to the socket by hand: a client would tidy some of these paths up."""
    status, body = by_hand(inside, f"{method} {path} HTTP/1.1", "Content-Length: 0")

    assert status in {400, 403}
    assert status == 400 or json.loads(body)["error"]["type"] == "permission_error"
    assert provider.asked == []


def test_the_address_of_the_request_line_and_its_host_lead_nowhere_else(inside: Inside, provider: Provider) -> None:
    body = json.dumps(HELLO)
    length = f"Content-Length: {len(body)}"

    refused, _ = by_hand(inside, "POST http://elsewhere.example/v1/messages HTTP/1.1", length, body=body)
    passed, _ = by_hand(inside, "POST /v1/messages HTTP/1.1", "X-Forwarded-Host: elsewhere.example", length, body=body)

    assert (refused, passed) == (403, 200)
    (asked,) = provider.asked
    assert asked.headers["Host"] == provider.url.removeprefix("http://")
    assert "elsewhere" not in str(asked)


@pytest.mark.parametrize(
    "smuggled",
    [
        ("Content-Length: 4", "Transfer-Encoding: chunked"),
        ("Content-Length: 4", "Content-Length: 40"),
        ("Transfer-Encoding: xchunked",),
        ("Transfer-Encoding : chunked",),
        ("Content-Length: +4",),
    ],
)
def test_a_request_that_could_be_read_in_two_ways_reaches_nobody(
    inside: Inside, provider: Provider, smuggled: tuple[str, ...]
) -> None:
    second = f"POST /v1/files HTTP/1.1\r\nHost: x\r\nx-api-key: {inside.token}\r\n\r\n"

    status, _ = by_hand(inside, "POST /v1/messages HTTP/1.1", *smuggled, body=f"0\r\n\r\n{second}")

    assert status == 400
    assert [asked.path for asked in provider.asked] == []


def test_what_belongs_to_one_hop_or_to_an_account_goes_no_further(inside: Inside, provider: Provider) -> None:
    inside.post(
        **{
            "Connection": "close, X-Hop",
            "X-Hop": "1",
            "Proxy-Authorization": "Basic x",
            "Cookie": "session=1",
            "OpenAI-Organization": "org-other",
            "Authorization": "Bearer of-the-caller",
            "anthropic-version": "2023-06-01",
            "anthropic-beta": "one,two",
        }
    )

    (asked,) = provider.asked
    names = {name.lower() for name in asked.headers}
    assert names.isdisjoint({"x-hop", "proxy-authorization", "cookie", "openai-organization", "authorization"})
    assert asked.headers["anthropic-version"] == "2023-06-01"
    assert asked.headers["anthropic-beta"] == "one,two"


def test_of_the_provider_s_headers_those_come_back_that_a_client_needs(inside: Inside, provider: Provider) -> None:
    provider.answer = whole({}, headers={"request-id": "r1", "Set-Cookie": "a=b", "X-Echo": KEY})

    answer = inside.post()

    assert answer.headers["request-id"] == "r1"
    assert "set-cookie" not in answer.headers
    assert KEY not in str(answer.headers)


def test_a_stream_comes_piece_by_piece_and_byte_by_byte_as_it_was(inside: Inside, provider: Provider) -> None:
    """The provider sends its next event only after a client could have read the one before."""
    said = [{"type": "ping", "number": number} for number in range(4)]
    provider.answer = events(*said, b": a comment\r\n", b"data: no json\n\ndata:", b'{"usage": 1}\n\n', pause=0.2)

    with inside.client.stream("POST", "/v1/messages", json=HELLO, headers={"x-api-key": inside.token}) as answer:
        pieces = list(answer.iter_raw())

    assert len(pieces) >= 5
    assert b"".join(pieces).endswith(b': a comment\r\ndata: no json\n\ndata:{"usage": 1}\n\n')
    assert answer.headers["content-type"] == "text/event-stream"


def test_redirects_are_not_followed(inside: Inside, provider: Provider) -> None:
    provider.answer = whole({}, status=307, headers={"Location": f"{provider.url}/v1/files"})

    answer = inside.post()

    assert answer.status_code == 502
    assert "location" not in answer.headers
    assert len(provider.asked) == 1


def test_a_request_may_not_be_of_any_size(inside: Inside, provider: Provider) -> None:
    answer = inside.post(body={"messages": "x" * 33 * 10**6})

    assert answer.status_code == 413
    assert answer.json()["error"]["type"] == "request_too_large"
    assert provider.asked == []


@pytest.mark.parametrize(
    ("name", "path", "body"),
    [
        ("anthropic", "/v1/messages", {"mcp_servers": [{"url": "https://elsewhere.example"}]}),
        ("anthropic", "/v1/messages", {"tools": [{"type": "web_fetch_20250910", "name": "web_fetch"}]}),
        ("openai", "/v1/responses", {"tools": [{"type": "mcp", "server_url": "https://elsewhere.example"}]}),
        ("openai", "/v1/responses", {"background": True}),
        ("google", "/v1beta/models/gemini-x:generateContent", {"tools": [{"urlContext": {}}]}),
    ],
)
def test_the_provider_is_not_sent_where_the_run_may_not_go(
    opened: Open, provider: Provider, name: str, path: str, body: object
) -> None:
    assert opened(name).post(path, body).status_code == 403
    assert provider.asked == []


@pytest.mark.parametrize(
    ("name", "path", "header"),
    [
        ("openai", "/v1/responses", ("Authorization", f"Bearer {KEY}")),
        ("openai", "/v1/chat/completions", ("Authorization", f"Bearer {KEY}")),
        ("google", "/v1beta/models/gemini-x.1:streamGenerateContent?alt=sse", ("x-goog-api-key", KEY)),
    ],
)
def test_each_provider_is_shown_the_key_in_its_own_way(
    opened: Open, provider: Provider, name: str, path: str, header: tuple[str, str]
) -> None:
    inside = opened(name)

    assert inside.post(path, {"model": "x"}).status_code == 200
    (asked,) = provider.asked
    assert (asked.path, asked.headers[header[0]]) == (path, header[1])
    assert inside.token not in str(asked)


def test_a_path_before_the_api_s_own_is_kept(opened: Open, provider: Provider) -> None:
    provider.url += "/proxy/anthropic"

    assert opened().post().status_code == 200
    assert provider.asked[0].path == "/proxy/anthropic/v1/messages"


def test_the_key_is_in_no_argument_environment_or_file_of_the_gateway(inside: Inside, tmp_path: Path) -> None:
    """What a program of the same host could read without being allowed to debug it."""
    inside.post()
    listed = subprocess.run(("ps", "-eo", "args"), capture_output=True, text=True, check=True).stdout
    gateways = [each for each in Path("/proc").glob("[0-9]*/cmdline") if b"worker.gateway" in read(each)]
    environments = [read(each.with_name("environ")) for each in gateways]

    assert gateways
    assert KEY not in listed
    assert KEY.encode() not in b"".join(environments)
    assert [path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()] == []


def test_nothing_that_the_run_can_read_holds_the_key(inside: Inside, provider: Provider) -> None:
    """Answers, errors of the provider that repeat it, and errors of the gateway."""
    answers = [inside.post()]
    for status in (400, 401, 403, 429, 500):
        provider.answer = whole({"error": f"the key {KEY} is wrong"}, status=status, headers={"X-Key": KEY})
        answers.append(inside.post())
    answers += [inside.post("/v1/other"), inside.client.get("/")]

    assert [answer.status_code for answer in answers] == [200, 400, 401, 403, 429, 500, 403, 401]
    assert KEY not in str([(answer.headers, answer.text) for answer in answers])


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def by_hand(inside: Inside, line: str, *headers: str, body: str = "") -> tuple[int, bytes]:
    """One request as it is; the status and the body of its answer."""
    lines = [line, "Host: model", f"x-api-key: {inside.token}", "Connection: close", *headers, "", body]
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(str(inside.gateway.model))
        connection.sendall("\r\n".join(lines).encode())
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    head, _, rest = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), rest
