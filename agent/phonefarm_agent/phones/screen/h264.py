"""Reads size and codec from an H.264 sequence parameter set (ITU-T H.264, 7.3.2.1.1 and annex E).

scrcpy 3 sends the size of its video once, before a phone may be turned; after that only the SPS of
each configuration packet has it.
"""

from dataclasses import dataclass
from typing import Final

_START: Final = b"\x00\x00\x01"
_SPS: Final = 7
_WITH_CHROMA: Final = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})
"""The profiles whose SPS contains the chroma format and scaling lists."""
_YUV420: Final = 1
_YUV444: Final = 3
_LISTS, _SMALL_LISTS, _SMALL, _LARGE = 8, 6, 16, 64
_MOST_ZEROS: Final = 32


class BadSpsError(Exception):
    """The bytes hold no SPS that can be read."""


@dataclass(frozen=True, kw_only=True)
class VideoFormat:
    """The codec as RFC 6381 and WebCodecs name it (`avc1.42e01f`), and the size in pixels."""

    codec: str
    width: int
    height: int


def video_format(config: bytes) -> VideoFormat:
    """Return what the first SPS in Annex B bytes says; BadSpsError."""
    for unit in config.replace(b"\x00" + _START, _START).split(_START):
        if unit and unit[0] & 0x1F == _SPS:
            try:
                return _sps(unit)
            except IndexError:
                raise BadSpsError("the SPS is cut off") from None
    raise BadSpsError("no SPS in the configuration")


def _sps(unit: bytes) -> VideoFormat:
    codec = f"avc1.{unit[1]:02x}{unit[2]:02x}{unit[3]:02x}"
    bits = _Bits(unit[4:].replace(b"\x00\x00\x03", b"\x00\x00"))  # emulation prevention, 7.4.1
    bits.golomb()  # seq_parameter_set_id
    chroma, separate = _YUV420, False
    if unit[1] in _WITH_CHROMA:
        chroma = bits.golomb()
        separate = chroma == _YUV444 and bool(bits.take(1))
        bits.golomb(), bits.golomb(), bits.take(1)  # bit depths, transform bypass
        if bits.take(1):
            for number in range(_LISTS if chroma != _YUV444 else _LISTS + 4):
                if bits.take(1):
                    _skip_list(bits, _SMALL if number < _SMALL_LISTS else _LARGE)
    bits.golomb()  # log2_max_frame_num
    order = bits.golomb()
    if order == 0:
        bits.golomb()
    elif order == 1:
        bits.take(1), bits.golomb(), bits.golomb()
        for _ in range(bits.golomb()):
            bits.golomb()
    bits.golomb(), bits.take(1)  # max_num_ref_frames, gaps
    width, height = 16 * (bits.golomb() + 1), 16 * (bits.golomb() + 1)
    frames_only = bits.take(1)
    if not frames_only:
        height *= 2
        bits.take(1)
    bits.take(1)  # direct_8x8_inference
    if bits.take(1):
        has_chroma = not separate and chroma != 0
        across = 2 if has_chroma and chroma != _YUV444 else 1
        down = (2 if has_chroma and chroma == _YUV420 else 1) * (2 - frames_only)
        width -= across * (bits.golomb() + bits.golomb())
        height -= down * (bits.golomb() + bits.golomb())
    if width <= 0 or height <= 0:
        raise BadSpsError(f"the SPS has the size {width} x {height}")
    return VideoFormat(codec=codec, width=width, height=height)


def _skip_list(bits: "_Bits", size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            code = bits.golomb()
            delta = (code + 1) // 2 if code % 2 else -(code // 2)
            following = (last + delta) % 256
        last = following or last


class _Bits:
    """Reads bits, the most significant first; IndexError past the end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, count: int) -> int:
        value = 0
        for _ in range(count):
            value = value << 1 | self._data[self._at // 8] >> 7 - self._at % 8 & 1
            self._at += 1
        return value

    def golomb(self) -> int:
        """Return an unsigned Exp-Golomb number (9.1)."""
        zeros = 0
        while not self.take(1):
            zeros += 1
            if zeros > _MOST_ZEROS:
                raise BadSpsError("the SPS has a number of more than 32 bits")
        return (1 << zeros) - 1 + self.take(zeros)
