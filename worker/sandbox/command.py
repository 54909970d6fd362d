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


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """How a program ended; `returncode` is 128 + N when signal N ended it, as in a shell."""

    returncode: int
    stdout: bytes = b""
    stderr: bytes = b""
