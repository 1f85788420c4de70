"""A viewer's queue: a slow viewer misses frames up to the next key frame, and delays nobody."""

import asyncio
from collections import deque
from typing import Final, Generic, TypeVar

_T = TypeVar("_T")

MOST_FRAMES: Final = 8
MOST_OTHERS: Final = 64


class FrameQueue(Generic[_T]):
    """At most 8 frames in order, and what is said between them; the first frame is a key frame.

    `dropped` counts the frames that never came out. For one event loop, and one reader.
    """

    def __init__(self) -> None:
        self._items: deque[tuple[bool, _T]] = deque()
        self._frames = 0
        self._skipping = True
        self._filled = asyncio.Event()
        self.dropped = 0

    def __len__(self) -> int:
        """Return how many frames wait."""
        return self._frames

    @property
    def waiting(self) -> int:
        """Return how many items wait, frames and others."""
        return len(self._items)

    def put_frame(self, frame: _T, *, key: bool) -> bool:
        """Queue a frame, or drop it; return whether only a key frame can follow.

        A full queue drops the frames that wait. After that only a key frame enters.
        """
        if self._frames >= MOST_FRAMES:
            self.drop_frames()
        if self._skipping and not key:
            self.dropped += 1
            return True
        self._skipping = False
        self._frames += 1
        self._append(frame, is_frame=True)
        return False

    def put(self, item: _T) -> None:
        """Queue what is no frame; of more than 64 the oldest is dropped."""
        if len(self._items) - self._frames >= MOST_OTHERS:
            oldest = next(each for each in self._items if not each[0])
            self._items.remove(oldest)
        self._append(item, is_frame=False)

    def drop_frames(self) -> None:
        """Drop the frames that wait; the next one must be a key frame."""
        self.dropped += self._frames
        self._items = deque(each for each in self._items if not each[0])
        self._frames = 0
        self._skipping = True

    async def get(self) -> _T:
        """Return the next item once there is one."""
        while not self._items:
            self._filled.clear()
            await self._filled.wait()
        is_frame, item = self._items.popleft()
        self._frames -= is_frame
        return item

    def _append(self, item: _T, *, is_frame: bool) -> None:
        self._items.append((is_frame, item))
        self._filled.set()
