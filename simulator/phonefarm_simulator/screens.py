"""Builds the app's screens as trees of views from its state."""

import math
from typing import assert_never

from phonefarm_simulator.short_video_app import RESULTS_ON_SCREEN, Screen, ShortVideoApp
from phonefarm_simulator.video_catalogue import Video
from phonefarm_simulator.views import (
    APP_PACKAGE,
    SCREEN,
    WIDTH,
    Bounds,
    Field,
    Focus,
    OpenResult,
    Press,
    Style,
    Tap,
    View,
)

TITLES = {
    Screen.FEED: "For you",
    Screen.SEARCH: "Search",
    Screen.RESULTS: "Results",
    Screen.PLAYER: "Video",
    Screen.PROFILE: "Profile",
    Screen.EDIT_PROFILE: "Edit profile",
    Screen.COMPOSER: "New post",
}
_TABS = (
    ("nav_feed", "Home", Press.FEED, {Screen.FEED}),
    ("nav_search", "Search", Press.SEARCH, {Screen.SEARCH, Screen.RESULTS, Screen.PLAYER}),
    ("nav_profile", "Profile", Press.PROFILE, {Screen.PROFILE, Screen.EDIT_PROFILE}),
)
_CONTENT = Bounds(0, 144, WIDTH, 1160)
_ROW_HEIGHT = 180
_MARGIN = 32
POSTS_ON_SCREEN = 6
VIDEO_LOOP_SECONDS = 4
VIDEO_FRAMES_PER_SECOND = 30


def app_screen(app: ShortVideoApp) -> View:
    """Return the app's screen, or its dialog's window when one is open."""
    if app.consent_pending:
        return _page(_consent_dialog())
    if app.logged_out:
        return _page(*_log_in())
    return _page(_title(TITLES[app.screen]), *_content(app), _tabs(app))


def _content(app: ShortVideoApp) -> tuple[View, ...]:
    match app.screen:
        case Screen.FEED | Screen.PLAYER:
            return _video(app)
        case Screen.SEARCH:
            return _search(app)
        case Screen.RESULTS:
            return _results(app)
        case Screen.PROFILE:
            return _profile(app)
        case Screen.EDIT_PROFILE:
            return _edit_profile(app)
        case Screen.COMPOSER:
            return _composer(app)
        case _:
            assert_never(app.screen)


def _page(*children: View) -> View:
    return View(
        kind="android.widget.FrameLayout", bounds=SCREEN, style=Style.PAGE, children=children
    )


def _title(text: str) -> View:
    title = _label("screen_title", text, Bounds(_MARGIN, 64, 560, 128), Style.TITLE)
    return View(
        kind="android.widget.LinearLayout",
        bounds=Bounds(0, 48, WIDTH, 144),
        name="title_bar",
        style=Style.BAR,
        children=(title,),
    )


def _tabs(app: ShortVideoApp) -> View:
    width = WIDTH // len(_TABS)
    tabs = tuple(
        View(
            kind="android.widget.Button",
            bounds=Bounds(index * width, 1160, (index + 1) * width, 1280),
            name=name,
            text=text,
            description=text,
            style=Style.TAB,
            tap=press,
            focusable=True,
            selected=app.screen in screens,
        )
        for index, (name, text, press, screens) in enumerate(_TABS)
    )
    return View(
        kind="android.widget.LinearLayout",
        bounds=Bounds(0, 1160, WIDTH, 1280),
        name="bottom_bar",
        style=Style.BAR,
        children=tabs,
    )


def _video(app: ShortVideoApp) -> tuple[View, ...]:
    video = app.video
    if video is None:
        return ()
    position = app.watched % video.length
    children = [
        _label("video_author", f"@{video.author}", Bounds(32, 930, 688, 980), Style.VIDEO_AUTHOR),
        _label("video_title", video.title, Bounds(32, 980, 688, 1060), Style.VIDEO_TITLE),
    ]
    if app.screen is Screen.PLAYER:
        at = math.floor(position)
        children.append(
            View(
                kind="android.widget.ProgressBar",
                bounds=Bounds(32, 1090, 688, 1130),
                name="player_progress",
                text=f"{at // 60}:{at % 60:02} / {video.length // 60}:{video.length % 60:02}",
                style=Style.PROGRESS,
                share=at / video.length,
            )
        )
    pager = View(
        kind="androidx.viewpager2.widget.ViewPager2",
        bounds=_CONTENT,
        name="video_pager",
        description=video.title,
        style=Style.VIDEO,
        share=_moment(app.watched),
        scrollable=True,
        children=tuple(children),
    )
    return (pager,)


