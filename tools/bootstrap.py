"""Makes the checkout's virtual environment from a lock, with nothing but the standard library.

    python3 tools/bootstrap.py run|dev|bench

Works where Debian's python3-venv is missing: the environment is then made without pip, and pip's own wheel,
pinned by hash below, is fetched from the package index (PIP_INDEX_URL is respected) and run straight from the file.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import venv
from pathlib import Path

if sys.version_info < (3, 11):  # before any annotation that an old Python does not understand
    sys.exit(f"Python 3.11 or newer is needed, this is {sys.version.split()[0]}. Name another: make PYTHON=python3.12")

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / ".venv"
PYTHON = ENVIRONMENT / "bin" / "python"
PIP_WHEEL = "pip-26.3-py3-none-any.whl"
PIP_SHA256 = "f3b60b20ffaadd4415ed7957212a38ac63fa4c5fa375bd0f4a797777940fad13"


def main() -> None:
    """Make or update `.venv`; a checkout that may not be written is told in a sentence."""
    try:
        bring_to_lock()
    except OSError as fault:
        sys.exit(
            f"The virtual environment {ENVIRONMENT} cannot be made ({fault.strerror or fault}). "
            "It takes room, and a checkout that you may write to."
        )


def bring_to_lock() -> None:
    """Create `.venv` if need be, then bring it to the lock named on the command line."""
    lock = ROOT / "requirements" / f"{sys.argv[1]}.lock"
    pip = environment_with_pip()
    install(pip, "--require-hashes", "--requirement", str(lock))
    install(pip, "--no-deps", "--no-build-isolation", "--editable", str(ROOT))
    (ENVIRONMENT / f"{sys.argv[1]}.stamp").touch()


def environment_with_pip() -> list[str]:
    """The command that runs pip inside `.venv`, which exists afterwards."""
    if not PYTHON.exists():
        print("Making the virtual environment .venv", flush=True)
        venv.create(ENVIRONMENT, clear=True, symlinks=True, with_pip=has_ensurepip())
    if any(ENVIRONMENT.glob("lib/python*/site-packages/pip/__main__.py")):
        return [str(PYTHON), "-m", "pip"]
    return [str(PYTHON), str(fetched_pip() / "pip")]


def has_ensurepip() -> bool:
    """Whether this Python can put pip into an environment by itself (Debian splits that off)."""
    try:
        import ensurepip

        return bool(ensurepip.version())
    except Exception:
        return False


def fetched_pip() -> Path:
    """pip's wheel, from the package index, checked against its hash; a wheel runs as it is."""
    wheel = ENVIRONMENT / PIP_WHEEL
    if not wheel.exists():
        content = download(wheel_address())
        if hashlib.sha256(content).hexdigest() != PIP_SHA256:
            sys.exit(f"{PIP_WHEEL} from the package index is not the file that was pinned: not used.")
        wheel.write_bytes(content)
    return wheel


def wheel_address() -> str:
    """Where the index keeps the pinned wheel."""
    index = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/") + "/pip/"
    listing = json.loads(download(index))
    for file in listing["files"]:
        if file["filename"] == PIP_WHEEL:
            return urllib.parse.urljoin(index, file["url"])
    sys.exit(
        f"{index} has no {PIP_WHEEL}. Install pip for this Python (Debian: apt install python3-venv) and try again."
    )


def download(address: str) -> bytes:
    """The bytes at `address`; says what to do when the index cannot be reached."""
    request = urllib.request.Request(address, headers={"Accept": "application/vnd.pypi.simple.v1+json, */*;q=0.1"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return bytes(answer.read())
    except (urllib.error.URLError, TimeoutError) as fault:
        sys.exit(
            f"The package index did not answer ({fault}). Check the network, or set PIP_INDEX_URL to one you can reach."
        )


def install(pip: list[str], *what: str) -> None:
    """Run `pip install` quietly; its own words are shown only when it fails."""
    command = [*pip, "install", "--quiet", "--disable-pip-version-check", "--no-input", *what]
    print("Installing", Path(what[-1]).name, flush=True)
    with tempfile.TemporaryFile() as output:
        if subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT).returncode:
            output.seek(0)
            sys.stderr.write(output.read().decode(errors="replace"))
            sys.exit("The installation failed; pip's reason is above.")


if __name__ == "__main__":
    main()
