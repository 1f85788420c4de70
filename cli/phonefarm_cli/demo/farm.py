"""The demo's farm: `phonefarm up` as a child process."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from phonefarm_cli.errors import CommandError
from phonefarm_cli.terminal import echo, note
from phonefarm_cli.up.child_processes import bound_to_parent
from phonefarm_cli.up_file import UpFile, read_up_file

STOP_SECONDS = 60.0


@asynccontextmanager
async def running_farm(
    data: Path, *, phones: int, personalities: Sequence[str], runtime: str
) -> AsyncIterator[UpFile]:
    """Yield the up.json of a ready farm on free ports, and stop the farm in any case.

    CommandError when it does not become ready or does not end with 0.
    """
    command = [sys.executable, "-m", "phonefarm_cli", "up", "--data", str(data)]
    command += ["--simulate", str(phones), "--runtime", runtime]
    command += ["--personality", ",".join(personalities)]
    command += ["--rest", "127.0.0.1:0", "--grpc", "127.0.0.1:0"]
    process = await asyncio.create_subprocess_exec(
        *bound_to_parent(command, signal.SIGTERM),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for us: we stop it
    )
    ready = asyncio.Event()
    passing_on = asyncio.create_task(_pass_on(process, ready))
    try:
        await ready.wait()
        if process.returncode is not None:
            raise CommandError(f"the farm did not start (exit code {process.returncode})")
        yield read_up_file(data)
    finally:
        await _stop(process)
        await passing_on
    if process.returncode != 0:
        raise CommandError(f"the farm exited with code {process.returncode}")


async def _pass_on(process: asyncio.subprocess.Process, ready: asyncio.Event) -> None:
    """Print the farm's output; set *ready* when it is ready or has ended."""
    assert process.stdout is not None  # noqa: S101 - it was asked for
    async for raw in process.stdout:
        line = raw.decode(errors="replace").rstrip()
        (echo if line.startswith("!") else note)(f"  | {line}")
        if line.startswith("ready:"):
            ready.set()
    await process.wait()
    ready.set()


async def _stop(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
