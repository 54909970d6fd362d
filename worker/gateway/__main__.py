"""
The gateway of one run: `python -m worker.gateway`, with the configuration as JSON on its standard input.

Prints `ready` once it listens, and runs until SIGTERM, which its supervisor sends when the run is over or its worker
gone. What goes wrong is told on stderr as long as somebody reads that, and never waited for.
"""

import asyncio
import logging
import os
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path

from worker.gateway import proxy
from worker.gateway.config import Caps, Config, read
from worker.gateway.ledger import Ledger


async def serve(config: Config) -> None:
    """Listen at the sockets that are asked for until this process is told to end."""
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    ledger = Ledger(Path(config.counters), config.model.caps if config.model else Caps())
    async with AsyncExitStack() as sockets:
        if config.model:
            await sockets.enter_async_context(proxy.listening(config.model, ledger))
        if config.egress:
            from worker.gateway import egress  # its rules on addresses bring half of the worker along

            await sockets.enter_async_context(egress.listening(config.egress, ledger))
        print("ready", flush=True)  # noqa: T201 - its answer
        await told.wait()
    ledger.write()


def main() -> None:
    """Read what this gateway is for, and be it."""
    os.set_blocking(sys.stderr.fileno(), False)
    logging.raiseExceptions = False
    asyncio.run(serve(read(sys.stdin.buffer.read())))


if __name__ == "__main__":
    main()
