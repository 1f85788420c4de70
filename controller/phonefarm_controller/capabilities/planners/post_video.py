"""post_video: fetch the video, hand it to the app, write the caption, post it once, look for it."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from phonefarm_controller.capabilities.fields import Field, Text, TextList, Url
from phonefarm_controller.model.plans import Action, Plan, Repeat

VIDEO: Final = "video"
"""The name of the asset in the run."""

FETCH_SECONDS: Final = 900.0
PUSH_SECONDS: Final = 300.0
POST_SECONDS: Final = 300.0
"""A long limit, because the app uploads the video before it shows that it has posted."""
TYPED_PER_SECOND: Final = 10

FIELDS: Final[tuple[Field, ...]] = (
    Url(
        name="video_url",
        description="the URL from which the phone host fetches the video",
        most=4000,
        required=True,
    ),
    Text(name="caption", description="the text of the post", most=4000, typed=True, required=True),
    TextList(
        name="hashtags",
        description="hashtags to append to the caption, with or without the leading #",
        least=0,
        most=100,
        longest=100,
        typed=True,
    ),
    Text(name="sound_id", description="stored with the request; the run does not use it", most=256),
    Url(
        name="cover_image_url",
        description="stored with the request; the run does not use it",
        most=4000,
    ),
)


def plan(inputs: Mapping[str, Any]) -> Plan:
    """Return the plan. Only confirm_post is not to be repeated."""
    text = caption_of(inputs["caption"], inputs["hashtags"])
    actions = (
        Action(
            kind="fetch_asset",
            params={"asset": VIDEO, "url": inputs["video_url"], "type": "video"},
            limit_seconds=FETCH_SECONDS,
        ),
        Action(kind="push_file", params={"asset": VIDEO}, limit_seconds=PUSH_SECONDS),
        Action(kind="share_video", params={"asset": VIDEO}),
        Action(
            kind="write_caption",
            params={"text": text},
            limit_seconds=60 + len(text) / TYPED_PER_SECOND,
        ),
        Action(kind="confirm_post", limit_seconds=POST_SECONDS, repeat=Repeat.ONCE),
        Action(kind="verify_posted", params={"caption": text}),
        Action(kind="stop_app"),
    )
    return Plan(actions=actions)


def caption_of(caption: str, hashtags: Iterable[str]) -> str:
    """Return the caption and the hashtags, each with one leading #, joined by spaces."""
    names = [tag.strip().lstrip("#").strip() for tag in hashtags]
    return " ".join([caption, *(f"#{name}" for name in names if name)])
