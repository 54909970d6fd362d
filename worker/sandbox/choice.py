"""Which sandbox this host has: checked once by really running a program in it, and told in sentences."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from functools import cache
from pathlib import Path
from time import monotonic, sleep
from typing import Literal

from worker.errors import CommandFailed
from worker.sandbox import cgroup, e2b
from worker.sandbox.base import Sandbox
from worker.sandbox.bubblewrap import COUNTED_APART, Bubblewrap, release
from worker.sandbox.command import Command
from worker.sandbox.process import ProcessSandbox

Setting = Literal["bubblewrap", "process", "e2b"]

OLDEST = (0, 8)
"""The first bubblewrap with --disable-userns and --size."""
INSTALL = "apt-get install bubblewrap (Debian, Ubuntu) or dnf install bubblewrap (Fedora)"
REFUSALS = {
    "kernel/unprivileged_userns_clone": ("0", "sysctl kernel.unprivileged_userns_clone=1"),
    "kernel/apparmor_restrict_unprivileged_userns": ("1", "sysctl kernel.apparmor_restrict_unprivileged_userns=0"),
    "user/max_user_namespaces": ("0", "sysctl user.max_user_namespaces=10000"),
}
"""Settings of the kernel that keep users from namespaces of their own: the value that does, and what undoes it."""
CONTAINER = "in a container, let it make user namespaces (Docker: --security-opt seccomp=… and systempaths=unconfined)"
PATIENCE = 20.0
"""Seconds for the trial."""
ROUND = 0.005
"""Seconds between two looks whether it is over."""


def sandbox(setting: Setting | None, *, writable: Sequence[Path] = (), processes: int, memory: int | None) -> Sandbox:
    """
    The sandbox that CODINGIT_SANDBOX asks for; where it is not set, bubblewrap if that works here.

    Of E2B only the promise: a machine is made for a run.

    Raises:
        CommandFailed: bubblewrap or E2B is asked for, and does not work here.
    """
    if setting == "e2b":
        if lacking := e2b.fault():
            raise CommandFailed(lacking)
        return e2b.Promised()
    why = None if setting == "process" else fault()
    if setting == "bubblewrap" and why:
        raise CommandFailed(why)
    if setting == "process" or why:
        return ProcessSandbox()
    return Bubblewrap(writable=writable, processes=processes, memory=memory)


@cache
def fault() -> str | None:
    """Why no sandbox that isolates can be had here, in sentences that say what to do; None where it can."""
    if sys.platform != "linux":
        return "Only Linux has the sandbox that isolates (bubblewrap)."
    if shutil.which("bwrap") is None:
        return f"The sandbox needs bubblewrap: {INSTALL}."
    if missing := [program for program in ("prlimit", "env") if shutil.which(program) is None]:
        return f"The sandbox needs {' and '.join(missing)}: install util-linux and coreutils."
    if (there := version()) < OLDEST:
        return f"bubblewrap {shown(there)} is too old: install {shown(OLDEST)} or newer."
    return refusal()


def told() -> tuple[str, ...]:
    """What operators should know of the sandbox on this host, a sentence each."""
    if why := fault():
        return (why,)
    apart = os.geteuid() != 0 and release() >= COUNTED_APART
    counted = cgroup.counted()
    lines = [f"bubblewrap {shown(version())} works."]
    if "pids" not in counted and not apart:
        lines.append(
            "Its processes are not counted: run the worker as an ordinary user, or let it make control groups."
        )
    if "memory" not in counted:
        lines.append("Its memory is not bounded as a whole: let the worker make control groups, as by Delegate=yes.")
    return tuple(lines)


def refusal() -> str | None:
    """What comes of it when the least program there is runs in the sandbox; None if that goes well."""
    until = monotonic() + PATIENCE
    with closing(Bubblewrap(writable=()).start(Command(argv=("true",), cwd=Path("/")))) as child:
        try:
            while (code := child.poll()) is None and monotonic() < until:
                sleep(ROUND)
        except CommandFailed:
            last = os.read(child.stderr, 65536).decode(errors="replace").strip().rpartition("\n")[2]
            return f"bubblewrap does not work here ({last}): {remedy()}."
    return None if code == 0 else f"bubblewrap does not work here (exit code {code}): {remedy()}."


def remedy() -> str:
    """What may help here."""
    for name, (value, undo) in REFUSALS.items():
        path = Path("/proc/sys", name)
        if path.exists() and path.read_text().strip() == value:
            return undo
    return CONTAINER


def version() -> tuple[int, ...]:
    """The version of bubblewrap."""
    said = subprocess.run(("bwrap", "--version"), capture_output=True, text=True, check=False).stdout
    return tuple(int(part) for part in re.findall(r"[0-9]+", said)[:2])


def shown(number: tuple[int, ...]) -> str:
    """A version as people write it."""
    return ".".join(map(str, number))
