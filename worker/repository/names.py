"""
Looks up a host's addresses; run as a program, it prints them, for a worker that must not wait for a name service.

    python -I -S names.py HOST PORT

Exits with 0, with 3 when there is no such host, with 4 when the name service does not answer.
"""

import socket
import sys
from collections.abc import Callable

Lookup = Callable[[str, int], tuple[str, ...]]
"""Answers every address of a host, in the order in which they should be tried. Raises HostUnknown, NamesAway."""
UNKNOWN, AWAY = 3, 4


class HostUnknown(Exception):
    """There is no host of that name."""


class NamesAway(Exception):
    """The name service does not answer now."""


def lookup(host: str, port: int) -> tuple[str, ...]:
    """The addresses, as this process finds them; may take as long as the resolver is patient."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as unknown:
        if unknown.errno in {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}:
            raise HostUnknown from None
        raise NamesAway from None
    except UnicodeError:
        raise HostUnknown from None
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


def main() -> int:
    """Look up what the command line names; the exit code."""
    try:
        print("\n".join(lookup(sys.argv[1], int(sys.argv[2]))))  # noqa: T201 - its answer
    except HostUnknown:
        return UNKNOWN
    except NamesAway:
        return AWAY
    return 0


if __name__ == "__main__":
    sys.exit(main())
