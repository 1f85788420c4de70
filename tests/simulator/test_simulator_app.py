"""The short-video app as a program sees it: dump the screen, tap what was found, see the effect."""

import asyncio
import io
import re
from collections.abc import Sequence
from xml.etree import ElementTree as ET

import pytest
from phonefarm_simulator.farm import SimulatedPhone
from phonefarm_simulator.ledger import Kind
from PIL import Image
from support.adb import AdbServer

APP = "com.example.shortvideo"
BOUNDS = re.compile(r"\[(\d+),(\d+)\]\[(\d+),(\d+)\]")


class Finger:
    """Finds views in the dump and touches them, as the executor does."""

    def __init__(self, adb: AdbServer, serial: str) -> None:
        self.adb = adb
        self.serial = serial

    async def do(self, command: str) -> str:
        """Run a shell command that must succeed."""
        answer = await self.adb.shell(self.serial, command)
        assert answer.status == 0, answer
        return answer.text

    async def nodes(self, name: str) -> list[ET.Element]:
        """Return the dump's nodes with this resource name."""
        await self.do("uiautomator dump /sdcard/dump.xml")
        answer = await self.adb.run("exec-out", "cat /sdcard/dump.xml", serial=self.serial)
        root = ET.fromstring(answer.out)  # noqa: S314 -- our own phone wrote it
        return [
            node
            for node in root.iter("node")
            if node.get("resource-id", "").endswith(f":id/{name}")
        ]

    async def until(self, name: str) -> None:
        """Return once a view of this name shows."""
        async with asyncio.timeout(180):
            while not await self.nodes(name):
                pass

    async def text(self, name: str) -> str:
        """Return the text of the one view with this name."""
        (node,) = await self.nodes(name)
        return node.get("text", "")

    async def tap(self, name: str, *, place: int = 0) -> None:
        """Tap the middle of a view."""
        node = (await self.nodes(name))[place]
        match = BOUNDS.fullmatch(node.get("bounds", ""))
        assert match is not None
        left, top, right, bottom = map(int, match.groups())
        await self.do(f"input tap {(left + right) // 2} {(top + bottom) // 2}")

    async def fill(self, name: str, text: str) -> None:
        """Replace a field's text."""
        await self.tap(name)
        held = await self.text(name)
        await self.do("input keyevent KEYCODE_MOVE_END " + "67 " * len(held))
        await self.do(f"input text {text.replace(' ', '%s')}")


@pytest.fixture
async def finger(adb: AdbServer, phone: SimulatedPhone) -> Finger:
    """Open the app and return a finger over it."""
    finger = Finger(adb, phone.address)
    await finger.do(f"am start -W -n {APP}/.MainActivity")
    return finger


def watched(phone: SimulatedPhone) -> Sequence[tuple[str, float]]:
    """Return title and seconds of each video the ledger saw."""
    return [
        (entry.detail["title"], entry.detail["seconds"])
        for entry in phone.ledger()
        if entry.kind is Kind.VIDEO_SHOWN
    ]


async def test_launcher_icon_opens_the_app(adb: AdbServer, phone: SimulatedPhone) -> None:
    """From the home screen a tap on the icon shows the feed."""
    finger = Finger(adb, phone.address)

    await finger.tap("icon")

    focus = await finger.do("dumpsys window windows")
    assert f"mCurrentFocus=Window{{5f1e0c3 u0 {APP}/{APP}.MainActivity}}" in focus
    assert await finger.text("screen_title") == "For you"


async def test_swipes_walk_the_feed_and_watching_is_counted(
    finger: Finger, phone: SimulatedPhone
) -> None:
    """A swipe up shows the next video, one down the last, and each counts the time it was seen."""
    first = await finger.text("video_title")

    await finger.do("sleep 0.3; input swipe 360 1000 360 300 50")
    second = await finger.text("video_title")
    await finger.do("input swipe 360 300 360 1000 50")

    assert await finger.text("video_title") == first != second
    (title, seconds), (later, _) = watched(phone)
    assert (title, later) == (first, second)
    assert seconds >= 0.3


async def test_search_results_and_player(finger: Finger, phone: SimulatedPhone) -> None:
    """A typed query leads to results, a result to the player, BACK to the results."""
    await finger.tap("nav_search")
    await finger.tap("search_box")
    await finger.do("input text street%sfood")
    await finger.tap("search_button")

    assert await finger.text("screen_title") == "Results"
    assert await finger.text("results_query") == "street food"
    titles = [node.get("content-desc", "") for node in await finger.nodes("result_item")]
    assert len(titles) == 5
    assert all("treet food" in title for title in titles)

    await finger.tap("result_item", place=2)
    assert await finger.text("video_title") == titles[2]
    assert re.fullmatch(r"0:0\d / \d:\d\d", await finger.text("player_progress"))
    await finger.do("input swipe 360 1000 360 300 50")
    assert await finger.text("video_title") == titles[3]
    await finger.do("input keyevent 4")

    assert await finger.text("screen_title") == "Results"
    assert [title for title, _ in watched(phone)][-2:] == titles[2:4]
    searched = await phone.wait_for(Kind.SEARCHED)
    assert searched.detail["query"] == "street food"


async def test_enter_searches_and_the_list_scrolls(finger: Finger) -> None:
    """ENTER submits the query, and a swipe over the results shows others."""
    await finger.tap("nav_search")
    await finger.tap("search_box")
    await finger.do("input text ramen; input keyevent KEYCODE_ENTER")
    before = [node.get("content-desc") for node in await finger.nodes("result_item")]

    await finger.do("input swipe 360 1000 360 300 50")

    after = [node.get("content-desc") for node in await finger.nodes("result_item")]
    assert after[0] == before[-1]
    assert len(after) == 5


