"""git on the host: its environment, its configuration, and the token that only its network steps are given."""

import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from worker.errors import CommandFailed
from worker.repository import Credential, Repository
from worker.sandbox.command import Command, Completed

Run = Callable[[Command], Completed]
"""Runs a command to its end; a program that is not there is answered with exit code 127."""

OLDEST = (2, 37)
"""The first git with http.curloptResolve, without which a name could resolve otherwise after it was checked."""

MEMORY = 1536 * 2**20
"""Bytes of data a git may have here: a few megabytes of an answer, deflated, can ask for any number."""

MISSING = 127
PATHS = "/usr/local/bin:/usr/bin:/bin"

ENVIRONMENT = {
    "LC_ALL": "C",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
}
"""What every git of ours runs with, on the host and in a sandbox."""

CONFIG = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "credential.helper": "",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "submodule.recurse": "false",
    "advice.detachedHead": "false",
}

HARMLESS = (
    "badTimezone",
    "badDateOverflow",
    "badEmail",
    "badTagName",
    "badFilemode",
    "gitmodulesParse",
    "gitmodulesMissing",
    "missingEmail",
    "missingNameBeforeEmail",
    "missingSpaceBeforeDate",
    "missingSpaceBeforeEmail",
    "missingTaggerEntry",
    "multipleAuthors",
    "nulInCommit",
    "zeroPaddedDate",
    "zeroPaddedFilemode",
)
"""Faults that old tools left in the history of well-known repositories, and that endanger nobody."""

NETWORK = {
    "http.followRedirects": "false",
    # Silence, not slowness: a server that counts objects for minutes sends five bytes every five seconds.
    "http.lowSpeedLimit": "1",
    "http.lowSpeedTime": "60",
    "protocol.version": "2",
    "transfer.fsckObjects": "true",
    "fetch.unpackLimit": "1",  # all of a fetch is one pack, however small
    **{f"fetch.fsck.{fault}": "ignore" for fault in HARMLESS},
}

ASKPASS = """#!/bin/sh
# Answers git's own question only: a proxy that asks for a password gets none.
case "$1" in
    Username*"//$CODINGIT_GIT_HOST'"*) printf '%s\\n' "$CODINGIT_GIT_USERNAME" ;;
    Password*"@$CODINGIT_GIT_HOST'"*) printf '%s\\n' "$CODINGIT_GIT_TOKEN" ;;
    *) exit 1 ;;
esac
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """git on this machine, for one repository, in a folder that only the worker can reach."""

    run: Run = field(repr=False)
    folder: Path
    """This run's own, private to the worker's user; the mirror and the quarantine are made in it."""
    repository: Repository
    credential: Credential | None = None
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    """What git needs besides to reach the network: proxies, certificate authorities."""
    memory: int = MEMORY
    """In bytes, for each process of git."""

    def local(self, *arguments: str, stdin: bytes = b"") -> Completed:
        """Run git without network or token; the caller judges how it ended."""
        return self._git(arguments, env=configured(CONFIG) | {"GIT_ALLOW_PROTOCOL": ""}, stdin=stdin)

    def checked(self, *arguments: str, stdin: bytes = b"") -> str:
        """The output of a local git that has no reason to fail but a full disk or a fault of ours."""
        completed = self.local(*arguments, stdin=stdin)
        if completed.returncode != 0:
            raise CommandFailed(
                f"git {arguments[0]} failed: {completed.stderr.decode(errors='replace').strip()[-300:]}"
            )
        return completed.stdout.decode(errors="replace").strip()

    def network(self, *arguments: str, trace: Mapping[str, str] = MappingProxyType({})) -> Completed:
        """Run git with the network and the token of this run; the caller judges how it ended."""
        return self._git(arguments, env={**self.env, **self._network_environment(), **trace}, stdin=b"")

    def _git(self, arguments: tuple[str, ...], *, env: Mapping[str, str], stdin: bytes) -> Completed:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        base = ENVIRONMENT | {"PATH": path(), "HOME": str(self.folder)}
        # The run's folder, which the agent's is in too, lies above: a git that no --git-dir leads must not look there.
        base |= {"GIT_DIR": str(self.folder / "none.git"), "GIT_CEILING_DIRECTORIES": str(self.folder.parent)}
        argv, every = ("git", *arguments), base | dict(env)
        return present(self.run(Command(argv=argv, cwd=self.folder, env=every, stdin=stdin, memory=self.memory)))

    def _network_environment(self) -> dict[str, str]:
        pin = {"http.curloptResolve": self.repository.pin} if self.repository.pin else {}
        env = configured(CONFIG | NETWORK | pin) | {"GIT_ALLOW_PROTOCOL": self.repository.scheme}
        return env | self._secrets(self.credential) if self.credential else env

    def _secrets(self, credential: Credential) -> dict[str, str]:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        script = self.folder / "askpass"
        if not script.exists():
            script.touch(mode=0o700)
            script.write_text(ASKPASS, encoding="utf-8")
        return {
            "GIT_ASKPASS": str(script),
            "CODINGIT_GIT_HOST": self.repository.netloc,
            "CODINGIT_GIT_USERNAME": credential.username,
            "CODINGIT_GIT_TOKEN": credential.token,
        }


def version(run: Run, folder: Path) -> tuple[int, int]:
    """
    The version of the git on this machine.

    Raises:
        CommandFailed: there is none, or it is too old.
    """
    completed = present(run(Command(argv=("git", "--version"), cwd=folder, env=ENVIRONMENT | {"PATH": path()})))
    found = re.match(rb"git version ([0-9]+)\.([0-9]+)", completed.stdout)
    if completed.returncode != 0 or not found:
        raise CommandFailed("git does not tell its version: check `git --version`.")
    major, minor = int(found[1]), int(found[2])
    if (major, minor) < OLDEST:
        raise CommandFailed(f"git {major}.{minor} is too old: install git {OLDEST[0]}.{OLDEST[1]} or newer.")
    return major, minor


def present(completed: Completed) -> Completed:
    """The same, unless it tells that there is no git."""
    if completed.returncode == MISSING:
        raise CommandFailed("git is not installed here: install git 2.37 or newer.")
    return completed


def path() -> str:
    """Where programs are looked for: beside the git that we found, then in the usual places."""
    found = shutil.which("git")
    return f"{Path(found).parent}:{PATHS}" if found else PATHS


def configured(config: Mapping[str, str]) -> dict[str, str]:
    """The environment that sets this configuration over every file."""
    env = {"GIT_CONFIG_COUNT": str(len(config))}
    for number, (key, value) in enumerate(config.items()):
        env |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return env