def _moment(watched: float) -> float:
    """Return how far the pictures of a video are: they begin again every 4 s."""
    frames = VIDEO_LOOP_SECONDS * VIDEO_FRAMES_PER_SECOND
    return math.floor(watched * VIDEO_FRAMES_PER_SECOND) % frames / frames


def _search(app: ShortVideoApp) -> tuple[View, ...]:
    return (
        _field(app, Field.SEARCH, Bounds(32, 176, 528, 264), "Search videos"),
        _button("search_button", "Search", Bounds(548, 176, 688, 264), Press.SUBMIT_SEARCH),
        _label(
            "search_hint", "Type a word and press Search", Bounds(32, 300, 688, 360), Style.FAINT
        ),
    )


def _results(app: ShortVideoApp) -> tuple[View, ...]:
    first = app.results_offset
    rows = tuple(
        _result(video, first + index, 224 + index * _ROW_HEIGHT)
        for index, video in enumerate(app.results[first : first + RESULTS_ON_SCREEN])
    )
    listing = View(
        kind="androidx.recyclerview.widget.RecyclerView",
        bounds=Bounds(0, 216, WIDTH, 1160),
        name="results_list",
        scrollable=True,
        children=rows,
    )
    return (
        _label("results_query", app.query, Bounds(32, 152, 688, 212), Style.FAINT),
        listing,
    )


def _result(video: Video, index: int, top: int) -> View:
    bounds = Bounds(16, top, 704, top + _ROW_HEIGHT - 12)
    return View(
        kind="android.view.ViewGroup",
        bounds=bounds,
        name="result_item",
        description=video.title,
        style=Style.CARD,
        tap=OpenResult(index=index),
        focusable=True,
        children=(
            View(
                kind="android.widget.ImageView",
                bounds=Bounds(28, top + 12, 148, top + 156),
                name="result_thumbnail",
                description=video.id,
                style=Style.THUMBNAIL,
            ),
            _label("result_title", video.title, Bounds(168, top + 24, 692, top + 84), Style.TEXT),
            _label(
                "result_author",
                f"@{video.author}",
                Bounds(168, top + 92, 692, top + 136),
                Style.FAINT,
            ),
        ),
    )


def _profile(app: ShortVideoApp) -> tuple[View, ...]:
    account = app.account
    shown = app.posts()
    posts = tuple(
        _label(
            "profile_video",
            post.caption or "Untitled",
            Bounds(32, 640 + index * 84, 688, 716 + index * 84),
            Style.CARD,
        )
        for index, post in enumerate(shown[:POSTS_ON_SCREEN])
    )
    notice = _label("profile_notice", app.notice, Bounds(400, 572, 688, 624), Style.ALERT)
    return (
        View(
            kind="android.widget.ImageView",
            bounds=Bounds(32, 176, 192, 336),
            name="profile_picture",
            description=account.display_name,
            style=Style.AVATAR,
        ),
        _label(
            "profile_display_name", account.display_name, Bounds(216, 192, 688, 252), Style.NAME
        ),
        _label("profile_username", f"@{account.username}", Bounds(216, 260, 688, 312), Style.FAINT),
        _label("profile_bio", account.bio, Bounds(32, 352, 688, 440), Style.TEXT),
        _button(
            "edit_profile_button",
            "Edit profile",
            Bounds(32, 460, 688, 548),
            Press.EDIT_PROFILE,
            Style.QUIET_BUTTON,
        ),
        _label("profile_videos_label", "Videos", Bounds(32, 572, 200, 624), Style.FAINT),
        _label(
            "profile_post_count", f"{len(shown)} posts", Bounds(200, 572, 400, 624), Style.FAINT
        ),
        *((notice,) if app.notice else ()),
        *posts,
    )


