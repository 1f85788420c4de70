"""The unmodified package uiautomator2 on a simulated phone: what its README shows works here."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeVar

import pytest
import uiautomator2
from phonefarm_simulator.farm import SimulatedPhone
from support.adb import AdbServer

APP = "com.example.shortvideo"
T = TypeVar("T")


@pytest.fixture
async def device(
    adb: AdbServer, phone: SimulatedPhone, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[uiautomator2.Device]:
    """Connect as a user of the package does; its server ends with the test."""
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(adb.port))
    connected = await asyncio.to_thread(
        lambda: uiautomator2.Device(adb.client().device(serial=phone.address))
    )
    try:
        yield connected
    finally:
        await asyncio.to_thread(connected.stop_uiautomator, wait=False)


async def of(call: Callable[[], T]) -> T:
    """Make a call of the package, which blocks."""
    return await asyncio.to_thread(call)


async def test_it_reads_a_screen_that_moves(
    device: uiautomator2.Device, phone: SimulatedPhone
) -> None:
    """Where `uiautomator dump` gives up, the UI server dumps the playing video."""
    await of(lambda: device.press("menu"))  # the phone has a swipe keyguard
    await of(lambda: device.app_start(APP, f"{APP}.MainActivity"))
    info = await of(lambda: device.info)
    hierarchy = await of(lambda: device.dump_hierarchy())

    assert phone.state()["app"]["video"]["title"] in hierarchy
    assert (info["currentPackageName"], info["screenOn"]) == (APP, True)
    assert (await of(device.app_current))["package"] == APP
    assert (await of(device.window_size)) == (720, 1280)


async def test_it_finds_taps_and_types(device: uiautomator2.Device, phone: SimulatedPhone) -> None:
    """Selectors, XPath, text beyond ASCII, keys, swipes and pictures, as its README shows them."""
    await of(lambda: device.press("menu"))
    await of(lambda: device.app_start(APP, f"{APP}.MainActivity"))
    await of(lambda: device(text="Search").click())
    assert await of(lambda: device(resourceId=f"{APP}:id/search_box").exists(timeout=3))
    await of(lambda: device(resourceId=f"{APP}:id/search_box").set_text("caf\u00e9 \U0001f35c"))
    assert await of(lambda: device(focused=True).get_text()) == "caf\u00e9 \U0001f35c"
    await of(lambda: device(focused=True).clear_text())
    await of(lambda: device.send_keys("ramen"))
    await of(lambda: device.press("enter"))
    assert await of(lambda: device.xpath('//*[@text="ramen"]').exists)
    assert await of(lambda: device(resourceId=f"{APP}:id/result_item").count) == 5
    await of(lambda: device(scrollable=True).scroll.forward())
    await of(lambda: device.swipe(360, 900, 360, 300))
    picture = await of(device.screenshot)
    await of(lambda: device.press("back"))

    assert picture.size == (720, 1280)
    assert phone.state()["app"]["query"] == "ramen"
    await of(device.screen_off)
    assert (await of(lambda: device.info))["screenOn"] is False
    await of(device.screen_on)
    assert phone.state()["awake"]


async def test_it_moves_waits_and_manages_apps(
    device: uiautomator2.Device, phone: SimulatedPhone, tmp_path: Path
) -> None:
    """Drags, swipes, waits, apps, files, clipboard, keys by number, as its README shows them."""
    (tmp_path / "foo.txt").write_text("from here")
    await of(lambda: device.press("menu"))
    await of(lambda: device.app_start(APP))
    assert await of(lambda: device.app_wait(APP, timeout=180))
    running = await of(device.app_list_running)
    info = await of(lambda: device.app_info(APP))
    await of(lambda: device.drag(0.5, 0.7, 0.5, 0.3, 0.1))
    await of(lambda: device.swipe_points([(360, 900), (360, 600), (360, 300)], 0.1))
    await of(lambda: device.swipe_ext("up"))
    await of(lambda: device(text="Search").long_click())
    assert await of(lambda: device(resourceId=f"{APP}:id/search_box").wait(timeout=180))
    await of(lambda: device.press("back"))
    assert await of(lambda: device(resourceId=f"{APP}:id/search_box").wait_gone(timeout=180))
    await of(lambda: device.set_clipboard("kept"))
    clipboard = await of(lambda: device.clipboard)
    await of(lambda: device.push(str(tmp_path / "foo.txt"), "/sdcard/bar.txt"))
    await of(lambda: device.pull("/sdcard/bar.txt", str(tmp_path / "bar.txt")))
    said = await of(lambda: device.shell("echo hello; false"))
    await of(lambda: device.press(3))
    await of(lambda: device.app_stop(APP))

    assert APP in running
    assert info["versionName"] == "1.4.2"
    assert clipboard == "kept"
    assert (tmp_path / "bar.txt").read_text() == "from here"
    assert (said.output, said.exit_code) == ("hello\n", 1)
    assert len([entry for entry in phone.ledger() if entry.kind == "swiped"]) >= 3
    assert phone.state()["foreground"]["package"] != APP


async def test_one_uiautomation_a_phone(
    device: uiautomator2.Device, phone: SimulatedPhone, adb: AdbServer
) -> None:
    """While the server lives a shell's dump is refused; once it is gone the dump works."""
    assert await of(device.dump_hierarchy)
    taken = await adb.shell(phone.address, "uiautomator dump /sdcard/a.xml")
    listed = await adb.shell(phone.address, "dumpsys accessibility")
    await of(lambda: device.stop_uiautomator())
    free = await adb.shell(phone.address, "uiautomator dump /sdcard/a.xml")

    assert b"already registered!" in taken.out + taken.error
    assert "Ui Automation[" in listed.text
    assert "dumped to: /sdcard/a.xml" in free.text


