"""Asking a program of the host."""

import asyncio
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Said:
    """What a program printed and how it ended."""

    code: int
    text: str


async def ask(*words: str) -> Said:
    """Run a program to its end; OSError when it cannot be run. Killed when the caller gives up."""
    process = await asyncio.create_subprocess_exec(
        *words,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Said(code=process.returncode or 0, text=out.decode(errors="replace"))
