"""Takes pictures of a phone's screen with screencap, and makes smaller ones on the host.

Pillow is loaded when the first picture is made: most agents never make one.
"""

import asyncio
import io
from typing import Final

from phonefarm_agent.model.screen import Picture
from phonefarm_agent.phones.adb.client import Adb

CAPTURE_SECONDS: Final = 15.0
"""The limit for screencap -p, which takes up to 3 s on a large screen."""
MOST_BYTES: Final = 32 * 1024 * 1024
JPEG_QUALITY: Final = 80
THUMBNAIL_QUALITY: Final = 70
STILL_SIDE: Final = 1280
THUMBNAIL_SIDE: Final = 240
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_SIZE_ENDS: Final = 24  # width and height stand at 16 and 20, in the chunk IHDR


class NoPictureError(Exception):
    """The phone sent no picture; the text says what it sent."""


async def screencap(adb: Adb, serial: str) -> bytes:
    """Return the screen as the phone's PNG; NoPictureError, AdbError when the phone is gone.

    Some phones print warnings before the picture (foldables: console.md 2.3).
    """
    data = bytearray()
    try:
        async with asyncio.timeout(CAPTURE_SECONDS):
            async for chunk in adb.stream(serial, "screencap -p"):
                data += chunk
                if len(data) > MOST_BYTES:
                    raise NoPictureError(f"screencap wrote more than {MOST_BYTES} bytes")
    except TimeoutError:
        raise NoPictureError(f"screencap took more than {CAPTURE_SECONDS:g} s") from None
    start = data.find(_PNG)
    if start < 0:
        said = bytes(data[:200]).decode(errors="replace").strip()
        raise NoPictureError(f"screencap gave no picture: {said or 'it wrote nothing'}")
    return bytes(data[start:])


async def as_jpeg(source: bytes, *, longer_side: int | None, quality: int) -> Picture:
    """Return a picture file as a JPEG, no larger than *longer_side*; NoPictureError."""
    return await asyncio.to_thread(_as_jpeg, source, longer_side, quality)


def as_png(source: bytes) -> Picture:
    """Return the phone's PNG with its size; NoPictureError."""
    if len(source) < _SIZE_ENDS or not source.startswith(_PNG):
        raise NoPictureError("not a PNG")
    width, height = (int.from_bytes(source[at : at + 4], "big") for at in (16, 20))
    return Picture(data=source, width=width, height=height)


def _as_jpeg(source: bytes, longer_side: int | None, quality: int) -> Picture:
    from PIL import Image, UnidentifiedImageError  # noqa: PLC0415 - see the module's docstring

    try:
        with Image.open(io.BytesIO(source)) as image:
            if longer_side is not None:
                image.thumbnail((longer_side, longer_side))
            plain = image.convert("RGB")
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        raise NoPictureError(f"the picture cannot be read: {error}") from error
    out = io.BytesIO()
    plain.save(out, "JPEG", quality=quality)
    return Picture(data=out.getvalue(), width=plain.width, height=plain.height)
