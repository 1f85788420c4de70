"""Actions that browse: open the feed, search, watch. They change nothing."""

import time

from phonefarm_executor.actions.registry import Context, Outputs, TypedText, action
from phonefarm_executor.app_driver import Drive
from phonefarm_executor.failures import Code, FailedError
from phonefarm_executor.screen import Screen
from phonefarm_executor.video_judge import Judging

SAMPLE_SECONDS = 2.0
"""The run checks this often that the video is still in view."""
PASS_SECONDS = 2.0
"""A video that the judge rejects is watched for at most this long."""


@action
def open_feed(context: Context) -> Outputs:
    """Go to the feed."""
    context.drive.reach("feed")
    return {}


@action
def search(context: Context, *, keyword: TypedText) -> Outputs:
    """Search for a keyword and count the results in view."""
    drive = context.drive
    item = drive.profile.selector("results.item")
    drive.reach("search")
    drive.fill("search.box", keyword)
    drive.phone.press("ENTER")
    context.results.forget()
    shown = drive.arrive("results")
    if shown.find(item) is None:  # the list may fill later than its screen shows
        shown = drive.until(lambda screen: screen.find(item) is not None) or shown
    return {"keyword": keyword, "results": sum(1 for _ in shown.find_all(item))}


@action
def watch(context: Context, *, seconds: float, index: int | None = None) -> Outputs:
    """Watch what plays now, or the result at *index*; a keyword with fewer results skips it."""
    drive = context.drive
    if index is not None:
        found = context.results.open(index)
        if found <= index:
            return {"title": "", "seconds": 0.0, "skipped": f"the search found only {found}"}
    title, watched = _watch(drive, seconds)
    return {"title": title, "seconds": watched}


@action
def scroll_feed(
    context: Context, *, videos: int, watch_seconds: float, judge_prompt: str = ""
) -> Outputs:
    """Watch so many videos of the feed, short those that do not fit *judge_prompt*.

    The host's judge decides while a video is watched. Without its verdict the run watches on.
    """
    drive = context.drive
    drive.reach("feed")
    watched: list[Outputs] = []
    for place in range(videos):
        if place:
            _next_video(drive)
        if not judge_prompt:
            title, seconds = _watch(drive, watch_seconds)
            watched.append({"title": title, "seconds": seconds})
            continue
        title, seconds = _watch(drive, watch_seconds, judged=(context.judging, context.index))
        judged = context.judging.verdict()
        watched.append({"title": title, "seconds": seconds, "judged": judged})
    return {"videos": watched}


def _texts(drive: Drive, screen: Screen) -> list[str]:
    """Return what the profile's selectors read beside the video: the title first."""
    place = drive.profile.place_of(screen)
    group = f"{place.name}." if place else "?"
    names = sorted(drive.profile.selectors, key=lambda name: not name.endswith(".title"))
    nodes = [screen.find(drive.profile.selectors[name]) for name in names if name.startswith(group)]
    return list(dict.fromkeys(node.text for node in nodes if node and node.text))


def _video_on(drive: Drive, screen: Screen) -> str | None:
    """Return the title of the video on a screen; None for a screen that shows none."""
    place = drive.profile.place_of(screen)
    selector = drive.profile.selectors.get(f"{place.name}.title") if place else None
    node = screen.find(selector) if selector else None
    return node.text if node else None


def _watch(
    drive: Drive, seconds: float, *, judged: tuple[Judging, int] | None = None
) -> tuple[str, float]:
    """Return the title and how long it was in view, once that is *seconds* at least.

    Less when it is *judged*, by whom for which action, and not wished for.

    Time counts between two looks that both show the video; what lies over it does not count.
    """
    screen = drive.until(lambda now: _video_on(drive, now) is not None)
    title = _video_on(drive, screen) if screen else None
    if title is None:
        where = drive.name_of(drive.last_screen) if drive.last_screen else "unknown"
        raise FailedError(Code.SCREEN_NOT_REACHED, f"no video plays on the screen {where}")
    judging = None
    if judged is not None and screen is not None:
        judging, action = judged
        judging.begin(action, _texts(drive, screen))
    watched = 0.0
    while watched < seconds:
        if judging is not None and watched >= PASS_SECONDS and judging.passes:
            break
        begun = time.monotonic()
        drive.pace.wait(min(SAMPLE_SECONDS, seconds - watched))
        between = time.monotonic() - begun
        dismissed = drive.interruptions
        now = _video_on(drive, drive.look())
        if now != title:
            message = f"{title!r} left the screen after {watched:.1f} of {seconds:g} s: {now!r}"
            raise FailedError(Code.SCREEN_NOT_REACHED, message)
        if drive.interruptions == dismissed:
            watched += between
    return title, round(watched, 2)


def _next_video(drive: Drive) -> None:
    before = _video_on(drive, drive.look())
    for _ in range(2):  # one swipe may be lost
        drive.phone.swipe("up")
        if drive.until(lambda now: _video_on(drive, now) not in {None, before}) is not None:
            return
    raise FailedError(Code.SCREEN_NOT_REACHED, f"after the swipe, the feed still shows {before!r}")
