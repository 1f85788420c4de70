"""What blocks on evidence runs in threads of its own: a place that hangs holds up nothing else."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from phonefarm_controller.concurrency.uninterrupted import whole

R = TypeVar("R")

THREADS: Final = 16
_POOL: Final = ThreadPoolExecutor(THREADS, "evidence")


# Whole, or a cancelled caller would close a file under the thread that uses it.
@whole
async def in_thread(call: Callable[[], R]) -> R:
    """Return what *call* does, in a thread."""
    return await asyncio.get_running_loop().run_in_executor(_POOL, call)
