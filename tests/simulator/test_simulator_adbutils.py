"""The unmodified package adbutils on a simulated phone: what its README shows works here."""

import asyncio
import io
import os
import re
import socket
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import adbutils
import pytest
from phonefarm_simulator.farm import SimulatedPhone
from phonefarm_simulator.ledger import Kind
from PIL import Image, ImageChops
from support.adb import AdbServer
from support.live_farm import eventually

# The package leaves some sockets and files to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

APP = "com.example.shortvideo"
T = TypeVar("T")


async def of(call: Callable[[], T]) -> T:
    """Make a call of the package, which blocks."""
    return await asyncio.to_thread(call)


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


async def test_the_server_lists_and_waits(adb: AdbServer, phone: SimulatedPhone) -> None:
    """List, track, state, features, disconnect and connect, each waited for."""
    client = adb.client()
    device = device_of(adb, phone)
    address = phone.address

    listed = await of(lambda: [(one.serial, one.state) for one in client.list()])
    seen = await of(lambda: next(iter(client.track_devices())))
    facts = await of(lambda: device.info)
    features = await of(device.get_features)
    await of(lambda: client.disconnect(address, raise_error=True))
    await of(lambda: client.wait_for(address, state="disconnect", timeout=180))
    said = await of(lambda: client.connect(address, timeout=30))
    await of(lambda: client.wait_for(address, timeout=180))

    assert listed == [(address, "device")]
    assert (seen.present, seen.serial, seen.status) == (True, address, "device")
    assert (facts["serialno"], facts["state"]) == (address, "device")
    assert {"shell_v2", "cmd", "stat_v2"} <= set(features.split(","))
    assert said == f"connected to {address}"
    assert [one.serial for one in await of(client.device_list)] == [address]


