"""How a command gets sockets of the host at ports of its loopback: by a program around it; see `relay_program`."""

from pathlib import Path

from worker.sandbox import relay_program
from worker.sandbox.command import Command
from worker.sandbox.python import ISOLATED

PROGRAM = Path(relay_program.__file__).resolve()


def relayed(command: Command) -> tuple[str, ...]:
    """What makes the sockets of the host answer at ports of the sandbox's loopback, for the program that follows."""
    if not command.sockets:
        return ()
    ports = (f"{port}={socket}" for port, socket in command.sockets.items())
    return (*ISOLATED, str(PROGRAM), *ports, "--")
