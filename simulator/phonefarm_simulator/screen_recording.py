"""What `screenrecord` writes: an MP4 whose frames are pictures of the screen.

A real phone encodes H.264; here each frame is a JPEG, which needs no encoder and which players know
too. Source of the boxes: ISO/IEC 14496-12.
"""

import struct
from collections.abc import Sequence

from phonefarm_simulator.views import HEIGHT, WIDTH

TIMESCALE = 1000
_MATRIX = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)


def mp4_of(frames: Sequence[tuple[float, bytes]], ended: float) -> bytes:
    """Return the film of frames (seconds since the start, JPEG), each shown until the next."""
    ends = [*(at for at, _ in frames[1:]), ended]
    lengths = [
        max(1, round((end - at) * TIMESCALE)) for (at, _), end in zip(frames, ends, strict=True)
    ]
    head = _box(b"ftyp", b"mp42", struct.pack(">I", 0), b"isommp42")
    data = _box(b"mdat", *(picture for _, picture in frames))
    offset = len(head) + 8
    offsets = []
    for _, picture in frames:
        offsets.append(offset)
        offset += len(picture)
    sizes = [len(picture) for _, picture in frames]
    return head + data + _movie(lengths, sizes, offsets)


def _movie(lengths: Sequence[int], sizes: Sequence[int], offsets: Sequence[int]) -> bytes:
    total = sum(lengths)
    entry = _box(
        b"jpeg",
        struct.pack(">6xH16xHHIIIH32xHh", 1, WIDTH, HEIGHT, 72 << 16, 72 << 16, 0, 1, 24, -1),
    )
    table = _box(
        b"stbl",
        _full(b"stsd", struct.pack(">I", 1), entry),
        _full(b"stts", _numbers([len(lengths), *(n for each in lengths for n in (1, each))])),
        _full(b"stsc", _numbers([1, 1, 1, 1])),
        _full(b"stsz", _numbers([0, len(sizes), *sizes])),
        _full(b"stco", _numbers([len(offsets), *offsets])),
    )
    url = _box(b"url ", struct.pack(">I", 1))
    media = _box(
        b"mdia",
        _full(b"mdhd", struct.pack(">IIIIHH", 0, 0, TIMESCALE, total, 0x55C4, 0)),
        _full(b"hdlr", struct.pack(">I4s12x", 0, b"vide"), b"VideoHandle\0"),
        _box(
            b"minf",
            _box(b"vmhd", struct.pack(">I4H", 1, 0, 0, 0, 0)),
            _box(b"dinf", _full(b"dref", struct.pack(">I", 1), url)),
            table,
        ),
    )
    track = _box(
        b"trak",
        _box(
            b"tkhd",
            struct.pack(">IIIIII8x4H", 7, 0, 0, 1, 0, total, 0, 0, 0, 0),
            _MATRIX,
            struct.pack(">II", WIDTH << 16, HEIGHT << 16),
        ),
        media,
    )
    header = _full(
        b"mvhd",
        struct.pack(">IIIIIH10x", 0, 0, TIMESCALE, total, 0x10000, 0x100),
        _MATRIX,
        struct.pack(">24xI", 2),
    )
    return _box(b"moov", header, track)


def _box(kind: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I4s", len(body) + 8, kind) + body


def _full(kind: bytes, *content: bytes) -> bytes:
    """Return a box with version 0 and no flags."""
    return _box(kind, struct.pack(">I", 0), *content)


def _numbers(numbers: Sequence[int]) -> bytes:
    return struct.pack(f">{len(numbers)}I", *numbers)
