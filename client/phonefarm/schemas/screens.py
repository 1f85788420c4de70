"""What viewers of a phone's screen send and get: messages of the WebSocket, and stills."""

from dataclasses import dataclass, field
from typing import Annotated, Literal, TypeAlias

from phonefarm.schemas.fields import Instant, Name, RequestModel, ResponseModel
from phonefarm.schemas.queries import Query
from pydantic import Field

MOST_THUMBNAILS = 200
StillKind: TypeAlias = Literal["jpeg", "png"]
Ticket = Annotated[
    str, Field(min_length=1, max_length=128, description="Needed if the request has no cookie")
]


class Open(RequestModel):
    """The first message of a viewer."""

    type: Literal["open"]
    ticket: Ticket | None = None
    mode: Literal["video", "stills"] = "video"
    quality: Literal["normal", "low"] = "normal"


class Show(RequestModel):
    """The phones whose thumbnails to send from now on; the first message may have a ticket."""

    type: Literal["show"]
    ticket: Ticket | None = None
    phone_ids: Annotated[list[Name], Field(max_length=MOST_THUMBNAILS, fail_fast=True)]


class KeyFrame(RequestModel):
    """The viewer's decoder has restarted, and needs a key frame."""

    type: Literal["key_frame"]


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One access unit of H.264, or a whole JPEG."""

    data: bytes = field(repr=False)
    key: bool
    timestamp_us: int

    def encoded(self) -> bytes:
        """Return the binary message: 1 for a key frame or 0, u64 big-endian microseconds, data."""
        return bytes((self.key,)) + self.timestamp_us.to_bytes(8, "big") + self.data


class Info(ResponseModel):
    """How to read the frames that follow this message."""

    type: Literal["info"] = "info"
    mode: Literal["video", "stills"]
    codec: Annotated[str, Field(description="The codec string for WebCodecs; `jpeg` for stills")]
    width: int
    height: int
    reason: Annotated[
        str | None,
        Field(
            description="Why the frames are stills and not video: a word, a colon and a sentence"
        ),
    ]
    warning: Annotated[str | None, Field(description="A problem that the viewer should know about")]


class InputRefused(ResponseModel):
    """The phone did not get the viewer's input."""

    type: Literal["input_refused"] = "input_refused"
    reason: str
    message: str


class Clipboard(ResponseModel):
    """The phone's clipboard, for the viewer that asked for it."""

    type: Literal["clipboard"] = "clipboard"
    text: str


class ClipboardSet(ResponseModel):
    """The phone has received the viewer's clipboard text."""

    type: Literal["clipboard_set"] = "clipboard_set"
    sequence: int


class Ended(ResponseModel):
    """The last message: why the stream has ended."""

    type: Literal["ended"] = "ended"
    reason: str
    message: str


Said: TypeAlias = Info | InputRefused | Clipboard | ClipboardSet | Ended


class Thumbnail(ResponseModel):
    """The phone that a small picture shows."""

    type: Literal["thumbnail"] = "thumbnail"
    phone_id: str
    taken_at: Instant | None
    source: Annotated[
        Literal["phone", "evidence"],
        Field(description="`phone`: the screen; `evidence`: a picture that the phone's run stored"),
    ]
    refused: Annotated[
        str | None, Field(description="Why there is no picture; null if there is a picture")
    ]


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A thumbnail, and the phone that it shows."""

    about: Thumbnail
    jpeg: bytes = field(repr=False)


class Node(ResponseModel):
    """One element of the screen, with the field names of Android's AccessibilityNodeInfo."""

    parent: Annotated[int, Field(description="The parent's index in `nodes`; -1 for a root")]
    class_name: str
    text: str
    resource_id: str
    description: str
    package: str
    bounds: Annotated[
        tuple[int, ...], Field(description="Left, top, right and bottom, in the phone's pixels")
    ]
    clickable: bool
    enabled: bool
    checked: bool
    focused: bool
    selected: bool
    scrollable: bool
    password: bool


class Inspection(ResponseModel):
    """A picture of the screen and its elements."""

    picture: Annotated[str, Field(description="JPEG, base64")]
    width: Annotated[int, Field(description="In the phone's pixels, like `bounds`")]
    height: int
    taken_at: Instant
    nodes: Annotated[
        tuple[Node, ...], Field(description="The elements; each parent comes before its children")
    ]
    tree_refused: Annotated[
        str | None, Field(description="Why there are no elements; null if there are elements")
    ]
    moved: Annotated[
        bool, Field(description="True if the screen changed between the picture and the elements")
    ]


class StillQuery(Query):
    """The picture format of a still."""

    format: StillKind = "jpeg"
