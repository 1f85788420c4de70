"""The simulated phone as scrcpy-server 3.3.4 sees it: video out, touches, keys and texts in."""

import asyncio
import io
import struct
import sys
from pathlib import Path

import pytest
from phonefarm_simulator.farm import SimulatedPhone
from phonefarm_simulator.ledger import Entry, Kind
from phonefarm_simulator.screen_encoder import fitting
from phonefarm_simulator.screen_server_options import OptionsError, read_options
from phonefarm_simulator.screenshot import picture_of
from phonefarm_simulator.short_video_app import Screen
from PIL import Image, ImageChops, ImageStat
from support.adb import AdbServer
from support.live_farm import eventually
from support.screen_client import RefusedError, ScreenClient, opened, started, watching
from support.screen_server import real_jar

APP = "com.example.shortvideo"
OPEN_APP = f"am start -n {APP}/.MainActivity"
ICON = (360, 560)
SEARCH_TAB = (360, 1220)
SEARCH_BOX = (200, 220)


@pytest.fixture(scope="module")
def jar() -> Path:
    """Return the jar that clients push."""
    return real_jar()


def difference(one: Image.Image, other: Image.Image) -> float:
    """Return how far two pictures differ: the mean of all colours, 0 to 255."""
    return max(ImageStat.Stat(ImageChops.difference(one, other)).mean)


async def recorded(phone: SimulatedPhone, kind: Kind, *, since: int = 0) -> Entry:
    """Return the ledger's next entry of a kind."""
    return await phone.wait_for(kind, since=since, timeout=180)


async def seen(screen: ScreenClient, wanted: Image.Image) -> None:
    """Wait for a picture that is as good as the wanted one."""
    async with asyncio.timeout(180):
        while difference(await screen.picture(), wanted) > 6:
            pass


async def screenshot(adb: AdbServer, phone: SimulatedPhone) -> Image.Image:
    """Return what `screencap -p` gives."""
    taken = await adb.run("exec-out", "screencap -p", serial=phone.address)
    return Image.open(io.BytesIO(taken.out)).convert("RGB")


async def test_the_video_is_the_screen(adb: AdbServer, phone: SimulatedPhone, jar: Path) -> None:
    """Name, codec and size come first, then a configuration, then a key frame of the screen."""
    async with watching(adb, phone.address, jar) as screen:
        first = await screen.packet()
        second = await screen.packet()
        screen.send(b"\x11")  # begin again, for the decoder
        picture = await screen.picture()

    assert (screen.name, screen.codec, screen.size) == ("Simulated Phone", b"h264", (720, 1280))
    assert first.configuration
    assert first.data.startswith(b"\0\0\0\1\x67")
    assert second.key_frame
    assert picture.size == (720, 1280)
    assert difference(picture, await screenshot(adb, phone)) < 6


async def test_a_video_moves_and_a_still_screen_rests(
    adb: AdbServer, phone: SimulatedPhone, jar: Path
) -> None:
    """At rest the picture is repeated ten times and then no more; the feed sends new ones."""
    async with watching(adb, phone.address, jar, max_fps=30) as screen:
        still = [await screen.packet() for _ in range(12)]  # a configuration, one picture, ten more
        with pytest.raises(TimeoutError):
            await screen.packet(within=0.5)
        await adb.shell(phone.address, OPEN_APP)
        screen.send(b"\x11")  # for the decoder
        before = await screen.picture()
        pictures = [await screen.picture() for _ in range(10)]

    assert not any(packet.configuration for packet in still[1:])
    assert len(still[-1].data) < 500
    assert all(difference(before, picture) > 0 for picture in pictures)


