"""Operations run to their end: a caller that goes away does not cut a transaction in the middle.

A cancelled query would cost its connection (SQLAlchemy invalidates it), and with SQLite the only
writer. So cancellation waits for the operation, which is short, and then goes on.
"""

import asyncio
import contextlib
import functools
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def uninterrupted(operation: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, Awaitable[R]]:
    """Let *operation* finish before its caller's cancellation is raised."""

    @functools.wraps(operation)
    async def run(*args: P.args, **kwargs: P.kwargs) -> R:
        task = asyncio.create_task(operation(*args, **kwargs), name=operation.__qualname__)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            while not task.done():  # a second cancellation waits as well
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait({task})
            raise

    return run
