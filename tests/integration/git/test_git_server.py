"""The loopback server itself: who may read and write, and bodies of every kind."""

import gzip
import os
import random
import subprocess
import urllib.error
import urllib.request
from base64 import b64encode
from pathlib import Path

import pytest

from tests.integration.git.conftest import PRIVATE, SITE, TOKEN, Scene, plain
from worker.local.git_server import serve

FLUSH = b"0000"


def ask(url: str, *, token: str | None = None, **headers: str) -> int:
    """The status of one request."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if token:
        sent["Authorization"] = f"Basic {b64encode(f'anyone:{token}'.encode()).decode()}"
    request = urllib.request.Request(url, headers=sent)  # loopback
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # loopback
            answer.read()
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        with refused:
            asked = refused.headers.get("WWW-Authenticate", "").startswith("Basic")
            return refused.code if asked == (refused.code == 401) else -1


@pytest.mark.parametrize(
    ("name", "service", "token", "status"),
    [
        (SITE, "git-upload-pack", None, 200),
        (SITE, "git-receive-pack", None, 401),
        (SITE, "git-receive-pack", TOKEN, 200),
        (PRIVATE, "git-upload-pack", None, 401),
        (PRIVATE, "git-upload-pack", "wrong", 401),
        (PRIVATE, "git-upload-pack", TOKEN, 200),
        ("acme/nothing.git", "git-upload-pack", None, 401),
        ("acme/nothing.git", "git-upload-pack", TOKEN, 404),
        (f"{SITE}/info/refs/../../../private.git", "git-upload-pack", None, 404),
        (f"{SITE}/%2e%2e/private.git", "git-upload-pack", None, 404),
    ],
)
def test_reading_what_is_public_is_free_and_all_else_takes_the_token(
    scene: Scene, name: str, service: str, token: str | None, status: int
) -> None:
    assert ask(f"{scene.address}/{name}/info/refs?service={service}", token=token) == status


def test_a_scheme_that_is_not_basic_is_no_token(scene: Scene) -> None:
    url = f"{scene.address}/{PRIVATE}/info/refs?service=git-upload-pack"
    for sent in ("Bearer x", "Basic ???", "Basic", TOKEN):
        assert ask(url, Authorization=sent) == 401


@pytest.mark.parametrize("kind", ["plain", "chunked", "gzip", "gzip chunked"])
def test_bodies_of_every_kind_are_understood(scene: Scene, kind: str) -> None:
    want = f"want {scene.head('main')}\n".encode()
    body = b"%04x%s" % (len(want) + 4, want) + FLUSH + b"0009done\n"
    headers = {"Content-Type": "application/x-git-upload-pack-request"}
    if "gzip" in kind:
        body = gzip.compress(body)
        headers["Content-Encoding"] = "gzip"
    sent = iter([body[:20], body[20:]]) if "chunked" in kind else body
    url = f"{scene.address}/{SITE}/git-upload-pack"
    request = urllib.request.Request(url, data=sent, headers=headers)  # loopback
    with urllib.request.urlopen(request, timeout=10) as answer:  # loopback
        assert b"PACK" in answer.read()


def test_a_large_push_and_clone_go_through(scene: Scene, tmp_path: Path) -> None:
    address = scene.address.replace("//", "//ann:tok%2Fen%2Bwith%3Dsigns-0123456789@")
    plain("clone", "--quiet", f"{address}/{SITE}", "one", cwd=tmp_path)
    (tmp_path / "one" / "large").write_bytes(random.Random(3).randbytes(5 * 10**6))  # no secret
    plain("add", ".", cwd=tmp_path / "one")
    plain("commit", "--quiet", "--message", "large", cwd=tmp_path / "one")
    plain("push", "--quiet", "origin", "HEAD:large", cwd=tmp_path / "one")
    plain("clone", "--quiet", "--branch", "large", f"{scene.address}/{SITE}", "two", cwd=tmp_path)
    assert (tmp_path / "two" / "large").stat().st_size == 5 * 10**6


def test_without_a_token_everyone_here_may_write(scene: Scene, tmp_path: Path) -> None:
    with serve(scene.root, token=None) as address:
        plain("clone", "--quiet", f"{address}/{PRIVATE}", "one", cwd=tmp_path)
        plain("push", "--quiet", "origin", "HEAD:copy", cwd=tmp_path / "one")
    assert scene.head("copy", PRIVATE)


def test_nothing_is_left_running(scene: Scene) -> None:
    with serve(scene.root, token=None) as address:
        assert ask(f"{address}/{SITE}/info/refs?service=git-upload-pack") == 200
    children = subprocess.run(
        ("ps", "--ppid", str(os.getpid()), "-o", "args="), capture_output=True, text=True, check=False
    ).stdout
    assert "http-backend" not in children
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(address, timeout=2)  # loopback
