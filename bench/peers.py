"""Other queues on the same PostgreSQL, each as its own documentation has it: seconds for so many tasks of nothing."""

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from time import perf_counter

from worker.settings import required, settings


async def procrastinate_seconds(count: int) -> float:
    """One worker process, ten jobs at once; a job is fetched and finished by a statement each."""
    import procrastinate

    logging.getLogger("procrastinate").setLevel(logging.ERROR)  # it would rather be a module that is imported
    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=address(), max_size=10))

    @app.task(name="nothing")  # type: ignore[untyped-decorator]  # not installed where types are checked
    async def nothing(number: int) -> None:
        """What a task costs that costs nothing."""

    async with app.open_async():
        if not await app.check_connection_async():
            await app.schema_manager.apply_schema_async()
        await nothing.batch_defer_async(*({"number": number} for number in range(count)))
        began = perf_counter()
        await app.run_worker_async(wait=False, concurrency=10, install_signal_handlers=False)
        return perf_counter() - began


async def pgqueuer_seconds(count: int, *, batch: int) -> float:
    """One worker process on asyncpg, its main driver; one statement fetches, or logs as done, `batch` jobs."""
    import asyncpg
    from pgqueuer import AsyncpgDriver, PgQueuer
    from pgqueuer.types import QueueExecutionMode

    connection = await asyncpg.connect(address())
    queuer = PgQueuer(AsyncpgDriver(connection))

    @queuer.entrypoint("nothing")  # type: ignore[untyped-decorator]  # as above
    async def nothing(job: object) -> None:
        """What a job costs that costs nothing."""

    if not await queuer.qm.queries.has_table("pgqueuer"):
        await queuer.qm.queries.install()
    await queuer.qm.queries.enqueue(["nothing"] * count, [None] * count, [0] * count)
    began = perf_counter()
    await queuer.qm.run(batch_size=batch, mode=QueueExecutionMode.drain)
    return perf_counter() - began


def address() -> str:
    """The database, as its owner: these bring tables of their own."""
    return required(settings().admin_database_url, "ADMIN_DATABASE_URL").libpq


PEERS: dict[str, Callable[[int], Awaitable[float]]] = {
    "procrastinate": procrastinate_seconds,
    "pgqueuer-1": partial(pgqueuer_seconds, batch=1),
    "pgqueuer-100": partial(pgqueuer_seconds, batch=100),
}


async def main() -> None:
    """`NAME COUNT` on the command line."""
    print(await PEERS[sys.argv[1]](int(sys.argv[2])))


if __name__ == "__main__":
    asyncio.run(main())
