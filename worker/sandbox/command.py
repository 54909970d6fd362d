"""What is run, and what came of it: the values that agents, git, sandbox and pump hand to each other."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One program to run. Its environment is exactly `env`: nothing of ours is inherited."""

    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    stdin: bytes = b""
    memory: int | None = None
    """How many bytes of data each process of it may have, where the system can tell (Linux); None for any number."""
    largest: int | None = None
    """How many bytes each file may have that it writes, sparse ones too; None for any number."""
    reads: tuple[Path, ...] = ()
    """Files and folders of the host that it must see besides the system; it cannot write them."""
    sockets: Mapping[int, Path] = field(default_factory=dict)
    """Where it reaches programs of the host: a port of its loopback each, and the Unix socket that answers there."""
    tail: bool = False
    """Whether its output is a file that is read as it grows: some programs end without emptying a pipe."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """How a program ended; `returncode` is 128 + N when signal N ended it, as in a shell."""

    returncode: int
    stdout: bytes = b""
    stderr: bytes = b""
