"""The options of scrcpy-server 3.3.4: its `key=value` words.

Source: Genymobile/scrcpy at v3.3.4, server/.../Options.java.
"""

import typing
from collections.abc import Sequence
from dataclasses import dataclass, field

VERSION = "3.3.4"
HIGHEST_SCID = 0x7FFFFFFF


class OptionsError(Exception):
    """The server ends at once; the text is what its exception says."""


@dataclass(frozen=True, kw_only=True)
class ServerOptions:
    """What a client asked for; the defaults are the server's."""

    scid: int = -1
    log_level: str = "debug"
    tunnel_forward: bool = False
    video: bool = True
    audio: bool = True
    control: bool = True
    video_codec: str = "h264"
    video_source: str = "display"
    video_encoder: str = ""
    video_bit_rate: int = 8_000_000
    max_size: int = 0
    max_fps: float = 0.0
    downsize_on_error: bool = True
    power_on: bool = True
    power_off_on_close: bool = False
    clipboard_autosync: bool = True
    cleanup: bool = True
    send_device_meta: bool = True
    send_frame_meta: bool = True
    send_dummy_byte: bool = True
    send_codec_meta: bool = True
    list_encoders: bool = False
    list_displays: bool = False
    unknown: Sequence[str] = field(default=())

    @property
    def socket_name(self) -> str:
        """The abstract name on which the server listens, or which it dials."""
        return "scrcpy" if self.scid == -1 else f"scrcpy_{self.scid:08x}"


_WITHOUT_EFFECT = frozenset(
    {
        "audio_bit_rate",
        "audio_codec",
        "audio_codec_options",
        "audio_dup",
        "audio_encoder",
        "audio_source",
        "angle",
        "camera_ar",
        "camera_facing",
        "camera_fps",
        "camera_high_speed",
        "camera_id",
        "camera_size",
        "capture_orientation",
        "crop",
        "display_id",
        "display_ime_policy",
        "list_apps",
        "list_camera_sizes",
        "list_cameras",
        "new_display",
        "screen_off_timeout",
        "show_touches",
        "stay_awake",
        "vd_destroy_content",
        "vd_system_decorations",
        "video_codec_options",
    }
)
"""Options that the server knows and this phone has nothing for."""
_KINDS = typing.get_type_hints(ServerOptions)


def read_options(words: Sequence[str]) -> ServerOptions:
    """Return the options of the command's words, the client's version first; OptionsError."""
    if not words:
        raise OptionsError("Missing client version")
    if words[0] != VERSION:
        raise OptionsError(f"The server version ({VERSION}) does not match the client ({words[0]})")
    given: dict[str, typing.Any] = {}
    unknown = []
    for word in words[1:]:
        key, equals, value = word.partition("=")
        if not equals:
            raise OptionsError(f'Invalid key=value pair: "{word}"')
        if key == "raw_stream":
            if _boolean(value):
                names = ("device_meta", "frame_meta", "dummy_byte", "codec_meta")
                given |= {f"send_{name}": False for name in names}
        elif key in _KINDS and key != "unknown":
            given[key] = _value(key, value)
        elif key not in _WITHOUT_EFFECT:
            unknown.append(key)
    options = ServerOptions(**given, unknown=tuple(unknown))
    if options.video_codec not in {"h264", "h265", "av1"}:
        raise OptionsError(f"Video codec {options.video_codec} not supported")
    if options.video_source not in {"display", "camera"}:
        raise OptionsError(f"Video source {options.video_source} not supported")
    return options


def _value(key: str, value: str) -> typing.Any:
    if _KINDS[key] is bool:
        return _boolean(value)
    if _KINDS[key] is str:
        return value
    try:
        if key == "scid":
            return _scid(value)
        number = _KINDS[key](value)
    except ValueError:
        raise OptionsError(f'For input string: "{value}"') from None
    if number < 0:
        raise OptionsError(f"{key} may not be negative: {value}")
    return number & ~7 if key == "max_size" else number


def _scid(value: str) -> int:
    scid = int(value, 16)
    if not -1 <= scid <= HIGHEST_SCID:
        raise OptionsError(f"scid may not be negative (except -1 for 'none'): {scid}")
    return scid


def _boolean(value: str) -> bool:
    """Return what Java's Boolean.parseBoolean does: everything but "true" is false."""
    return value.lower() == "true"
