"""Takes small pictures of the phones that somebody has in view, at most one per phone in 5 s."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol

from phonefarm_common.clock import Clock

from phonefarm_agent.model.screen import Picture, ScreenRefusedError, Thumbnail
from phonefarm_agent.phones.adb.client import AdbError
from phonefarm_agent.phones.screen.pictures import (
    THUMBNAIL_QUALITY,
    THUMBNAIL_SIDE,
    NoPictureError,
    as_jpeg,
    screencap,
)
from phonefarm_agent.phones.screen.screen_session import ScreenDevice

LEAST_SECONDS: Final = 5.0
SHARE: Final = 10
"""Pictures take at most one tenth of a phone's time."""
LOOK_SECONDS: Final = 1.0
MOST_AT_ONCE: Final = 4
"""At most this many phones of the host are asked at the same time."""
NO_PICTURE_YET: Final = "no_picture_yet"


class RunPictures(Protocol):
    """The evidence pictures of the runs of this host."""

    def at_work(self, serialno: str) -> bool:
        """Tell whether a run, and not a person's hold, has the phone."""
        ...

    def picture(self, serialno: str) -> tuple[bytes, datetime] | None:
        """Return the newest picture that the run on the phone has made, and when."""
        ...


@dataclass(kw_only=True)
class _Known:
    """The last picture of a phone, and the time at which it may be asked again."""

    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    due_at: float = -float("inf")
    digest: bytes = b""
    thumbnail: Thumbnail | None = None


class Thumbnails:
    """The thumbnails of this host's phones, shared by all who watch."""

    def __init__(
        self,
        *,
        find: Callable[[str], ScreenDevice],
        refused: Callable[[str], ScreenRefusedError | None],
        runs: RunPictures,
        clock: Clock,
    ) -> None:
        """*find* raises ScreenRefusedError; *refused* says why a screen may not be seen now."""
        self._find = find
        self._refused = refused
        self._runs = runs
        self._clock = clock
        self._known: dict[str, _Known] = {}
        self._turns = asyncio.Semaphore(MOST_AT_ONCE)

    async def watch(self, wanted: Callable[[], Iterable[str]]) -> AsyncIterator[Thumbnail]:
        """Yield each phone that *wanted* returns, and again when it has changed, for ever."""
        sent: dict[str, Thumbnail] = {}
        while True:
            serialnos = list(wanted())
            sent = {each: sent[each] for each in serialnos if each in sent}
            looking = [asyncio.create_task(self.look(each)) for each in serialnos]
            try:
                for coming in asyncio.as_completed(looking):
                    found = await coming
                    before = sent.get(found.serialno)
                    if before is None or not _same(before, found):
                        sent[found.serialno] = found
                        yield found
            finally:
                for task in looking:
                    task.cancel()
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self, serialno: str) -> Thumbnail:
        """Return the phone's thumbnail; the phone is asked only when it is due."""
        known = self._known.setdefault(serialno, _Known())
        async with known.turn:
            refused = self._refused(serialno)
            if refused is not None:
                return Thumbnail(serialno=serialno, refused=refused.reason)
            if self._runs.at_work(serialno):
                return await self._of_run(serialno, known)
            if self._clock.monotonic() >= known.due_at or known.thumbnail is None:
                known.thumbnail = await self._of_phone(serialno, known)
            return known.thumbnail

    async def _of_run(self, serialno: str, known: _Known) -> Thumbnail:
        found = self._runs.picture(serialno)
        if found is None:
            return Thumbnail(serialno=serialno, refused=NO_PICTURE_YET)
        data, taken_at = found
        digest = hashlib.sha256(data).digest()
        if known.digest == digest and known.thumbnail is not None:
            return known.thumbnail
        try:
            picture = await as_jpeg(data, longer_side=THUMBNAIL_SIDE, quality=THUMBNAIL_QUALITY)
        except NoPictureError:
            return Thumbnail(serialno=serialno, refused=NO_PICTURE_YET)
        known.digest = digest
        known.thumbnail = Thumbnail(
            serialno=serialno, picture=picture, taken_at=taken_at, is_evidence=True
        )
        return known.thumbnail

    async def _of_phone(self, serialno: str, known: _Known) -> Thumbnail:
        try:
            device = self._find(serialno)
        except ScreenRefusedError as error:
            return Thumbnail(serialno=serialno, refused=error.reason)
        async with self._turns:
            began, taken_at = self._clock.monotonic(), self._clock.now()
            try:
                try:
                    source = await screencap(device.adb, device.adb_serial)
                finally:
                    took = self._clock.monotonic() - began
                    known.due_at = began + max(LEAST_SECONDS, SHARE * took)
                digest = hashlib.sha256(source).digest()
                before = known.thumbnail
                if digest == known.digest and before is not None and before.picture is not None:
                    return before
                picture: Picture = await as_jpeg(
                    source, longer_side=THUMBNAIL_SIDE, quality=THUMBNAIL_QUALITY
                )
            except (AdbError, NoPictureError) as error:
                reason = "phone_away" if isinstance(error, AdbError) else "failed"
                return Thumbnail(serialno=serialno, refused=reason)
        known.digest = digest
        return Thumbnail(serialno=serialno, picture=picture, taken_at=taken_at)


def _same(before: Thumbnail, found: Thumbnail) -> bool:
    return (before.picture, before.refused) == (found.picture, found.refused)
