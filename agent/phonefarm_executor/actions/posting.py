"""Actions that post a video: fetch, push, share, write, confirm, and look whether it is there."""

import re
import time
from collections.abc import Callable

from phonefarm_executor.actions.registry import (
    AssetName,
    Context,
    Outputs,
    TypedText,
    action,
    action_with,
    phone_action,
)
from phonefarm_executor.app_driver import Drive
from phonefarm_executor.app_profile import Profile
from phonefarm_executor.failures import Code, FailedError
from phonefarm_executor.post_draft import Wall
from phonefarm_executor.screen import Screen
from phonefarm_executor.text_input import as_dumped

POLL_SECONDS = 0.3
REFRESH_SECONDS = 3.0
MARGIN_SHARE = 0.1
MOST_MARGIN_SECONDS = 5.0
"""The end of an action's time that is kept for its report: a tenth of it, at most this."""


def _needs(*selectors: str, place: str) -> Callable[[Profile], None]:
    """Return a check that the profile has what posting needs, before the first action."""

    def check(profile: Profile) -> None:
        profile.place(place)
        for name in selectors:
            profile.selector(name)

    return check


def _can_share(profile: Profile) -> None:
    profile.place("composer")
    _ = profile.share_component
    if profile.place("profile").tap is None:
        message = f"the app profile {profile.name} has no tap that leads to the screen profile"
        raise FailedError(Code.PLAN_INVALID, message)
    profile.selector("profile.post")


@phone_action
def fetch_asset(context: Context, *, asset: AssetName, url: str, type: str) -> Outputs:  # noqa: A002 - the param's name
    """Have the agent fetch a file; it reads *url* in the plan, the container has no network."""
    del url
    fetched = context.draft.fetch(asset, type)
    return {
        "bytes": fetched.size,
        "sha256": fetched.sha256,
        "content_type": fetched.content_type,
    }


@action
def push_file(context: Context, *, asset: AssetName) -> Outputs:
    """Put a fetched file where the phone's apps can read it."""
    draft = context.draft
    fetched, target = draft.asset(asset), draft.place_of(asset)
    context.drive.phone.push(fetched.path, target, sha256=fetched.sha256)
    draft.pushed[asset] = target
    return {"path": target, "bytes": fetched.size}


@action_with(_can_share)
def share_video(context: Context, *, asset: AssetName) -> Outputs:
    """Open the app's composer with a pushed file, having seen what is posted so far."""
    drive, draft = context.drive, context.draft
    fetched, target = draft.asset(asset), draft.pushed.get(asset)
    if target is None:
        raise FailedError(Code.PLAN_INVALID, f"{asset} has not been pushed")
    drive.reach("profile")
    draft.before = _wall(drive, drive.look())
    uri = drive.phone.index_media(target, fetched.folder)
    drive.phone.share(drive.profile.share_component, uri, fetched.content_type)
    drive.arrive("composer")
    return {"screen": "composer"}


@action_with(_needs("composer.caption", "composer.post", place="composer"))
def write_caption(context: Context, *, text: TypedText) -> Outputs:
    """Write the caption and make sure that the post button can be touched."""
    drive = context.drive
    drive.arrive("composer")
    drive.fill("composer.caption", text)
    drive.phone.hide_keyboard()
    drive.find("composer.post")
    return {"text": text}


@action_with(_needs("composer.post", "composer.posted", place="composer"))
def confirm_post(context: Context) -> Outputs:
    """Touch the post button and wait for the sign that it was posted; begin this only once.

    `outcome_unknown` when the button was touched and no sign came, `post_not_confirmed` when the
    app itself says that it was not posted.
    """
    drive = context.drive
    button = drive.find_at_rest("composer.post")
    context.draft.tapped = True
    try:
        drive.phone.tap(*button.center)
        shown = _sign(drive)
    except FailedError as error:
        raise FailedError(Code.OUTCOME_UNKNOWN, error.message, detail="confirm_post") from error
    posted = drive.profile.selector("composer.posted")
    if shown is None:
        words = drive.last_screen.words() if drive.last_screen else ""
        message = f"no {posted} after the tap (the screen reads: {words})"
        raise FailedError(Code.OUTCOME_UNKNOWN, message, detail="confirm_post")
    if shown.find(posted) is None:
        message = f"the app reports that it did not post the video: {shown.words()}"
        raise FailedError(Code.POST_NOT_CONFIRMED, message)
    return {"confirmed": True}


def _sign(drive: Drive) -> Screen | None:
    """Return the screen with a sign of how it went; None at the limit, or when the app is gone."""
    posted = drive.profile.selector("composer.posted")
    refused = drive.profile.selectors.get("composer.failed")
    margin = _margin(drive)
    gone_since: float | None = None
    while drive.pace.remaining() > margin:
        screen = drive.look()
        if screen.find(posted) or (refused and screen.find(refused)):
            return screen
        if drive.profile.package in screen.packages():
            gone_since = None
        else:
            gone_since = gone_since or time.monotonic()
            if time.monotonic() - gone_since >= drive.patience:
                return None
        drive.pace.wait(POLL_SECONDS)
    return None


@action_with(_needs("profile.post", place="profile"))
def verify_posted(context: Context, *, caption: str) -> Outputs:
    """Find the post with the caption on the account's profile, else `post_not_confirmed`.

    When this run touched the post button, what stands there must differ from what stood there
    before: an older post with the same words proves nothing.
    """
    drive, draft = context.drive, context.draft
    margin = _margin(drive)
    refreshed_at = time.monotonic()
    while True:
        wall = _wall(drive, drive.reach("profile"))
        title = next((shown for shown in wall.captions if _is_caption(shown, caption)), None)
        fresh = not draft.tapped or draft.before is None or _grew(draft.before, wall)
        if title is not None and fresh:
            posts = len(wall.captions) if wall.count is None else wall.count
            return {"title": title, "posts": posts}
        if drive.pace.remaining() <= margin:
            old = " but an older one" if title is not None else ""
            message = f"no post{old} has the caption; the profile reads: {list(wall.captions)}"
            raise FailedError(Code.POST_NOT_CONFIRMED, message)
        if time.monotonic() - refreshed_at >= REFRESH_SECONDS:
            drive.phone.swipe("down")
            refreshed_at = time.monotonic()
        drive.pace.wait(min(POLL_SECONDS, max(0.0, drive.pace.remaining() - margin)))


def _margin(drive: Drive) -> float:
    return min(MOST_MARGIN_SECONDS, drive.pace.remaining() * MARGIN_SHARE)


def _wall(drive: Drive, screen: Screen) -> Wall:
    """Return the posts in view; a post's caption is what it reads, first its own text."""
    posts = screen.find_all(drive.profile.selector("profile.post"))
    counter = drive.profile.selectors.get("profile.post_count")
    node = screen.find(counter) if counter else None
    digits = re.search(r"\d+", node.text.replace(",", "")) if node else None
    return Wall(
        captions=tuple(next(iter(node.texts()), "") for node in posts),
        count=int(digits[0]) if digits else None,
    )


def _grew(before: Wall, now: Wall) -> bool:
    if before.count is not None and now.count is not None:
        return now.count > before.count
    return now.captions != before.captions


def _is_caption(shown: str, caption: str) -> bool:
    """Tell whether a text on the screen is the caption, whole or as the app cut it short."""
    if as_dumped(caption) != caption and _is_caption(shown, as_dumped(caption)):
        return True
    shown, caption = " ".join(shown.split()), " ".join(caption.split())
    cut = shown.removesuffix("…").removesuffix("...").rstrip()
    return shown == caption or (cut != shown and bool(cut) and caption.startswith(cut))
