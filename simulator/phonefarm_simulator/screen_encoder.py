"""Encodes pictures of the screen as H.264, with PyAV, which only a watched phone needs.

The stream is what MediaCodec gives scrcpy: one configuration (SPS and PPS), then one packet for
each picture, as Annex B; no picture waits for another, and no later one is needed to show it.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from PIL import Image

from phonefarm_simulator.screenshot import picture_of
from phonefarm_simulator.views import HEIGHT, WIDTH, View

if TYPE_CHECKING:
    pass

MISSING = (
    "this simulated phone needs PyAV to send its screen as video: pip install "
    "'phonefarm[simulator-video]'"
)
_MICROSECONDS = Fraction(1, 1_000_000)
_QUALITY = "26"
KEY_FRAME_SECONDS = 10.0


class NoEncoderError(Exception):
    """PyAV is not installed; the text says how to install it."""


@dataclass(frozen=True, kw_only=True)
class Packet:
    """One encoded picture."""

    data: bytes
    key_frame: bool
    microseconds: int


def load_encoder() -> None:
    """Import PyAV, which takes half a second; NoEncoderError when it is not installed."""
    try:
        import av  # noqa: F401, PLC0415 -- 100 MB that only a watched phone needs
    except ImportError:
        raise NoEncoderError(MISSING) from None


class Encoder:
    """Encodes one video of one size, after `load_encoder`; one thread may use it at a time."""

    def __init__(self, size: tuple[int, int], *, bit_rate: int) -> None:
        import av  # noqa: PLC0415 -- as above

        self.size = size
        self._codec = av.CodecContext.create("libx264", "w")
        self._codec.width, self._codec.height = size
        self._codec.pix_fmt = "yuv420p"
        self._codec.time_base = _MICROSECONDS
        self._codec.framerate = Fraction(30)
        self._codec.flags |= av.codec.context.Flags.global_header
        self._codec.options = {
            "preset": "ultrafast",
            "tune": "zerolatency",
            "profile": "baseline",
            "crf": _QUALITY,
            "maxrate": str(bit_rate),
            "bufsize": str(bit_rate),
            "forced-idr": "1",
            "threads": "1",
        }
        self._codec.open()
        self._last_key: int | None = None
        self._last_time = -1
        self._frame: av.VideoFrame | None = None
        self._shown: View | None = None

    @property
    def configuration(self) -> bytes:
        """SPS and PPS."""
        return bytes(self._codec.extradata or b"")

    def encode(self, screen: View | None, microseconds: int) -> Packet:
        """Draw and encode a screen, black for none."""
        import av  # noqa: PLC0415 -- as above

        if self._frame is None or screen != self._shown:
            picture = Image.new("RGB", (WIDTH, HEIGHT)) if screen is None else picture_of(screen)
            drawn = av.VideoFrame.from_image(picture)  # type: ignore[no-untyped-call]
            width, height = self.size
            self._frame = drawn.reformat(width=width, height=height, format="yuv420p")
            self._shown = screen
        kinds = av.video.frame.PictureType
        interval = int(KEY_FRAME_SECONDS * 1_000_000)
        due = self._last_key is None or microseconds - self._last_key >= interval
        self._last_time = max(self._last_time + 1, microseconds)
        self._frame.pts = self._last_time
        self._frame.time_base = _MICROSECONDS
        self._frame.pict_type = kinds.I if due else kinds.NONE
        (packet,) = self._codec.encode(self._frame)
        if packet.is_keyframe:
            self._last_key = self._last_time
        return Packet(
            data=bytes(packet), key_frame=packet.is_keyframe, microseconds=self._last_time
        )


def fitting(size: tuple[int, int], largest: int) -> tuple[int, int]:
    """Return the size of the video: no side longer than *largest* (0: any), both multiples of 8.

    Source: scrcpy at v3.3.4, server/.../device/Size.java, limit and round8.
    """
    width, height = size
    major, minor = max(size), min(size)
    if 0 < largest < major:
        major, minor = largest, largest * minor // major
    if major % 8 or minor % 8:
        major &= ~7
        minor = min((minor + 4) & ~7, major)
    return (minor, major) if height > width else (major, minor)