async def test_ports_lead_both_ways(adb: AdbServer, phone: SimulatedPhone) -> None:
    """Forwards and reverses are listed, carry bytes, and end when they are removed."""
    device = device_of(adb, phone)
    heard: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readline())
        writer.write(b"from the host\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        local = await of(lambda: device.forward_port(9008))
        await of(lambda: device.reverse("tcp:6100", f"tcp:{port}"))
        forwards = await of(device.forward_list)
        reverses = await of(device.reverse_list)
        said = await of(lambda: device.shell("echo from the phone | nc localhost 6100"))
        with pytest.raises(adbutils.AdbError, match="rebind"):
            await of(lambda: device.reverse("tcp:6100", "tcp:1", norebind=True))
        await of(lambda: device.reverse_remove("tcp:6100"))
        with pytest.raises(adbutils.AdbError, match="not found"):
            await of(lambda: device.reverse_remove("tcp:6100"))
        gone = await of(lambda: device.shell("nc localhost 6100"))
        await of(lambda: device.forward_remove(f"tcp:{local}"))

    assert [(item.local, item.remote) for item in forwards] == [(f"tcp:{local}", "tcp:9008")]
    assert [(item.remote, item.local) for item in reverses] == [("tcp:6100", f"tcp:{port}")]
    assert (heard, said) == ([b"from the phone\n"], "from the host")
    assert "Connection refused" in gone
    assert await of(device.forward_list) == []
    assert await of(device.reverse_list) == []


async def test_a_connection_to_the_phone_itself(adb: AdbServer, phone: SimulatedPhone) -> None:
    """A file is read as a device, and a socket that nobody serves is refused."""
    device = device_of(adb, phone)
    await of(lambda: device.sync.push(b"hello", "/data/local/tmp/hello.txt"))

    def read() -> bytes:
        peer: socket.socket
        with device.create_connection(adbutils.Network.DEV, "/data/local/tmp/hello.txt") as peer:
            return peer.recv(500)

    assert await of(read) == b"hello"
    with pytest.raises(adbutils.AdbError, match="closed"):
        await of(lambda: device.create_connection(adbutils.Network.UNIX, "minitouch"))
    with pytest.raises(adbutils.AdbError, match="closed"):
        await of(lambda: device.create_connection(adbutils.Network.TCP, 7912))


async def test_the_frame_buffer_is_the_screen(adb: AdbServer, phone: SimulatedPhone) -> None:
    """The pixels are those of the screenshot."""
    device = device_of(adb, phone)

    frame = await of(device.framebuffer)
    shown = await of(lambda: device.screenshot(error_ok=False))

    assert frame.mode == "RGBA"
    assert ImageChops.difference(frame.convert("RGB"), shown).getbbox() is None


async def test_the_log_comes_as_a_stream(
    adb: AdbServer, phone: SimulatedPhone, tmp_path: Path
) -> None:
    """Into a file, cleared and filtered, and as lines of a shell that goes on."""
    device = device_of(adb, phone)
    file = tmp_path / "log.txt"

    logging = await of(lambda: device.logcat(file, clear=True, re_filter=".*app_started.*"))
    await of(lambda: device.app_start(APP))
    await phone.wait_for(Kind.APP_STARTED, timeout=180)

    async def caught() -> bool:
        return "app_started" in file.read_text()

    await eventually(caught, what="the line in the file")
    # adbutils looks at the wish to stop between two lines.
    stopping = asyncio.create_task(of(lambda: logging.stop(timeout=180)))
    while not stopping.done():
        phone.phone.log.write("noise", "of a phone")
        await asyncio.sleep(0.05)
    await stopping

    def line() -> str:
        with device.shell("logcat -v brief", stream=True) as stream:
            lines = stream.conn.makefile()
            lines.readline()
            return str(lines.readline())

    kept = file.read_text().splitlines()
    assert kept
    assert all(re.match(r"\d\d-\d\d [\d:.]+ I/simphone\(.*app_started", text) for text in kept)
    assert re.match(r"I/\w+ *\( *\d+\): ", await of(line))


async def test_settings_and_switches(adb: AdbServer, phone: SimulatedPhone) -> None:
    """Brightness, volume, aeroplane mode, Wi-Fi and its address, the display."""
    device = device_of(adb, phone)

    def switched() -> tuple[Any, ...]:
        device.brightness_value = 77
        device.brightness_mode = adbutils.BrightnessMode.AUTO
        device.switch_airplane(True)
        device.switch_wifi(True)
        device.volume_up()
        device.volume_down()
        device.volume_mute()
        device.switch_screen(False)
        dark = device.is_screen_on()
        device.switch_screen(True)
        return device.brightness_value, device.brightness_mode, dark, device.is_screen_on()

    found = await of(switched)
    aeroplane = await of(lambda: device.shell("settings get global airplane_mode_on"))

    assert found == (77, adbutils.BrightnessMode.AUTO, False, True)
    assert aeroplane == "1"
    assert re.fullmatch(r"192\.168\.\d+\.\d+", await of(device.wlan_ip))
    assert await of(device.rotation) == 0
    await phone.fault("landscape")
    assert await of(device.rotation) == 1
    assert await of(device.window_size) == (1280, 720)


async def test_files_in_every_form(adb: AdbServer, phone: SimulatedPhone, tmp_path: Path) -> None:
    """Bytes, readers, paths and folders, there and back."""
    device = device_of(adb, phone)
    here = tmp_path / "hi.txt"
    here.write_text("from a file")
    sync = device.sync

    def pushed() -> list[str]:
        sync.push(b"Hello Android", "/sdcard/x/1.txt")
        sync.push(io.BytesIO(b"Hello reader"), "/sdcard/x/2.txt")
        sync.push(str(here), "/sdcard/x/3.txt")
        sync.push(here, "/sdcard/x")  # a folder: under its own name
        return sorted(info.path for info in sync.iter_directory("/sdcard/x"))

    names = await of(pushed)
    chunks = await of(lambda: list(sync.iter_content("/sdcard/x/1.txt")))
    pulled = await of(lambda: sync.pull("/sdcard/x", tmp_path / "x"))
    await of(lambda: device.remove("/sdcard/x/1.txt"))
    one_left = await of(lambda: sync.exists("/sdcard/x/1.txt"))
    await of(lambda: device.rmtree("/sdcard/x"))

    assert [name for name in names if not name.startswith(".")] == [
        "1.txt",
        "2.txt",
        "3.txt",
        "hi.txt",
    ]
    assert b"".join(chunks) == b"Hello Android"
    assert (tmp_path / "x" / "2.txt").read_bytes() == b"Hello reader"
    assert (tmp_path / "x" / "hi.txt").read_text() == "from a file"
    assert pulled == 13 + 12 + 11 + 11
    assert not one_left
    assert not await of(lambda: sync.exists("/sdcard/x"))
    with pytest.raises(adbutils.AdbError, match="No such file"):
        await of(lambda: sync.read_text("/sdcard/x/2.txt"))


def frames_of(film: bytes) -> list[bytes]:
    """Return the samples of an MP4 with one track, by its own tables."""
    sizes_at = film.index(b"stsz") + 8
    offsets_at = film.index(b"stco") + 8
    _, count = struct.unpack_from(">II", film, sizes_at)
    sizes = struct.unpack_from(f">{count}I", film, sizes_at + 8)
    offsets = struct.unpack_from(f">{count}I", film, offsets_at + 4)
    return [film[at : at + size] for at, size in zip(offsets, sizes, strict=True)]


async def test_the_screen_is_filmed(adb: AdbServer, phone: SimulatedPhone, tmp_path: Path) -> None:
    """The film of adbutils' script, interrupted from outside, shows first one app, then another."""
    device = device_of(adb, phone)
    film = tmp_path / "film.mp4"

    await of(lambda: device.start_recording(str(film)))

    async def films() -> bool:
        return "screenrecord" in await of(lambda: device.shell("ps -A"))

    await eventually(films, what="the recording")
    began = await of(device.is_recording)
    await of(lambda: device.app_start(APP))
    await phone.wait_for(Kind.APP_STARTED, timeout=180)
    await asyncio.sleep(1)  # of the app, for the film
    await of(device.stop_recording)

    pictures = []
    for frame in frames_of(film.read_bytes()):
        with Image.open(io.BytesIO(frame)) as picture:
            pictures.append(picture.convert("RGB"))
    assert began
    assert film.read_bytes()[4:8] == b"ftyp"
    assert {picture.size for picture in pictures} == {(720, 1280)}
    assert ImageChops.difference(pictures[0], pictures[-1]).getbbox() is not None
    assert "screenrecord" not in await of(lambda: device.shell("ps -A"))


async def test_apps_come_and_go(adb: AdbServer, phone: SimulatedPhone, tmp_path: Path) -> None:
    """Install, list, describe, start, clear, stop and remove; a broken file says why not."""
    device = device_of(adb, phone)
    package, broken = tmp_path / "demo.apk", tmp_path / "broken.apk"
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr(
            "AndroidManifest.xml",
            '<manifest package="com.example.demo" versionName="2.1" versionCode="21"/>',
        )
    broken.write_bytes(b"no archive")

    await of(lambda: device.install(package, silent=True, nolaunch=True))
    third = await of(lambda: device.list_packages(["-3"]))
    demo = await of(lambda: device.app_info("com.example.demo"))
    with pytest.raises(adbutils.AdbInstallError, match="INSTALL_PARSE_FAILED"):
        await of(lambda: device.install(broken, silent=True))
    await of(lambda: device.uninstall("com.example.demo"))
    await of(lambda: device.app_start(APP, ".MainActivity"))
    shown = await of(device.app_current)
    own = await of(lambda: device.app_info(APP))
    await of(lambda: device.app_clear(APP))
    await of(lambda: device.app_stop(APP))
    await of(lambda: device.open_browser("example.com"))

    assert third == ["com.example.demo", "com.example.shop", APP]
    assert demo is not None
    assert own is not None
    assert (demo.version_name, demo.version_code) == ("2.1", 21)
    assert "HAS_CODE" in own.flags
    assert own.first_install_time is not None
    assert re.match(r"[0-9a-f]{8}\b", own.signature)
    assert shown.package == APP
    assert await of(lambda: device.app_info("com.example.demo")) is None
    assert phone.state()["foreground"]["package"] != APP


async def test_hands_and_shell(adb: AdbServer, phone: SimulatedPhone) -> None:
    """Touches in pixels and in parts, text, keys, properties, time-outs, what adbd says."""
    device = device_of(adb, phone)

    await of(lambda: device.app_start(APP))
    await of(lambda: device.click(0.5, 0.5))
    await of(lambda: device.swipe(360, 900, 360, 300, 0.1))
    await of(lambda: device.drag(0.5, 0.7, 0.5, 0.2, 0.1))
    await of(lambda: device.send_keys("hello world$%^&*"))
    await of(lambda: device.keyevent("HOME"))
    with pytest.raises(adbutils.AdbTimeout):
        await of(lambda: device.shell("sleep 60", timeout=0.5))

    assert {entry.kind for entry in phone.ledger()} >= {"tapped", "swiped", "home_pressed"}
    assert (await of(lambda: device.prop.model)) == "Simulated Phone"
    assert await of(lambda: device.prop.get("ro.serialno", cache=True)) == phone.serial
    assert (await of(lambda: device.shell2("sh -c 'exit 3'"))).returncode == 3
    assert await of(device.root) == "adbd cannot run as root in production builds\n"
    assert await of(lambda: device.tcpip(5555)) == "restarting in TCP mode port: 5555\n"


async def test_its_command_line(adb: AdbServer, phone: SimulatedPhone, tmp_path: Path) -> None:
    """Devices, packages, a file and a picture."""
    environment = os.environ | {
        "ANDROID_ADB_SERVER_PORT": str(adb.port),
        "ANDROID_SERIAL": phone.address,
    }
    await of(lambda: device_of(adb, phone).sync.push(b"to be pulled", "/sdcard/remote.txt"))

    async def ran(*words: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *[sys.executable, "-m", "adbutils", *words],
            cwd=tmp_path,
            env=environment,
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await process.communicate()
        assert process.returncode == 0, out
        return out.decode()

    listed = await ran("-l")
    packages = await ran("--list-packages")
    await ran("--pull", "/sdcard/remote.txt")
    await ran("--screenshot", "screen.jpg")

    assert phone.address in listed
    assert APP in packages.splitlines()
    assert (tmp_path / "remote.txt").read_text() == "to be pulled"
    with Image.open(tmp_path / "screen.jpg") as picture:
        assert picture.size == (720, 1280)
