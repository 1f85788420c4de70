"""Kept releases: their programs, run as they were."""

import asyncio
import os
import sys
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

KEPT = Path(__file__).resolve().parent.parent / "fixtures" / "releases"


def code_of(release: str, folder: Path) -> Path:
    """Return where the release's packages are, put into *folder*: PYTHONPATH for its programs."""
    code = folder / f"phonefarm-{release}"
    if not code.exists():
        (wheel,) = (KEPT / release).glob("*.whl")
        with zipfile.ZipFile(wheel) as packed:
            packed.extractall(code)
    return code


@asynccontextmanager
async def agent_of(
    release: str, folder: Path, *options: str, controller: str, token: str, scale: float
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the release's agent, as agent-1, until the block ends; its log is FOLDER/agent.log."""
    environment = os.environ | {
        "PYTHONPATH": str(code_of(release, folder)),
        "PHONEFARM_AGENT_TOKEN": token,
        "PHONEFARM_TIME_SCALE": str(scale),
    }
    words = ["run", "--controller", controller, "--state", str(folder / "state")]
    with (folder / "agent.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *[sys.executable, "-m", "phonefarm_agent", *words, "--name", "agent-1", *options],
            stdout=log,
            stderr=log,
            env=environment,
            cwd=folder,
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            async with asyncio.timeout(180):
                await process.wait()
