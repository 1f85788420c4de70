"""The kinds of evidence files that a run may leave, each with the media type callers get it as."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

MEDIA_TYPES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "screenshot": "image/png",
        "ui_dump": "application/xml; charset=utf-8",
        "logcat": "text/plain; charset=utf-8",
        "log": "text/plain; charset=utf-8",
        "manifest": "application/json",
    }
)
KINDS: Final = frozenset(MEDIA_TYPES)
"""To add a kind, also change the code of the executor or the agent that makes its files."""
