"""Reads the video socket of scrcpy-server 3.3.4.

Source: Genymobile/scrcpy at v3.3.4, doc/develop.md and server/.../Streamer.java: a dummy byte,
64 bytes of device name, codec, width and height, then packets with a 12 byte head.
"""

import asyncio
from dataclasses import dataclass
from typing import Final

_NAME_BYTES: Final = 64
_H264: Final = b"h264"
_CONFIG: Final = 1 << 63
_KEY: Final = 1 << 62
MOST_PACKET: Final = 8 * 1024 * 1024
"""A greater number is no packet length: at 4 Mbit/s a frame has about 17 KB."""


class BadVideoError(Exception):
    """The bytes are not the video of scrcpy 3.3.4; the text says what is wrong."""


@dataclass(frozen=True, kw_only=True)
class Packet:
    """A configuration (SPS and PPS) or an access unit, in Annex B form."""

    data: bytes
    is_config: bool
    is_key: bool
    timestamp_us: int


async def read_head(reader: asyncio.StreamReader) -> None:
    """Read what comes before the first packet; BadVideoError, asyncio.IncompleteReadError."""
    await reader.readexactly(1 + _NAME_BYTES)
    codec = await reader.readexactly(4)
    if codec != _H264:
        # 0: no encoder, and 1: a wrong configuration, both told before the server ends.
        raise BadVideoError(f"the video is {codec!r} and not {_H264!r}")
    await reader.readexactly(8)  # its first size; the SPS says it too, and again after a rotation


async def read_packet(reader: asyncio.StreamReader) -> Packet:
    """Return the next packet; BadVideoError, asyncio.IncompleteReadError at the end."""
    head = await reader.readexactly(12)
    stamp, size = int.from_bytes(head[:8], "big"), int.from_bytes(head[8:], "big")
    if not 0 < size <= MOST_PACKET:
        raise BadVideoError(f"a video packet of {size} bytes")
    data = await reader.readexactly(size)
    return Packet(
        data=data,
        is_config=bool(stamp & _CONFIG),
        is_key=bool(stamp & _KEY),
        timestamp_us=stamp & (_KEY - 1),
    )
