"""The phone's log, as `logcat -v threadtime` prints it."""

import asyncio
import collections
import time
from collections.abc import Callable

LINES_KEPT = 5000


class LogBuffer:
    """The last 5000 lines, each numbered from 1 since the boot of the simulator."""

    def __init__(self, *, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._lines: collections.deque[tuple[int, str]] = collections.deque(maxlen=LINES_KEPT)
        self._number = 0
        self._grown = asyncio.Event()

    @property
    def number(self) -> int:
        """The number of the newest line; 0 when there never was one."""
        return self._number

    def write(self, tag: str, text: str, *, level: str = "I", pid: int = 1200) -> None:
        """Append one line."""
        now = self._wall()
        stamp = time.strftime("%m-%d %H:%M:%S", time.gmtime(now))
        self._number += 1
        line = f"{stamp}.{int(now * 1000) % 1000:03} {pid:5} {pid:5} {level} {tag:<8}: {text}"
        self._lines.append((self._number, line))
        self._grown.set()
        self._grown = asyncio.Event()

    def clear(self) -> None:
        """Forget all lines, as `logcat -c` does."""
        self._lines.clear()

    def since(self, number: int) -> list[tuple[int, str]]:
        """Return the numbered lines after `number`."""
        return [entry for entry in self._lines if entry[0] > number]

    async def grown_past(self, number: int) -> None:
        """Return once there is a line after `number`."""
        while self._number <= number:
            await self._grown.wait()
