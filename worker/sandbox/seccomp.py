"""
A filter of system calls: what a coding agent needs none of, and what namespaces do not divide.

The keyrings of the kernel are a user's, in whatever namespace; the others have been the way out of many a sandbox.
Where the machine is neither x86-64 nor ARM64 there is no filter, and namespaces alone isolate.
"""

import errno
import platform
import struct

IO_URING = (425, 426, 427)
NUMBERS = {
    "x86_64": (0xC000003E, (248, 249, 250, 321, 298, 323, *IO_URING)),
    "aarch64": (0xC00000B7, (217, 218, 219, 280, 241, 282, *IO_URING)),
}
"""A machine in the kernel's words; its add_key, request_key, keyctl, bpf, perf_event_open, userfaultfd, io_uring."""
FOREIGN = 0x40000000
"""From here on x86-64 has a second set of numbers for the same calls."""

LOAD, EQUAL, AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06
NUMBER, MACHINE = 0, 4
"""Where in what a filter sees these stand."""
ALLOW, REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM


def refused() -> bytes:
    """The filter as the kernel takes it, which answers those calls with EPERM; empty on another machine."""
    if platform.machine() not in NUMBERS:
        return b""
    machine, numbers = NUMBERS[platform.machine()]
    last = len(numbers) + 5  # where REFUSE stands, which every step but ALLOW jumps to
    steps = [(EQUAL, number) for number in numbers]
    program = [(LOAD, 0, 0, MACHINE), (EQUAL, 0, last - 2, machine), (LOAD, 0, 0, NUMBER)]
    program += [(test, last - at - 1, 0, number) for at, (test, number) in enumerate([(AT_LEAST, FOREIGN), *steps], 3)]
    program += [(RETURN, 0, 0, ALLOW), (RETURN, 0, 0, REFUSE)]
    return b"".join(struct.pack("=HBBI", *step) for step in program)
