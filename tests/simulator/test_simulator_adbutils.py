"""adbutils, as the agent and the executor use it, against a simulated phone."""

import asyncio
from pathlib import Path

import adbutils
from phonefarm_simulator.farm import SimulatedPhone
from support.adb import AdbServer

APP = "com.example.shortvideo"


def device_of(adb: AdbServer, phone: SimulatedPhone) -> adbutils.AdbDevice:
    """Return the phone as adbutils sees it."""
    return adb.client().device(serial=phone.address)


async def test_shell_and_shell2(adb: AdbServer, phone: SimulatedPhone) -> None:
    """Both protocols give the output, and version 2 the exit code and two outputs."""
    device = device_of(adb, phone)

    plain = await asyncio.to_thread(device.shell, ["echo", "a b", "it's"])
    first = await asyncio.to_thread(device.shell2, "cat /nope")
    second = await asyncio.to_thread(device.shell2, "echo out; cat /nope", v2=True)

    assert plain == "a b it's"
    assert first.returncode == 1
    assert (second.returncode, second.stdout) == (1, "out\n")
    assert second.stderr == "cat: /nope: No such file or directory\n"


async def test_sync_of_files(adb: AdbServer, phone: SimulatedPhone, tmp_path: Path) -> None:
    """Push, stat, list, read and pull speak the sync protocol's first version."""
    device = device_of(adb, phone)
    data = bytes(range(256)) * 2000

    pushed = await asyncio.to_thread(device.sync.push, data, "/sdcard/a.bin", check=True)
    status = await asyncio.to_thread(device.sync.stat, "/sdcard/a.bin")
    names = await asyncio.to_thread(lambda: [info.path for info in device.sync.list("/sdcard")])
    read = await asyncio.to_thread(device.sync.read_bytes, "/sdcard/a.bin")
    pulled = await asyncio.to_thread(device.sync.pull, "/sdcard/a.bin", tmp_path / "a")

    assert pushed == pulled == status.size == len(data)
    assert "a.bin" in names
    assert read == data == (tmp_path / "a").read_bytes()


async def test_screen_and_apps(adb: AdbServer, phone: SimulatedPhone) -> None:
    """Screenshot, window size, dump, app control and battery are understood by adbutils."""
    device = device_of(adb, phone)

    await asyncio.to_thread(device.app_start, APP)
    current = await asyncio.to_thread(device.app_current)
    picture = await asyncio.to_thread(device.screenshot, error_ok=False)
    size = await asyncio.to_thread(device.window_size)
    hierarchy = await asyncio.to_thread(device.dump_hierarchy)
    info = await asyncio.to_thread(device.app_info, APP)
    battery = await asyncio.to_thread(device.battery)

    assert (current.package, current.activity) == (APP, f"{APP}.MainActivity")
    assert picture.size == (size.width, size.height) == (720, 1280)
    assert 'resource-id="com.example.shortvideo:id/screen_title"' in hierarchy
    assert info is not None
    assert info.version_name == "1.4.2"
    assert (battery.level, battery.temperature) == (82, 27.5)
