"""The values of screens: what they show, and what viewers ask for."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class ViewMode(StrEnum):
    """How a screen is shown."""

    VIDEO = "video"
    STILLS = "stills"


class ScreensPolicy(StrEnum):
    """When the screens of this host may be seen: `phonefarm-agent run --screens`."""

    OFF = "off"
    IDLE = "idle"
    ALWAYS = "always"


@dataclass(frozen=True, kw_only=True)
class Quality:
    """How large, how often and how exact a video is."""

    longer_side: int
    frames_per_second: int
    bits_per_second: int


LOW = Quality(longer_side=720, frames_per_second=15, bits_per_second=500_000)
NORMAL = Quality(longer_side=1280, frames_per_second=30, bits_per_second=2_000_000)


class ScreenRefusedError(Exception):
    """The screen is not shown: a word of `screen_unavailable` (screen.proto), and a sentence."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


@dataclass(frozen=True, kw_only=True)
class StreamInfo:
    """How to read the frames that follow; `codec` as WebCodecs names it, or `jpeg`."""

    mode: ViewMode
    codec: str
    width: int
    height: int
    reason: str = ""
    warning: str = ""


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One access unit in Annex B form, its SPS and PPS before a key frame; or a JPEG."""

    data: bytes
    key: bool
    timestamp_us: int


@dataclass(frozen=True, kw_only=True)
class InputRefused:
    """Input does not reach the phone, and why: a word and a sentence."""

    reason: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Clipboard:
    """The phone's clipboard, for the viewer that asked."""

    text: str


@dataclass(frozen=True, kw_only=True)
class ClipboardSet:
    """The phone has taken the clipboard with this number."""

    sequence: int


@dataclass(frozen=True, kw_only=True)
class ViewEnded:
    """The view is over: a word and a sentence."""

    reason: str
    message: str


ViewEvent = StreamInfo | Frame | InputRefused | Clipboard | ClipboardSet | ViewEnded


@dataclass(frozen=True, kw_only=True)
class UiNode:
    """One element of a UI tree; `parent` is an index in the list, -1 for a root."""

    parent: int
    class_name: str = ""
    text: str = ""
    resource_id: str = ""
    description: str = ""
    package: str = ""
    bounds: tuple[int, int, int, int] = (0, 0, 0, 0)
    flags: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture file and its size in pixels."""

    data: bytes
    width: int
    height: int


@dataclass(frozen=True, kw_only=True)
class Still:
    """One picture of a screen, and the UI tree of the same moment if it was asked for."""

    picture: Picture
    is_png: bool
    taken_at: datetime
    nodes: tuple[UiNode, ...] = ()
    tree_refused: str = ""
    moved: bool = False


@dataclass(frozen=True, kw_only=True)
class Thumbnail:
    """A small picture of a phone's screen, or why there is none."""

    serialno: str
    picture: Picture | None = None
    taken_at: datetime | None = None
    is_evidence: bool = False
    refused: str = ""
