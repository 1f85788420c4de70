"""Builds the container image of runs, with the agent's own command."""

import asyncio
import signal
import sys
from collections.abc import Mapping

from phonefarm_cli.terminal import note
from phonefarm_cli.up.child_processes import bound_to_parent


async def build_image(environment: Mapping[str, str]) -> str:
    """Build the image unless it is up to date; return why that failed, or ''."""
    process = await asyncio.create_subprocess_exec(
        *bound_to_parent(
            [sys.executable, "-m", "phonefarm_agent", "image", "build"], signal.SIGKILL
        ),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=dict(environment),
        start_new_session=True,
        limit=1024 * 1024,
    )
    last = ""
    try:
        assert process.stdout is not None  # noqa: S101 - it was asked for
        async for raw in process.stdout:
            last = raw.decode(errors="replace").rstrip()
            if not last.startswith("phonefarm-agent image build:"):
                note(f"  image: {last.strip()}")
        code = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return "" if code == 0 else last.removeprefix("phonefarm-agent image build: ")
