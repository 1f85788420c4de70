"""Runs an event loop in a thread, and turns asynchronous methods into blocking ones."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from concurrent.futures import CancelledError
from functools import wraps
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")
_END: Final = object()


class EventLoopThread:
    """A daemon thread with an event loop of its own."""

    def __init__(self) -> None:
        self.closed = False
        self._lock = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="phonefarm-client", daemon=True
        )
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Return what *work* returns in the thread, or raise what it raises.

        If the caller is interrupted while it waits, *work* is cancelled. RuntimeError if the thread
        has ended, or ends meanwhile.
        """
        with self._lock:
            if self.closed:
                work.close()
                raise RuntimeError("the client is closed")
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except CancelledError:
            raise RuntimeError("the client was closed during a request") from None
        finally:
            future.cancel()

    def close(self) -> None:
        """Cancel what still runs, and end the thread; a second call does nothing."""
        with self._lock:
            if self.closed:
                return
            self.closed = True
        asyncio.run_coroutine_threadsafe(_cancel_others(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_asyncgens()


class Blocking:
    """Blocking methods of *resource*, which runs in *thread*."""

    def __init__(self, thread: EventLoopThread, resource: Any) -> None:
        self._thread = thread
        self._resource = resource


def blocking(
    method: Callable[Concatenate[Any, _P], Coroutine[Any, Any, _T]],
) -> Callable[Concatenate[Blocking, _P], _T]:
    """Return *method* of a resource as a method of Blocking that waits for the result."""

    @wraps(method)
    def call(self: Blocking, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        return self._thread.run(method(self._resource, *args, **kwargs))

    return call


def iterating(
    method: Callable[Concatenate[Any, _P], AsyncGenerator[_T, None]],
) -> Callable[Concatenate[Blocking, _P], Iterator[_T]]:
    """Return *method* of a resource as a method of Blocking that yields as results come."""

    @wraps(method)
    def call(self: Blocking, /, *args: _P.args, **kwargs: _P.kwargs) -> Iterator[_T]:
        found = method(self._resource, *args, **kwargs)

        async def following() -> Any:
            return await anext(found, _END)

        async def ended() -> None:
            await found.aclose()

        try:
            while (one := self._thread.run(following())) is not _END:
                yield one
        finally:
            if not self._thread.closed:
                self._thread.run(ended())

    return call
