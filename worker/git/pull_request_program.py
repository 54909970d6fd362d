"""
Opens a pull request over GitHub's API, or finds the one that is open; a program, so that a run can end it any time.

    python -I -m worker.git.pull_request_program

Reads one JSON object: api, repository, token, head, base, title, body, draft. Writes one: `url` of the pull request and
whether it was `found`, or `why` there is none, as the end of a sentence.
"""

import json
import signal
import sys
from collections.abc import Mapping
from typing import Any

import httpx

PATIENCE = 60
"""Seconds for all of it; the alarm then ends the program."""
ANSWER = httpx.Timeout(15.0)
NO_RIGHT = frozenset({401, 403, 404})
HEADERS = {
    "Accept": "application/vnd.github+json",
    "X-GitHub-Api-Version": "2022-11-28",
    "User-Agent": "codingit-worker",
}


class Refused(Exception):
    """The host did not do it, and why."""


def opened(asked: Mapping[str, Any], client: httpx.Client) -> dict[str, Any]:
    """The pull request of a branch: the open one, or a new one."""
    if url := existing(asked, client):
        return {"url": url, "found": True}
    answer = created(asked, client, draft=asked["draft"])
    if answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY and asked["draft"] and "draft" in answer.text.lower():
        answer = created(asked, client, draft=False)
    if answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY and (url := existing(asked, client)):
        return {"url": url, "found": True}
    return {"url": content(answer)["html_url"], "found": False}


def existing(asked: Mapping[str, Any], client: httpx.Client) -> str | None:
    """The address of the open pull request of this branch."""
    owner = asked["repository"].partition("/")[0]
    query = {"head": f"{owner}:{asked['head']}", "base": asked["base"], "state": "open"}
    listed = content(client.get(f"/repos/{asked['repository']}/pulls", params=query))
    # A host that does not know the filter lists all of them.
    fitting = [each for each in listed if each["head"]["ref"] == asked["head"]]
    return str(fitting[0]["html_url"]) if fitting else None


def created(asked: Mapping[str, Any], client: httpx.Client, *, draft: bool) -> httpx.Response:
    """The answer to a request for a new one."""
    wanted = {name: asked[name] for name in ("title", "body", "head", "base")} | {"draft": draft}
    return client.post(f"/repos/{asked['repository']}/pulls", json=wanted)


def content(answer: httpx.Response) -> Any:
    """What an answer holds, if it is one that does what was asked."""
    if answer.status_code in NO_RIGHT:
        raise Refused("this worker's token has no right to open one")
    if not answer.is_success:
        raise Refused(f"the repository's host answered with status {answer.status_code}{told(answer)}")
    return answer.json()


def told(answer: httpx.Response) -> str:
    """What the host said about it."""
    try:
        said = answer.json()
        words = [said["message"], *(error["message"] for error in said.get("errors", ()) if "message" in error)]
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""
    return f": {' '.join(map(str, words))[:300]}"


def main() -> None:
    """Do what standard input asks for."""
    signal.alarm(PATIENCE)
    asked = json.loads(sys.stdin.buffer.read())
    admission = {"Authorization": f"Bearer {asked['token']}"}
    try:
        with httpx.Client(base_url=asked["api"], headers=HEADERS | admission, timeout=ANSWER) as client:
            answer = opened(asked, client)
    except Refused as refused:
        answer = {"why": str(refused)}
    except httpx.TransportError:
        answer = {"why": "the repository's host does not answer now"}
    except (ValueError, LookupError, TypeError, httpx.HTTPError):
        answer = {"why": "the repository's host does not speak GitHub's API"}
    print(json.dumps(answer))  # noqa: T201 - its answer


if __name__ == "__main__":
    main()