def test_its_jar_is_the_one_the_agent_pushes(tmp_path: Path) -> None:
    """The pinned package carries the very file whose hash the agent knows."""
    from phonefarm_agent.phones.ui_server import jar  # noqa: PLC0415 - only this test needs it

    (tmp_path / "u2.jar").write_bytes(jar())
    assert (tmp_path / "u2.jar").stat().st_size > 3_000_000


async def test_its_fingers(device: uiautomator2.Device, phone: SimulatedPhone) -> None:
    """Pinches, gestures, touches in parts, swipes over a view, double and long clicks."""
    await of(lambda: device.press("menu"))
    await of(lambda: device.app_start(APP, ".MainActivity"))
    pager = device(resourceId=f"{APP}:id/video_pager")
    await of(lambda: pager.pinch_in(percent=100, steps=10))
    await of(lambda: pager.pinch_out(percent=50, steps=10))
    await of(lambda: pager.gesture((100, 400), (600, 400), (300, 400), (400, 400), steps=10))
    pinched = [entry.detail["fingers"] for entry in phone.ledger() if entry.kind == "pinched"]

    def touched() -> None:
        device.touch.down(360, 900)
        device.touch.move(360, 600)
        device.touch.up(360, 300)
        device.double_click(0.5, 0.5)
        device.long_click(0.5, 0.5, 0.1)
        pager.swipe("up", steps=5)
        device(text="Search").click(offset=(0, 0))
        device(text="Search").long_click(duration=0.1)
        device(text="Home").drag_to(text="Search", duration=0.1)

    await of(touched)
    swiped = [entry.detail for entry in phone.ledger() if entry.kind == "swiped"]

    assert pinched == [
        [[[0, 652], [340, 652]], [[720, 652], [380, 652]]],
        [[[340, 652], [180, 652]], [[380, 652], [540, 652]]],
        [[[100, 400], [300, 400]], [[600, 400], [400, 400]]],
    ]
    assert (swiped[0]["start"], swiped[0]["end"]) == ([360, 900], [360, 300])
    assert phone.state()["app"]["screen"] == "search"


async def test_its_scrolls_and_flings(device: uiautomator2.Device, phone: SimulatedPhone) -> None:
    """To the end, back, to a view, by a page; nothing scrolls to the side."""
    await of(lambda: device.press("menu"))
    await of(lambda: device.app_start(APP))

    def searched() -> list[str]:
        device(text="Search").click()
        device(resourceId=f"{APP}:id/search_box").set_text("ramen")
        device(resourceId=f"{APP}:id/search_button").click()
        return [view.info["text"] for view in device(resourceId=f"{APP}:id/result_title")]

    first = await of(searched)
    results = device(scrollable=True)
    ended = await of(lambda: results.fling.toEnd())
    last = await of(lambda: device(resourceId=f"{APP}:id/result_title", instance=4).get_text())
    await of(lambda: results.scroll.vertical.toBeginning(steps=10, max_swipes=50))
    found = await of(lambda: results.scroll.to(text=last))
    page = await of(lambda: results.fling.backward())
    await of(lambda: results.fling.toBeginning())
    sideways = await of(lambda: results.scroll.horiz.forward(steps=10))
    back = await of(lambda: device(resourceId=f"{APP}:id/result_title").get_text())

    assert len(first) == 5
    assert ended
    assert found
    assert page
    assert last not in first
    assert not sideways
    assert back == first[0]


