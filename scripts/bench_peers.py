"""Measures public job queues on the PostgreSQL of the controller: the part `peers` of make bench.

A worker in a process of its own executes jobs that do nothing, while this process enqueues them,
256 callers at a time and one job a call. The rate counts from the first call until the worker has
executed the last job. That is the least that a queue does: no phones, no leases, no results.
`make bench` installs the queues (the dependency group `bench`).
"""

import asyncio
import importlib.util
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

CALLERS: Final = 256
CONNECTIONS: Final = 8  # more are slower on two cores
CONCURRENT_JOBS: Final = 100
BATCH: Final = 10
PATIENCE_SECONDS: Final = 600
READY: Final = "ready"


def measure_peers(url: str, *, count: int) -> dict[str, Any]:
    """Return the jobs per second of each queue; *url* is a database of its own for all of them."""
    plain = url.replace("postgresql+asyncpg://", "postgresql://")
    found: dict[str, Any] = {}
    for name in ("procrastinate", "pgqueuer"):
        if importlib.util.find_spec(name) is None:
            found[name] = {"not_measured": "not installed: make bench installs it"}
            continue
        command = [sys.executable, str(Path(__file__)), name, plain, str(count)]
        enqueue = {"procrastinate": _enqueue_procrastinate, "pgqueuer": _enqueue_pgqueuer}[name]
        lasted = asyncio.run(enqueue(plain, count, command))
        found[name] = {"jobs_per_second": round(count / lasted, 1), "jobs": count}
    return found


async def _timed(command: list[str], count: int, send: Callable[[], Awaitable[object]]) -> float:
    """Start the worker, call *send* that often, and return the seconds until all is done."""
    worker = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        if worker.stdout is None or (await worker.stdout.readline()).decode().strip() != READY:
            raise RuntimeError("the worker did not become ready")
        began = time.monotonic()
        left = iter(range(count))

        async def caller() -> None:
            for _ in left:
                await send()

        await asyncio.gather(*(caller() for _ in range(CALLERS)))
        async with asyncio.timeout(PATIENCE_SECONDS):
            code = await worker.wait()
        lasted = time.monotonic() - began
    finally:
        if worker.returncode is None:
            worker.kill()
    if code:
        raise RuntimeError(f"the worker ended with {code}")
    return lasted


def _procrastinate(url: str, done: Callable[[], None]) -> tuple[Any, Any]:
    import procrastinate  # noqa: PLC0415 - only the bench has it

    app = procrastinate.App(
        connector=procrastinate.PsycopgConnector(conninfo=url, max_size=CONNECTIONS)
    )

    async def job() -> None:
        done()

    return app, app.task(name="bench")(job)


async def _enqueue_procrastinate(url: str, count: int, command: list[str]) -> float:
    app, task = _procrastinate(url, lambda: None)
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        return await _timed(command, count, task.defer_async)


async def _enqueue_pgqueuer(url: str, count: int, command: list[str]) -> float:
    import asyncpg  # noqa: PLC0415
    from pgqueuer import PgQueuer  # noqa: PLC0415 - only the bench has it

    async with asyncpg.create_pool(url, min_size=CONNECTIONS, max_size=CONNECTIONS) as pool:
        queries: Any = PgQueuer.from_asyncpg_pool(pool).qm.queries
        await queries.install()
        return await _timed(command, count, lambda: queries.enqueue("bench", None))


async def _work_procrastinate(url: str, count: int) -> None:
    finished, note = _counted(count)
    app, _ = _procrastinate(url, note)
    async with app.open_async():
        worker = asyncio.create_task(
            app.run_worker_async(concurrency=CONCURRENT_JOBS, install_signal_handlers=False)
        )
        print(READY, flush=True)
        await finished.wait()
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)


async def _work_pgqueuer(url: str, count: int) -> None:
    import asyncpg  # noqa: PLC0415
    from pgqueuer import PgQueuer  # noqa: PLC0415 - only the bench has it

    finished, note = _counted(count)
    async with asyncpg.create_pool(url, min_size=CONNECTIONS, max_size=CONNECTIONS) as pool:
        queue = PgQueuer.from_asyncpg_pool(pool)

        async def job(_: object) -> None:
            note()

        queue.entrypoint("bench")(job)
        worker = asyncio.create_task(queue.run(batch_size=BATCH))
        print(READY, flush=True)
        await finished.wait()
        queue.shutdown.set()
        await worker


def _counted(count: int) -> tuple[asyncio.Event, Callable[[], None]]:
    """Return an event, and a function that sets it when called for the *count*th time."""
    event, left = asyncio.Event(), count

    def note() -> None:
        nonlocal left
        left -= 1
        if not left:
            event.set()

    return event, note


if __name__ == "__main__":
    _, queue_name, database_url, jobs = sys.argv
    work = {"procrastinate": _work_procrastinate, "pgqueuer": _work_pgqueuer}[queue_name]
    asyncio.run(work(database_url, int(jobs)))
