"""Response models of windows: the weekly hours in which work may begin."""

from typing import Annotated

from phonefarm.schemas.fields import Instant, ResponseModel, WindowScope
from pydantic import Field


class Window(ResponseModel):
    """The weekly hours in which the work of an account, phone, group or capability may begin."""

    scope: WindowScope
    name: Annotated[
        str, Field(description="Name of the account, phone, group of phones or capability")
    ]
    zone: Annotated[str, Field(description="A time zone of the IANA database")]
    hours: Annotated[tuple[str, ...], Field(description="For example `mon-fri 09:00-17:00`")]
    may_overrun: Annotated[
        bool,
        Field(
            description="If true, runs may begin at any time before the hours close. If false, a "
            "run begins only if its time limit ends before the hours close"
        ),
    ]
    since: Instant | None
    by: str
    reason: str
    open: Annotated[bool, Field(description="Whether the hours are open now")]
    changes_at: Annotated[
        Instant | None,
        Field(description="When the hours open or close next; null if in more than four weeks"),
    ]


class WindowList(ResponseModel):
    """Every window, by scope and name."""

    windows: tuple[Window, ...]


class WindowRemoved(ResponseModel):
    """The scope has no window."""

    scope: str
    name: str
    removed: Annotated[bool, Field(description="false if the scope had no window")]