async def test_its_selectors(device: uiautomator2.Device, phone: SimulatedPhone) -> None:
    """Children and siblings, by text and by number, beside each other, in lists, by XPath."""
    await of(lambda: device.press("menu"))
    await of(lambda: device.app_start(APP, ".MainActivity"))

    def looked() -> dict[str, object]:
        bar = device(resourceId=f"{APP}:id/bottom_bar")
        tab = device(text="Search")
        tabs = device(className="android.widget.Button")
        return {
            "child": bar.child(text="Search").info["text"],
            "sibling": tab.sibling(text="Profile").info["text"],
            "by text": bar.child_by_text("Profile", className="android.widget.Button").info["text"],
            "by description": bar.child_by_description(
                "Home", className="android.widget.Button"
            ).get_text(),
            "by number": bar.child_by_instance(1, className="android.widget.Button").get_text(),
            "index": device(className="android.widget.Button", index=2).get_text(),
            "right": tab.right(className="android.widget.Button").info["text"],
            "left": tab.left(className="android.widget.Button").info["text"],
            "all": [view.info["text"] for view in tabs],
            "count": (len(tabs), tabs.count, tabs[1].get_text(), tabs[-1].get_text()),
            "center": tab.center(),
            "picture": tab.screenshot().size,
            "gone": device(text="nowhere").wait_gone(timeout=1),
            "not there": device(text="nowhere").click_exists(timeout=0.1),
            "path": device.xpath("@com.example.shortvideo:id/nav_search").get().text,
        }

    found = await of(looked)
    with pytest.raises(uiautomator2.UiObjectNotFoundError):
        await of(
            lambda: device(resourceId=f"{APP}:id/bottom_bar").child_by_text(
                "nowhere", allow_scroll_search=True, className="android.widget.Button"
            )
        )

    assert found == {
        "child": "Search",
        "sibling": "Profile",
        "by text": "Profile",
        "by description": "Home",
        "by number": "Search",
        "index": "Profile",
        "right": "Profile",
        "left": "Home",
        "all": ["Home", "Search", "Profile"],
        "count": (3, 3, "Search", "Profile"),
        "center": (360, 1220),
        "picture": (240, 120),
        "gone": True,
        "not there": False,
        "path": "Search",
    }


async def test_its_screen_and_waits(
    device: uiautomator2.Device, phone: SimulatedPhone, tmp_path: Path
) -> None:
    """Rotation, notifications, toasts, waits of the server, pictures in each form, facts."""
    await of(lambda: device.press("menu"))
    await of(lambda: device.app_start(APP, ".MainActivity"))

    def turned() -> list[object]:
        seen: list[object] = []
        for word in ("left", "right", "natural"):
            device.set_orientation(word)
            seen += [device.orientation, device.window_size()]
        device.freeze_rotation()
        device.freeze_rotation(False)
        return seen

    def shaded() -> list[object]:
        seen: list[object] = [device.open_notification(), device.app_current()["package"]]
        device.press("back")
        seen += [device.app_current()["package"], device.open_quick_settings()]
        device.press("home")
        return [*seen, device.app_current()["package"]]

    def told() -> dict[str, object]:
        device.toast.show("Hello", duration=1)
        toast = device.toast.get_message(wait_timeout=1)
        device.toast.reset()
        waits = device.jsonrpc.setConfigurator({"waitForIdleTimeout": 100})
        device.show_touch_trace()
        device.screenshot(str(tmp_path / "home.jpg"))
        return {
            "toast": (toast, device.toast.get_message(wait_timeout=0, default="none")),
            "waits": (waits["waitForIdleTimeout"], device.jsonrpc.getConfigurator()),
            "traces": device.shell("settings get system show_touches").output.strip(),
            "sdk": device.device_info["sdk"],
            "wlan": device.wlan_ip,
            "xml": device.dump_hierarchy(pretty=True, max_depth=30, root_in_active=True)[:5],
        }

    rotations = await of(turned)
    shades = await of(shaded)
    facts = await of(told)

    assert rotations == [
        *["left", (1280, 720)],
        *["right", (1280, 720)],
        *["natural", (720, 1280)],
    ]
    assert shades == [True, "com.android.systemui", APP, True, "com.android.launcher"]
    assert facts["toast"] == ("Hello", "none")
    assert facts["waits"] == (100, {**phone_waits(), "waitForIdleTimeout": 100})
    assert facts["traces"] == "1"
    assert facts["wlan"] == phone.phone.wifi_address
    assert (tmp_path / "home.jpg").stat().st_size > 1000