def _edit_profile(app: ShortVideoApp) -> tuple[View, ...]:
    rows: list[View] = []
    fields = (
        (Field.DISPLAY_NAME, "Display name"),
        (Field.USERNAME, "Username"),
        (Field.BIO, "Bio"),
    )
    for index, (name, label) in enumerate(fields):
        top = 176 + index * 160
        rows.append(_label("", label, Bounds(32, top, 688, top + 44), Style.FAINT))
        rows.append(_field(app, name, Bounds(32, top + 48, 688, top + 136), label))
    if app.edit_error:
        rows.append(_label("edit_error", app.edit_error, Bounds(32, 650, 688, 700), Style.ALERT))
    return (
        *rows,
        _button(
            "cancel_button",
            "Cancel",
            Bounds(32, 720, 348, 808),
            Press.CANCEL_EDIT,
            Style.QUIET_BUTTON,
        ),
        _button("save_button", "Save", Bounds(372, 720, 688, 808), Press.SAVE_PROFILE),
    )


def _composer(app: ShortVideoApp) -> tuple[View, ...]:
    file_name = app.shared_path.rsplit("/", 1)[-1]
    error = _label("composer_error", app.post_error, Bounds(32, 904, 688, 956), Style.ALERT)
    below: tuple[View, ...] = (
        _field(app, Field.CAPTION, Bounds(32, 672, 688, 760), "Write a caption"),
        _button("post_button", "Post", Bounds(32, 800, 688, 888), Press.POST),
        *((error,) if app.post_error else ()),
    )
    if app.uploaded_at is not None:
        below = (_label("composer_progress", "Uploading", Bounds(32, 672, 688, 760), Style.TEXT),)
    return (
        View(
            kind="android.widget.ImageView",
            bounds=Bounds(220, 176, 500, 576),
            name="composer_preview",
            description=file_name,
            style=Style.THUMBNAIL,
        ),
        _label("composer_file", file_name, Bounds(32, 596, 688, 648), Style.FAINT),
        *below,
    )


def _consent_dialog() -> View:
    return View(
        kind="android.widget.FrameLayout",
        bounds=Bounds(60, 420, 660, 860),
        name="dialog",
        style=Style.DIALOG,
        children=(
            _label("dialog_title", "We updated our terms", Bounds(100, 460, 620, 520), Style.NAME),
            _label(
                "dialog_text",
                "Accept them to keep watching.",
                Bounds(100, 540, 620, 600),
                Style.TEXT,
            ),
            _button(
                "consent_accept_button", "Accept", Bounds(100, 720, 620, 808), Press.ACCEPT_CONSENT
            ),
        ),
    )


def _log_in() -> tuple[View, ...]:
    return (
        _label("login_title", "Log in", Bounds(32, 360, 688, 440), Style.NAME),
        _label("login_text", "Your session has ended.", Bounds(32, 460, 688, 520), Style.FAINT),
        _button("login_button", "Log in", Bounds(32, 560, 688, 648), Press.LOG_IN),
    )


def _label(name: str, text: str, bounds: Bounds, style: Style) -> View:
    return View(kind="android.widget.TextView", bounds=bounds, name=name, text=text, style=style)


def _button(name: str, text: str, bounds: Bounds, tap: Tap, style: Style = Style.BUTTON) -> View:
    return View(
        kind="android.widget.Button",
        bounds=bounds,
        name=name,
        text=text,
        style=style,
        tap=tap,
        focusable=True,
    )


def _field(app: ShortVideoApp, field: Field, bounds: Bounds, hint: str) -> View:
    return View(
        kind="android.widget.EditText",
        bounds=bounds,
        package=APP_PACKAGE,
        name=field,
        text=app.boxes[field].text,
        description="" if app.boxes[field].text else hint,
        style=Style.FIELD,
        tap=Focus(field=field),
        focusable=True,
        focused=app.focused is field,
    )