async def test_editing_the_profile_is_saved_and_read_back(
    finger: Finger, phone: SimulatedPhone
) -> None:
    """Changed fields are on the profile, in the account and in the ledger, once."""
    await finger.tap("nav_profile")
    await finger.tap("edit_profile_button")
    await finger.fill("edit_display_name", "Maya Makes")
    await finger.fill("edit_bio", "Bread, slowly")
    await finger.tap("save_button")

    assert await finger.text("profile_display_name") == "Maya Makes"
    assert await finger.text("profile_bio") == "Bread, slowly"
    account = phone.state()["account"]
    assert (account["display_name"], account["username"]) == ("Maya Makes", "sim0001")
    (saved,) = [entry for entry in phone.ledger() if entry.kind is Kind.PROFILE_SAVED]
    assert saved.detail["changed"] == ["display_name", "bio"]


async def test_a_username_the_app_refuses_is_not_saved(
    finger: Finger, phone: SimulatedPhone
) -> None:
    """The editor stays open with an error, and the account keeps its name."""
    await finger.tap("nav_profile")
    await finger.tap("edit_profile_button")
    await finger.fill("edit_username", "no spaces here")
    await finger.tap("save_button")

    assert await finger.text("edit_error") == "Username: 2 to 24 letters, digits, . or _"
    await finger.tap("cancel_button")
    assert await finger.text("profile_username") == "@sim0001"
    assert phone.state()["account"]["username"] == "sim0001"


async def test_text_beyond_ascii_is_refused_as_on_a_real_phone(
    finger: Finger, phone: SimulatedPhone
) -> None:
    """`input text` dies with a NullPointerException and types nothing."""
    await finger.tap("nav_search")
    await finger.tap("search_box")

    answer = await finger.adb.shell(finger.serial, "input text 'grüße'")

    assert answer.status == 255
    assert b"java.lang.NullPointerException" in answer.error
    assert await finger.text("search_box") == ""
    assert not [entry for entry in phone.ledger() if entry.kind is Kind.TYPED]


async def test_sharing_a_video_posts_it_once_per_tap(finger: Finger, phone: SimulatedPhone) -> None:
    """The share intent opens the composer on a file, and each tap on Post is one video."""
    await finger.do("echo movie > /sdcard/Movies/clip.mp4")
    await finger.do(
        "am start -a android.intent.action.SEND -t video/mp4 --eu android.intent.extra.STREAM "
        f"file:///sdcard/Movies/clip.mp4 -n {APP}/.ShareActivity"
    )
    await finger.tap("caption_box")
    await finger.do("input text My%sfirst")

    await finger.tap("post_button")

    await finger.until("profile_notice")
    assert await finger.text("profile_video") == "My first"
    assert await finger.text("profile_post_count") == "1 posts"
    posts = phone.state()["account"]["posts"]
    assert [post["caption"] for post in posts] == ["My first"]
    assert len([entry for entry in phone.ledger() if entry.kind is Kind.POSTED]) == 1


async def test_home_keeps_the_app_and_force_stop_ends_it(
    finger: Finger, phone: SimulatedPhone
) -> None:
    """HOME leaves the app where it was; force-stop sends it to the feed, the account stays."""
    phone.set_account(bio="kept")
    await finger.tap("nav_profile")
    await finger.do("input keyevent 3")
    assert "com.android.launcher" in await finger.do("dumpsys window")
    await finger.do(f"monkey -p {APP} -c android.intent.category.LAUNCHER 1")
    assert await finger.text("screen_title") == "Profile"

    await finger.do(f"am force-stop {APP}")
    stopped = await finger.adb.shell(finger.serial, f"pidof {APP}")
    await finger.do(f"am start -n {APP}/.MainActivity")

    assert stopped.status == 1
    assert await finger.text("screen_title") == "For you"
    assert phone.state()["account"]["bio"] == "kept"
    await finger.do(f"pm clear {APP}")
    assert phone.state()["account"]["bio"] == "Hello"


async def test_a_screenshot_is_the_screen(finger: Finger) -> None:
    """Screencap gives a 720 x 1280 PNG that changes with the screen and is not one colour."""
    first = await finger.adb.run("exec-out", "screencap -p", serial=finger.serial)
    await finger.tap("nav_profile")
    second = await finger.adb.run("exec-out", "screencap -p", serial=finger.serial)

    feed, profile = (Image.open(io.BytesIO(answer.out)) for answer in (first, second))
    assert feed.format == profile.format == "PNG"
    assert feed.size == profile.size == (720, 1280)
    assert len(feed.getcolors(maxcolors=1_000_000) or []) > 50
    assert feed.tobytes() != profile.tobytes()


async def test_a_sleeping_screen_answers_as_a_real_one(finger: Finger) -> None:
    """With the display off there is no dump, a black picture, and taps do nothing."""
    await finger.do("input keyevent KEYCODE_SLEEP")

    dumped = await finger.adb.shell(finger.serial, "uiautomator dump")
    picture = await finger.adb.run("exec-out", "screencap -p", serial=finger.serial)

    assert b"null root node" in dumped.error
    colours = Image.open(io.BytesIO(picture.out)).getcolors()
    assert colours == [(720 * 1280, (0, 0, 0))]
    assert "mWakefulness=Asleep" in await finger.do("dumpsys power")
