"""The unmodified package uiautomator2 on a simulated phone: what its README shows works here."""

import asyncio
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
    assert await of(lambda: device.app_wait(APP, timeout=60))
    running = await of(device.app_list_running)
    info = await of(lambda: device.app_info(APP))
    await of(lambda: device.drag(0.5, 0.7, 0.5, 0.3, 0.1))
    await of(lambda: device.swipe_points([(360, 900), (360, 600), (360, 300)], 0.1))
    await of(lambda: device.swipe_ext("up"))
    await of(lambda: device(text="Search").long_click())
    assert await of(lambda: device(resourceId=f"{APP}:id/search_box").wait(timeout=60))
    await of(lambda: device.press("back"))
    assert await of(lambda: device(resourceId=f"{APP}:id/search_box").wait_gone(timeout=60))
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
