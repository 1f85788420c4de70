"""The videos of the simulated app: endless, and the same on every phone."""

import hashlib
from dataclasses import dataclass

RESULTS_PER_SEARCH = 20

_TOPICS = (
    "sourdough bread",
    "street photography",
    "latte art",
    "bouldering",
    "tiny houses",
    "night trains",
    "watercolour",
    "balcony garden",
    "trail running",
    "film cameras",
    "ramen at home",
    "bike repair",
)
_SHAPES = (
    "{} for beginners",
    "{} in 60 seconds",
    "5 mistakes with {}",
    "{}: what nobody told me",
    "A quiet morning with {}",
    "{} on a small budget",
    "I tried {} for 30 days",
    "{}, start to finish",
)
_AUTHORS = (
    "maya.makes",
    "northlight",
    "slow.sunday",
    "oskar_b",
    "linh.daily",
    "the.workbench",
    "pia_outdoors",
    "harbourview",
)


@dataclass(frozen=True, kw_only=True)
class Video:
    """One video; `length` in seconds."""

    id: str
    title: str
    author: str
    length: int


def feed_video(index: int) -> Video:
    """Return the video at `index` of the feed."""
    return _video("feed", _TOPICS[_number("topic", index) % len(_TOPICS)], index)


def search_videos(query: str) -> tuple[Video, ...]:
    """Return what a search for `query` finds: nothing for blanks, else twenty videos about it."""
    topic = " ".join(query.split())
    if not topic:
        return ()
    return tuple(
        _video(f"search:{topic.lower()}", topic, index) for index in range(RESULTS_PER_SEARCH)
    )


def _video(source: str, topic: str, index: int) -> Video:
    number = _number(source, index)
    shape = _SHAPES[index % len(_SHAPES)]
    title = shape.format(topic)
    title = title[:1].upper() + title[1:]
    part = index // len(_SHAPES)
    return Video(
        id=f"v{number:08x}",
        title=f"{title}, part {part + 1}" if part else title,
        author=_AUTHORS[number % len(_AUTHORS)],
        length=15 + number % 46,
    )


def _number(source: str, index: int) -> int:
    digest = hashlib.sha256(f"{source}/{index}".encode()).digest()
    return int.from_bytes(digest[:4], "big")
