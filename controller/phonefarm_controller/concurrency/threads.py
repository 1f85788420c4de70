"""Threads of their own for blocking calls on evidence: a backend that hangs delays nothing else."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from phonefarm_controller.concurrency.uninterrupted import uninterrupted

R = TypeVar("R")

THREADS: Final = 16
_POOL: Final = ThreadPoolExecutor(THREADS, "evidence")


# Uninterrupted, or a cancelled caller would close a file under the thread that uses it.
@uninterrupted
async def in_thread(call: Callable[[], R]) -> R:
    """Run *call* in a thread and return its result."""
    return await asyncio.get_running_loop().run_in_executor(_POOL, call)