def phone_waits() -> dict[str, int]:
    """Return the waits of a server that nobody has changed."""
    return {
        "actionAcknowledgmentTimeout": 500,
        "keyInjectionDelay": 0,
        "scrollAcknowledgmentTimeout": 200,
        "waitForIdleTimeout": 0,
        "waitForSelectorTimeout": 0,
    }


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_its_watchers_and_sessions(
    device: uiautomator2.Device, phone: SimulatedPhone
) -> None:
    """Watchers close the consent dialog; a session sees its app end."""
    await of(lambda: device.press("menu"))
    await of(lambda: device.app_start(APP, ".MainActivity"))
    await phone.fault("consent_dialog")

    def watched() -> None:
        with device.watch_context() as context:
            context.when("Accept").click()
            context.wait_stable(seconds=1, timeout=180)

    def by_watcher() -> bool:
        device.watcher.when("Accept").click()
        found = bool(device.watcher.run())
        device.watcher.remove()
        return found

    await of(watched)
    by_context = [entry for entry in phone.ledger() if entry.kind == "dialog_dismissed"]
    await phone.fault("consent_dialog")
    again = await of(by_watcher)

    def in_session() -> tuple[bool, bool, str]:
        with device.session(APP) as session:
            running = session.running()
            session(text="Search").click()
            device.app_stop(APP)
            ended = session.running()
            with pytest.raises(uiautomator2.SessionBrokenError):
                session(text="Search").click()
        return running, ended, device.app_current()["package"]

    lived = await of(in_session)

    assert len(by_context) == 1
    assert again
    assert lived == (True, False, "com.android.launcher")


async def test_its_keyboard(device: uiautomator2.Device, phone: SimulatedPhone) -> None:
    """It installs its input method, types and clears by it, sends, and goes back to the other."""
    await of(lambda: device.press("menu"))
    await of(lambda: device.app_start(APP, ".MainActivity"))

    def typed() -> list[str]:
        device(text="Search").click()
        device(resourceId=f"{APP}:id/search_box").click()
        device.set_input_ime()
        seen = [device.current_ime()]
        device.send_keys("caf\u00e9 \U0001f35c")
        device.send_keys("ramen", clear=True)
        seen.append(device(focused=True).get_text())
        device.hide_keyboard()
        device.send_action("search")
        device.set_input_ime(enable=False)
        return [*seen, device.current_ime()]

    seen = await of(typed)

    assert seen[:2] == ["com.github.uiautomator/.AdbKeyboard", "ramen"]
    assert seen[2] == "com.android.inputmethod.latin/.LatinIME"
    assert phone.state()["app"]["query"] == "ramen"
    assert "caf\u00e9 \U0001f35c" in [e.detail.get("text") for e in phone.ledger()]


@pytest.mark.long
async def test_its_command_line(
    device: uiautomator2.Device, adb: AdbServer, phone: SimulatedPhone, tmp_path: Path
) -> None:
    """Screenshot, current, doctor, start, stop and uninstall, as programs."""
    environment = os.environ | {"ANDROID_ADB_SERVER_PORT": str(adb.port)}

    async def ran(*words: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *[sys.executable, "-m", "uiautomator2", "--serial", phone.address, *words],
            cwd=tmp_path,
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out, _ = await process.communicate()
        assert process.returncode == 0, out
        return out.decode()

    await ran("start", APP)
    current = await ran("current")
    await ran("screenshot", "screen.jpg")
    await ran("doctor")
    await ran("stop", APP)
    await ran("uninstall", "com.example.shop")

    assert f'"package": "{APP}"' in current
    assert (tmp_path / "screen.jpg").stat().st_size > 1000
    assert phone.state()["foreground"]["package"] != APP
    assert "com.example.shop" not in phone.phone.packages