async def test_touches_open_what_input_tap_opens(
    adb: AdbServer, phone: SimulatedPhone, jar: Path
) -> None:
    """In a smaller video too; a touch that was meant for another size does nothing."""
    async with watching(adb, phone.address, jar, max_size=640) as screen:
        await screen.packet()
        screen.tap(*ICON, size=(720, 1280))
        screen.tap(ICON[0] // 2, ICON[1] // 2)
        tapped = await recorded(phone, Kind.TAPPED)
        screen.touch(0, 180, 500)
        screen.touch(2, 180, 300)
        screen.touch(1, 180, 200)
        swiped = await recorded(phone, Kind.SWIPED)
        since = phone.phone.ledger.sequence
        await adb.shell(phone.address, f"input tap {SEARCH_TAB[0]} {SEARCH_TAB[1]}")
        by_shell = await recorded(phone, Kind.TAPPED, since=since)

    assert screen.size == (360, 640)
    assert phone.state()["app"]["screen"] == "search"
    assert (tapped.detail["x"], tapped.detail["y"], tapped.detail["target"]) == (*ICON, "icon")
    assert (swiped.detail["start"], swiped.detail["end"]) == ([360, 1000], [360, 400])
    assert tapped.stream not in {0, by_shell.stream}


async def test_several_fingers_and_a_wheel(
    adb: AdbServer, phone: SimulatedPhone, jar: Path
) -> None:
    """Two fingers at once are a pinch, and a wheel scrolls the feed."""
    await adb.shell(phone.address, OPEN_APP)
    async with watching(adb, phone.address, jar) as screen:
        await screen.packet()
        for finger, x in ((1, 300), (2, 420)):
            screen.touch(0, x, 640, finger=finger)
        for finger, x in ((1, 100), (2, 620)):
            screen.touch(2, x, 640, finger=finger)
            screen.touch(1, x, 640, finger=finger)
        pinched = await recorded(phone, Kind.PINCHED)
        screen.send(struct.pack(">BiiHHhhI", 3, 360, 640, 720, 1280, 0, -2048, 0))
        scrolled = await recorded(phone, Kind.SCROLLED)

    assert pinched.detail["fingers"] == [[[300, 640], [100, 640]], [[420, 640], [620, 640]]]
    assert scrolled.detail["down"] == -1
    assert phone.phone.app.feed_index == 1
    assert not [entry for entry in phone.ledger() if entry.kind is Kind.TAPPED]


async def test_texts_keys_and_the_clipboard(
    adb: AdbServer, phone: SimulatedPhone, jar: Path
) -> None:
    """Keys type ASCII and accents; the clipboard pastes the rest, and is acknowledged and read."""
    await adb.shell(phone.address, OPEN_APP)
    async with watching(adb, phone.address, jar) as screen:
        await screen.packet()
        screen.tap(*SEARCH_TAB)
        screen.tap(*SEARCH_BOX)
        screen.send(text_message("caf\u00e9 \u4f60"))
        screen.send(struct.pack(">BQBI", 9, 77, 1, 6) + "\u4f60\u597d".encode())
        acknowledged = await screen.told(9)
        screen.send(b"\x08\0")
        told = await screen.told(5 + 6)
        said = await screen.printed("Device clipboard set")
        screen.send(struct.pack(">BBIII", 0, 0, 66, 0, 0))
        searched = await recorded(phone, Kind.SEARCHED)
        screen.send(b"\x04\0\x04\1")
        await recorded(phone, Kind.SCREEN_SHOWN, since=searched.sequence + 1)

    assert acknowledged == struct.pack(">BQ", 1, 77)
    assert told == struct.pack(">BI", 0, 6) + "\u4f60\u597d".encode()
    assert "[server] WARN: Could not inject char u+4f60" in said
    assert searched.detail["query"] == "caf\u00e9 \u4f60\u597d"
    assert phone.state()["app"]["screen"] == "search"


def text_message(text: str) -> bytes:
    """Return the message that types a text."""
    return struct.pack(">BI", 1, len(text.encode())) + text.encode()


async def test_the_notifications_open_and_close(
    adb: AdbServer, phone: SimulatedPhone, jar: Path
) -> None:
    """Types 5 to 7 lay the system's panel over the app and take it away."""
    await adb.shell(phone.address, OPEN_APP)
    async with watching(adb, phone.address, jar) as screen:
        await screen.packet()
        screen.send(b"\x05")
        screen.tap(*SEARCH_TAB)
        await recorded(phone, Kind.TAPPED)
        covered = phone.state()["foreground"]["package"]
        screen.send(b"\x07")
        screen.tap(*SEARCH_TAB)
        await recorded(phone, Kind.SCREEN_SHOWN)

    assert covered == "com.android.systemui"
    assert phone.state()["foreground"]["package"] == APP


async def test_a_copied_text_is_sent_by_itself(
    adb: AdbServer, phone: SimulatedPhone, jar: Path
) -> None:
    """With clipboard_autosync the phone tells what others copy, and not what the client sets."""
    async with watching(adb, phone.address, jar, clipboard_autosync="true") as screen:
        await screen.packet()
        screen.send(struct.pack(">BQBI", 9, 1, 0, 3) + b"own")
        assert await screen.told(9) == struct.pack(">BQ", 1, 1)
        phone.phone.clipboard.put("copied here")

        assert await screen.told(16) == struct.pack(">BI", 0, 11) + b"copied here"


async def test_a_late_viewer_gets_a_key_frame(
    adb: AdbServer, phone: SimulatedPhone, jar: Path
) -> None:
    """Reset video begins again with a configuration and a key frame, also at rest."""
    async with watching(adb, phone.address, jar) as screen:
        for _ in range(12):
            await screen.packet()
        screen.send(b"\x11")
        first, second = await screen.packet(), await screen.packet()

    assert first.configuration
    assert second.key_frame
    assert second.microseconds > 0


async def test_a_turned_screen_is_a_new_video(
    adb: AdbServer, phone: SimulatedPhone, jar: Path
) -> None:
    """After a rotation comes a configuration of the other size; touches are for that size."""
    async with watching(adb, phone.address, jar) as screen:
        await screen.packet()
        screen.send(b"\x0b")
        while not (await screen.packet()).configuration:
            pass
        picture = await screen.picture()
        screen.tap(*ICON, size=(720, 1280))
        screen.tap(640, 315, size=(1280, 720))
        tapped = await recorded(phone, Kind.TAPPED)
        screen.send(b"\x0b")
        while not (await screen.packet()).configuration:
            pass
        back = await screen.picture()

    assert (picture.size, back.size) == ((1280, 720), (720, 1280))
    assert (tapped.detail["x"], tapped.detail["y"]) == (640, 315)


async def test_a_dark_display_is_lit_or_black(
    adb: AdbServer, phone: SimulatedPhone, jar: Path
) -> None:
    """The server lights the display unless power_on=false; then it is black until type 4."""
    await adb.shell(phone.address, "input keyevent SLEEP")
    async with watching(adb, phone.address, jar, power_on="false") as screen:
        dark = await screen.picture()
        screen.send(b"\x04\0")
        await seen(screen, await lit_screenshot(adb, phone))
    await adb.shell(phone.address, "input keyevent SLEEP")
    async with watching(adb, phone.address, jar) as screen:
        await seen(screen, await lit_screenshot(adb, phone))

    assert difference(dark, Image.new("RGB", dark.size)) < 1


async def lit_screenshot(adb: AdbServer, phone: SimulatedPhone) -> Image.Image:
    """Return the screen once the display is lit."""

    async def lit() -> bool:
        return phone.phone.awake

    await eventually(lit, what="the light")
    return await screenshot(adb, phone)


async def test_it_lives_as_long_as_its_sockets(
    adb: AdbServer, phone: SimulatedPhone, jar: Path
) -> None:
    """No third client gets in; a closed socket, a kill and a closed shell end the process."""
    name = "localabstract:scrcpy_1234abcd"
    async with watching(adb, phone.address, jar) as screen:
        with pytest.raises(RefusedError):
            await opened(adb, phone.address, name)
        listed = await adb.shell(phone.address, "ps -A")
        screen.control[1].close()
        async with asyncio.timeout(180):
            await screen.ended
    async with watching(adb, phone.address, jar) as screen:
        await adb.shell(phone.address, "pkill -9 -f com.genymobile.scrcpy.Serve[r]")
        async with asyncio.timeout(180):
            await screen.ended
            await screen.video.read()
    async with watching(adb, phone.address, jar):
        pass
    async with asyncio.timeout(180):
        while "app_process" in (await adb.shell(phone.address, "ps -A")).text:
            pass

    assert "app_process" in listed.text
    assert name not in phone.phone.sockets


async def refused(adb: AdbServer, phone: SimulatedPhone, jar: Path, **options: str) -> str:
    """Return what a server prints that ends before it listens."""
    async with started(adb, phone.address, jar, **options) as (output, ended):
        async with asyncio.timeout(180):
            await ended
        return output.decode()


async def test_what_it_refuses(
    adb: AdbServer, phone: SimulatedPhone, jar: Path, tmp_path: Path
) -> None:
    """Another version, another jar, words that are no options, a missing host: each is named."""
    await asyncio.to_thread((tmp_path / "other.jar").write_bytes, b"PK another program")

    version = await refused(adb, phone, jar, version="2.4")
    other = await refused(adb, phone, tmp_path / "other.jar")
    number = await refused(adb, phone, jar, max_size="large")
    unreachable = await refused(adb, phone, jar, tunnel_forward="false")
    listed = await refused(adb, phone, jar, list_encoders="true", nonsense="1")

    assert "The server version (3.3.4) does not match the client (2.4)" in version
    assert "could not load main class" in other
    assert 'For input string: "large"' in number
    assert "Connection refused" in unreachable
    assert "--video-encoder=c2.android.avc.encoder" in listed
    assert "Unknown server option: nonsense" in listed


async def test_a_phone_without_pyav_says_what_to_install(
    adb: AdbServer, phone: SimulatedPhone, jar: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It costs 100 MB, so a farm does without it until somebody watches a simulated phone."""
    monkeypatch.setitem(sys.modules, "av", None)

    assert "pip install 'phonefarm[simulator-video]'" in await refused(adb, phone, jar)


async def test_an_encoder_that_fails_above_a_size(
    adb: AdbServer, phone: SimulatedPhone, jar: Path
) -> None:
    """The server takes the next smaller size, the software encoder any; at 800 it gives up."""
    await phone.fault("encoder_fails_above", pixels=1024)
    async with watching(adb, phone.address, jar) as screen:
        picture = await screen.picture()
        said = await screen.printed("Retrying with -m1024...")
    async with watching(
        adb, phone.address, jar, video_encoder="c2.android.avc.encoder"
    ) as by_software:
        whole = await by_software.picture()
    await phone.fault("encoder_fails_above", pixels=400)
    async with watching(adb, phone.address, jar) as failing, asyncio.timeout(180):
        await failing.ended

    assert screen.size == (720, 1280)  # the head is sent before the encoder is tried
    assert picture.size == (576, 1024)
    assert whole.size == (720, 1280)
    assert "Capture/encoding error: android.media.MediaCodec$CodecException" in said
    assert b"Retrying with -m800..." in failing.output
    assert b"Exception on thread Thread[video" in failing.output


async def test_a_phone_that_may_not_be_touched(
    adb: AdbServer, phone: SimulatedPhone, jar: Path
) -> None:
    """The video comes; touches are refused, those of `input` too."""
    await phone.fault("inject_denied")
    async with watching(adb, phone.address, jar) as screen:
        await screen.picture()
        screen.tap(*ICON)
        said = await screen.printed("INJECT_EVENTS permission")
        by_shell = await adb.shell(phone.address, "input tap 360 560")

    assert "[server] ERROR: Could not invoke method" in said
    assert "Caused by: java.lang.SecurityException: Injecting input events" in said
    assert by_shell.status == 255
    assert b"INJECT_EVENTS permission" in by_shell.error
    assert not [entry for entry in phone.ledger() if entry.kind is Kind.TAPPED]


async def test_an_app_that_hides_its_screen(
    adb: AdbServer, phone: SimulatedPhone, jar: Path
) -> None:
    """The launcher is seen; the app is black in the video and in pictures."""
    await phone.fault("secure_window")
    async with watching(adb, phone.address, jar) as screen:
        launcher = await screen.picture()
        await adb.shell(phone.address, OPEN_APP)
        await seen(screen, Image.new("RGB", (720, 1280)))

    assert difference(launcher, Image.new("RGB", launcher.size)) > 6
    assert (await screenshot(adb, phone)).getbbox() is None


async def test_a_server_that_crashes(adb: AdbServer, phone: SimulatedPhone, jar: Path) -> None:
    """It sends for a while, prints an exception, and its sockets end."""
    await phone.fault("server_crashes", seconds=0.2)
    async with watching(adb, phone.address, jar) as screen:
        picture = await screen.picture()
        async with asyncio.timeout(180):
            await screen.ended
            await screen.video.read()

    assert picture.size == (720, 1280)
    assert b"java.lang.IllegalStateException" in screen.output


async def test_an_android_without_the_api(adb: AdbServer, phone: SimulatedPhone, jar: Path) -> None:
    """The head comes, no picture; the exception names what is missing."""
    await phone.fault("api_gone")
    async with watching(adb, phone.address, jar) as screen:
        with pytest.raises(asyncio.IncompleteReadError):
            await screen.packet()
        async with asyncio.timeout(180):
            await screen.ended

    assert b"NoSuchMethodException: android.view.SurfaceControl.createDisplay" in screen.output
    assert b"AssertionError: Could not create display" in screen.output


async def test_a_slow_server_listens_late(adb: AdbServer, phone: SimulatedPhone, jar: Path) -> None:
    """Until then its socket is refused, and it prints nothing."""
    await phone.fault("screen_server_slow", seconds=600)
    async with started(adb, phone.address, jar) as (output, ended):
        with pytest.raises(RefusedError):
            await opened(adb, phone.address, "localabstract:scrcpy_1234abcd")

        assert not ended.done()
        assert not output


@pytest.mark.parametrize(
    ("size", "largest", "fits"),
    [
        ((720, 1280), 0, (720, 1280)),
        ((1280, 720), 1024, (1024, 576)),
        ((1080, 2340), 1280, (592, 1280)),
        ((1080, 2340), 0, (1080, 2336)),
    ],
)
def test_the_size_of_a_video(size: tuple[int, int], largest: int, fits: tuple[int, int]) -> None:
    """No side is longer than the largest, and both are multiples of 8 (scrcpy's Size.java)."""
    assert fitting(size, largest) == fits


def test_options_are_read_as_the_server_reads_them() -> None:
    """Sizes are rounded, the scid is hexadecimal, raw_stream leaves every head out."""
    options = read_options(["3.3.4", "scid=7fffffff", "max_size=1023", "raw_stream=true"])

    assert (options.socket_name, options.max_size) == ("scrcpy_7fffffff", 1016)
    assert not options.send_dummy_byte
    assert not options.send_frame_meta
    assert read_options(["3.3.4"]).socket_name == "scrcpy"
    for wrong in (["3.3.4", "scid=80000000"], ["3.3.4", "control"], ["3.3.4", "max_fps=-1"], []):
        with pytest.raises(OptionsError):
            read_options(wrong)


def test_every_screen_can_be_drawn_turned(phone: SimulatedPhone) -> None:
    """As large as the display is then, also the feed, whose video fills it."""
    one = phone.phone
    one.display.turn(1)
    one.display.wake()
    drawn = {"lock screen": picture_of(one.screen())}
    one.display.dismiss_keyguard()
    drawn["home"] = picture_of(one.screen())
    one.open_app(APP)
    for screen in set(Screen) - {Screen.PLAYER}:  # nothing was searched for
        one.app.screen = screen
        drawn[screen] = picture_of(one.screen())

    assert {picture.size for picture in drawn.values()} == {(1280, 720)}
    feed = drawn[Screen.FEED]
    assert feed.getpixel((1279, 300)) != feed.getpixel((1279, 560))
