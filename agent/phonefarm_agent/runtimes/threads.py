"""Runs blocking work in daemon threads.

The loop's own pool would be used up by threads that wait for runs, and it keeps a program from
ending as long as one of them waits.
"""

import asyncio
import concurrent.futures
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Protocol, TypeVar

_T = TypeVar("_T")
_CHUNKS_AHEAD = 64


class ByteStream(Protocol):
    """A stream whose iteration blocks until there are more bytes."""

    def __iter__(self) -> Iterator[bytes]:
        """Return an iterator over the chunks."""
        ...

    def close(self) -> None:
        """End the reading, also one that blocks in another thread; idempotent."""
        ...


async def in_thread(function: Callable[[], _T]) -> _T:
    """Run *function* in a thread; it runs on when the caller is cancelled."""
    outcome: concurrent.futures.Future[_T] = concurrent.futures.Future()
    outcome.set_running_or_notify_cancel()

    def work() -> None:
        try:
            outcome.set_result(function())
        except BaseException as error:  # noqa: BLE001 - the caller gets it, in its own thread
            outcome.set_exception(error)

    threading.Thread(target=work, daemon=True, name="runtime-call").start()
    return await asyncio.wrap_future(outcome)


async def chunks(stream: ByteStream) -> AsyncGenerator[bytes, None]:
    """Yield what *stream* reads in a thread, a bounded number ahead; closes it at the end."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[bytes | BaseException | None] = asyncio.Queue()  # bounded by `room`
    room = threading.Semaphore(_CHUNKS_AHEAD)
    closed = threading.Event()

    def hand_over(item: bytes | BaseException | None) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(queue.put_nowait, item)

    def read() -> None:
        try:
            for chunk in stream:
                room.acquire()
                if closed.is_set():
                    return
                hand_over(chunk)
        except BaseException as error:  # noqa: BLE001 - raised again where the chunks are read
            hand_over(error)
        else:
            hand_over(None)

    threading.Thread(target=read, daemon=True, name="runtime-follow").start()
    try:
        while (item := await queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            room.release()
            yield item
    finally:
        closed.set()
        room.release()
        stream.close()
