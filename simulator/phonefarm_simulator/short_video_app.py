"""The simulated short-video app: its screens, and what taps and keys do on them.

Nothing here draws (see screens) and nothing here knows of adb.
"""

import enum
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, assert_never

from phonefarm_simulator.app_account import Account, Post, PostFailure, profile_error
from phonefarm_simulator.ledger import Entry, Kind
from phonefarm_simulator.text_field import TextField
from phonefarm_simulator.video_catalogue import Video, feed_video, search_videos
from phonefarm_simulator.views import APP_PACKAGE, Bounds, Field, Focus, OpenResult, Press, Tap

RESULTS_ON_SCREEN = 5
UPLOAD_SECONDS = 0.3


class Screen(enum.StrEnum):
    """The screens of the app; a dialog or the log-in page may cover them."""

    FEED = "feed"
    SEARCH = "search"
    RESULTS = "results"
    PLAYER = "player"
    PROFILE = "profile"
    EDIT_PROFILE = "edit_profile"
    COMPOSER = "composer"


@dataclass(kw_only=True)
class Playback:
    """The video in view, since a monotonic second."""

    video: Video
    where: Screen
    position: int
    since: float


class ShortVideoApp:
    """The app, running or stopped, and its data."""

    package = APP_PACKAGE

    def __init__(
        self,
        *,
        account: Account,
        record: Callable[..., Entry],
        monotonic: Callable[[], float],
        wall: Callable[[], float],
        read: Callable[[str], bytes],
        next_post_failure: Callable[[], PostFailure | None],
    ) -> None:
        """Use *read* for the phone's files; *next_post_failure* says how the next post fails."""
        self._record = record
        self._read = read
        self._next_post_failure = next_post_failure
        self.upload_seconds = UPLOAD_SECONDS
        self._monotonic = monotonic
        self._wall = wall
        self.account = account
        self.running = False
        self.in_front = False
        self.consent_pending = False
        self.logged_out = False
        self.out_of_sight = False
        """True while the display is dark or a keyguard covers it."""
        self.keyboard_drawn = True
        self._playback: Playback | None = None
        self._reset()

    def _reset(self) -> None:
        self.screen = Screen.FEED
        self.feed_index = 0
        self.query = ""
        self.results: tuple[Video, ...] = ()
        self.results_offset = 0
        self.result_index = 0
        self.boxes = {name: TextField() for name in Field}
        self.focused: Field | None = None
        self.edit_error = ""
        self.stream = ""
        self.shared_path = ""
        self.uploaded_at: float | None = None
        self.post_error = ""
        self.notice = ""

    @property
    def activity(self) -> str:
        """The name of the activity in front."""
        return "ShareActivity" if self.screen is Screen.COMPOSER else "MainActivity"

    @property
    def place(self) -> str:
        """What the user would say is shown."""
        return "dialog" if self.covered else self.screen

    @property
    def covered(self) -> bool:
        """Whether a dialog or the log-in page covers the app's screens."""
        return self.consent_pending or self.logged_out

    @property
    def video(self) -> Video | None:
        """The video of the current screen, seen or not."""
        match self.screen:
            case Screen.FEED:
                return feed_video(self.feed_index)
            case Screen.PLAYER:
                return self.results[self.result_index]
            case (
                Screen.SEARCH
                | Screen.RESULTS
                | Screen.PROFILE
                | Screen.EDIT_PROFILE
                | Screen.COMPOSER
            ):
                return None
            case _:
                assert_never(self.screen)

    @property
    def watched(self) -> float:
        """Seconds the video in view has been in view; 0 when there is none."""
        return self._monotonic() - self._playback.since if self._playback else 0.0

    @property
    def plays(self) -> bool:
        """Whether a video is in view: the screen moves."""
        return self._playback is not None

    def start(self) -> bool:
        """Bring the app to the front as it was left, else the feed; tell whether it was stopped."""
        cold = not self.running
        if cold:
            self._reset()
            self.running = True
        if cold or not self.in_front:
            self._record(Kind.APP_STARTED, cold=cold)
        self.in_front = True
        self.track_video()
        return cold

    def posts(self) -> list[Post]:
        """Return the posts that others can see, the newest first."""
        now = self._monotonic()
        return [post for post in reversed(self.account.posts) if post.since <= now]

    def advance(self) -> None:
        """Apply the passage of time: a finished upload shows the profile."""
        if self.uploaded_at is not None and self._monotonic() >= self.uploaded_at:
            self._show(Screen.PROFILE)
            self.notice = "Posted"

    def share(self, stream: str, path: str) -> None:
        """Open the composer on a file of the phone, known to other apps as *stream*."""
        self.start()
        self.stream = stream
        self.shared_path = path
        self.boxes[Field.CAPTION].put("")
        self._show(Screen.COMPOSER)

    def stop(self, reason: str) -> bool:
        """End the app's process; tell whether it ran."""
        if not self.running:
            return False
        self.in_front = False
        self.track_video()
        self.running = False
        self._reset()
        self._record(Kind.APP_STOPPED, reason=reason)
        return True

    def hide(self) -> None:
        """Leave the foreground; the app keeps its state."""
        self.in_front = False
        self.track_video()

    def tap(self, tap: Tap, bounds: Bounds, x: float) -> None:
        """Do what a tap on a view with this action and these bounds does."""
        match tap:
            case Focus():
                self.focused = tap.field
                share = (x - bounds.left - 24) / max(1, bounds.right - bounds.left - 48)
                self.boxes[tap.field].move_near(share)
            case OpenResult():
                self.result_index = tap.index
                self._show(Screen.PLAYER)
            case Press():
                self._press(tap)
            case _:
                pass  # a view of another app

    def _press(self, press: Press) -> None:
        match press:
            case Press.FEED:
                self._show(Screen.FEED)
            case Press.SEARCH:
                self.boxes[Field.SEARCH].put("")
                self._show(Screen.SEARCH)
            case Press.PROFILE | Press.CANCEL_EDIT:
                self._show(Screen.PROFILE)
            case Press.SUBMIT_SEARCH:
                self._search()
            case Press.EDIT_PROFILE:
                self.boxes[Field.DISPLAY_NAME].put(self.account.display_name)
                self.boxes[Field.USERNAME].put(self.account.username)
                self.boxes[Field.BIO].put(self.account.bio)
                self._show(Screen.EDIT_PROFILE)
            case Press.SAVE_PROFILE:
                self._save_profile()
            case Press.POST:
                self._post()
            case Press.ACCEPT_CONSENT:
                self.consent_pending = False
                self._record(Kind.DIALOG_DISMISSED, dialog="consent")
                self.track_video()
            case Press.LOG_IN:
                pass
            case _:
                assert_never(press)

    def back(self) -> bool:
        """Do what the BACK key does; tell whether the app stays in front."""
        if self.consent_pending:
            return True
        if self.logged_out:
            return False
        if self.focused is not None and self.keyboard_drawn:
            self.focused = None  # the key closes the keyboard first
            return True
        match self.screen:
            case Screen.PLAYER:
                self._show(Screen.RESULTS)
            case Screen.RESULTS:
                self._show(Screen.SEARCH)
            case Screen.EDIT_PROFILE:
                self._show(Screen.PROFILE)
            case Screen.SEARCH | Screen.PROFILE | Screen.COMPOSER:
                self._show(Screen.FEED)
            case Screen.FEED:
                return False
            case _:
                assert_never(self.screen)
        return True

    def enter(self) -> None:
        """Do what the ENTER key does."""
        if not self.covered and self.focused is Field.SEARCH:
            self._search()

    def scroll(self, step: int) -> None:
        """Follow a swipe: step 1 towards what comes next (finger up), -1 back."""
        if self.covered:
            return
        match self.screen:
            case Screen.FEED:
                self.feed_index = max(0, self.feed_index + step)
            case Screen.PLAYER:
                self.result_index = min(len(self.results) - 1, max(0, self.result_index + step))
            case Screen.RESULTS:
                last = max(0, len(self.results) - RESULTS_ON_SCREEN)
                self.results_offset = min(
                    last, max(0, self.results_offset + step * (RESULTS_ON_SCREEN - 1))
                )
            case Screen.SEARCH | Screen.PROFILE | Screen.EDIT_PROFILE | Screen.COMPOSER:
                pass
            case _:
                assert_never(self.screen)
        self.track_video()

    def focused_field(self) -> TextField | None:
        """Return the field the keyboard types into, None when it types nowhere."""
        if self.covered or self.focused is None:
            return None
        return self.boxes[self.focused]

    def clear_data(self, account: Account) -> None:
        """Forget everything, as `pm clear` does."""
        self.stop("data cleared")
        self.account = account
        self._record(Kind.APP_DATA_CLEARED)

    def track_video(self) -> None:
        """Track the video in view, and record one that has left it."""
        video = self.video
        shown = self.running and self.in_front and not self.covered and not self.out_of_sight
        seen = video if shown else None
        position = self.feed_index if self.screen is Screen.FEED else self.result_index
        before = self._playback
        if before is not None:
            same = (before.video, before.where, before.position) == (seen, self.screen, position)
            if same:
                return
            self._playback = None
            self._record(
                Kind.VIDEO_SHOWN,
                **asdict(before.video),
                seconds=round(self._monotonic() - before.since, 3),
                since=before.since,
                where=before.where,
                query=self.query if before.where is Screen.PLAYER else "",
            )
        if seen is not None:
            self._playback = Playback(
                video=seen, where=self.screen, position=position, since=self._monotonic()
            )

    def describe(self) -> dict[str, Any]:
        """Return the app's state for the control API."""
        video = self.video if self._playback else None
        return {
            "running": self.running,
            "in_front": self.in_front,
            "screen": self.screen,
            "consent_dialog": self.consent_pending,
            "logged_out": self.logged_out,
            "query": self.query,
            "focused": self.focused,
            "video": asdict(video) if video else None,
            "watched_seconds": round(self.watched, 3),
        }

    def _show(self, screen: Screen) -> None:
        changed = screen is not self.screen
        self.screen = screen
        self.focused = None
        self.edit_error = ""
        self.post_error = ""
        self.notice = ""
        self.uploaded_at = None
        self.track_video()
        if changed:
            self._record(Kind.SCREEN_SHOWN, screen=screen)

    def _search(self) -> None:
        query = self.boxes[Field.SEARCH].text.strip()
        if not query:
            return
        self.query = query
        self.results = search_videos(query)
        self.results_offset = 0
        self._record(Kind.SEARCHED, query=query, results=len(self.results))
        self._show(Screen.RESULTS)

    def _save_profile(self) -> None:
        wanted = {
            "display_name": self.boxes[Field.DISPLAY_NAME].text.strip(),
            "username": self.boxes[Field.USERNAME].text.strip(),
            "bio": self.boxes[Field.BIO].text,
        }
        self.edit_error = profile_error(wanted["display_name"], wanted["username"])
        if self.edit_error:
            return
        changed = self.account.update(**wanted)
        self._record(Kind.PROFILE_SAVED, **wanted, changed=changed)
        self._show(Screen.PROFILE)

    def _post(self) -> None:
        try:
            data = self._read(self.shared_path)
        except OSError as error:
            self.post_error = f"The video cannot be read: {error.strerror}"
            return
        failure = self._next_post_failure()
        caption = self.boxes[Field.CAPTION].text
        if failure is PostFailure.REFUSED:
            self.post_error = "Could not post. Try again."
            self._record(Kind.POST_REFUSED, caption=caption, stream=self.stream)
            return
        since = self._monotonic() + self.upload_seconds
        if failure is not PostFailure.CRASH_BEFORE_POST:
            post = self.account.post(
                data, caption=caption, stream=self.stream, wall=self._wall(), since=since
            )
            self._record(
                Kind.POSTED,
                caption=caption,
                stream=self.stream,
                sha256=post.sha256,
                size=post.size,
            )
        if failure is None:
            self.focused = None
            self.post_error = ""
            self.uploaded_at = since
        else:
            self.stop("crash")
