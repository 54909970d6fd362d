"""A host of another name on this machine, `python -m tests.support.host NAME MODULE …`: Linux, where it may be had."""

import os
import subprocess
import sys

WITHIN = ("unshare", "--map-root-user", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"')


def lacking() -> str | None:
    """Why there is no such host here; None where there is."""
    try:
        tried = subprocess.run([*WITHIN, "elsewhere", "true"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "there is no unshare here"
    return f"no host of another name here: {tried.stderr.strip()}" if tried.returncode else None


if __name__ == "__main__":
    os.execvp(WITHIN[0], [*WITHIN, sys.argv[1], sys.executable, "-m", *sys.argv[2:]])  # noqa: S606 - no shell is wanted
