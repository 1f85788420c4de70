"""Screens by WebSocket: who gets in, what passes each way, and how it ends."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from socket import SO_RCVBUF, SOL_SOCKET
from typing import Any, TypeVar

import aiohttp
import grpc
import pytest
from gateway.support.farm import Farm, farm
from gateway.support.memory_controller import KEY, READ_ONLY_KEY
from gateway.support.memory_screens import INFO, frame
from gateway.test_gateway_console import Browser, _Later
from phonefarm.v1 import screen_pb2 as pb
from phonefarm_common.frame_queue import MOST_FRAMES
from phonefarm_gateway.rest.event_streams import StreamLimits
from support.live_farm import eventually

SECONDS = 60.0
SCREEN = "/phones/ph-1/screen"
TAP = bytes([2, 0]) + bytes(30)

_T = TypeVar("_T")


async def soon(coming: Awaitable[_T]) -> _T:
    """Wait for what must come; the bound only ends a hang."""
    async with asyncio.timeout(SECONDS):
        return await coming


async def until(true: Callable[[], bool]) -> None:
    """Wait until it is so."""

    async def look() -> bool:
        return true()

    await eventually(look, what="what the test waits for")


@asynccontextmanager
async def socket(
    it: Farm, path: str = SCREEN, headers: Mapping[str, str] = {}
) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """Open a socket with these headers alone."""
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(it.base + path, headers=headers, max_msg_size=0) as opened,
    ):
        yield opened


@asynccontextmanager
async def own(
    it: Farm, path: str = SCREEN, key: str = KEY
) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """Open a socket as a page of the console does."""
    browser = Browser(it)
    assert (await browser.log_in(key)).status == 200
    headers = {"Cookie": browser.cookie, "Origin": it.base}
    async with socket(it, path, headers) as opened:
        yield opened


async def said(opened: aiohttp.ClientWebSocketResponse) -> dict[str, Any]:
    """Return the next text message."""
    return dict(json.loads(await soon(opened.receive_str())))


async def closed(opened: aiohttp.ClientWebSocketResponse) -> tuple[int, str]:
    """Return code and reason once the gateway has closed."""
    while True:
        message = await soon(opened.receive())
        if message.type is aiohttp.WSMsgType.CLOSE:
            return int(message.data), str(message.extra)


async def ticket(it: Farm, path: str, key: str = KEY) -> str:
    """Return a ticket."""
    answer = await it.call("POST", path, key=key)
    assert answer.status == 201, answer.body
    return str(answer.body["ticket"])


async def test_a_page_sees_the_screen_and_its_input_reaches_the_phone() -> None:
    """Frames are binary with kind and time, all else is JSON; input passes as it is."""
    async with farm() as it, own(it) as opened:
        screens = it.controller.screens
        await opened.send_json({"type": "open", "quality": "low"})
        for event in (INFO, frame(7, key=True, size=3)):
            screens.shown.put_nowait(event)

        info = await said(opened)
        picture = await soon(opened.receive_bytes())
        await opened.send_bytes(TAP)
        await opened.send_json({"type": "key_frame"})

        assert (info["type"], info["codec"], info["width"]) == ("info", "avc1.42e01f", 540)
        assert picture == b"\x01" + (7).to_bytes(8, "big") + b"\x01\x01\x01"
        assert await soon(screens.controls.get()) == TAP
        await until(lambda: screens.key_frames == 1)
        assert (screens.opened[0].phone_id, screens.opened[0].quality) == (
            "ph-1",
            pb.VIEW_QUALITY_LOW,
        )


async def test_what_the_phone_says_reaches_the_page() -> None:
    """A refusal of input, the clipboard, and why it ended, after which nothing more comes."""
    async with farm() as it, own(it) as opened:
        await opened.send_json({"type": "open"})
        refused = pb.InputRefused(reason="hold_required", message="Hold the phone first.")
        for event in (
            pb.ViewEvent(input_refused=refused),
            pb.ViewEvent(clipboard=pb.Clipboard(text="tea")),
            pb.ViewEvent(clipboard_set=pb.ClipboardSet(sequence=4)),
            pb.ViewEvent(ended=pb.ViewEnded(reason="phone_away", message="It was unplugged.")),
        ):
            it.controller.screens.shown.put_nowait(event)

        told = [await said(opened) for _ in range(4)]

        assert [one["type"] for one in told] == [
            "input_refused",
            "clipboard",
            "clipboard_set",
            "ended",
        ]
        assert (await closed(opened))[0] == 1000
        await until(lambda: it.controller.screens.open == 0)


async def test_a_ticket_opens_one_socket_of_one_phone() -> None:
    """For callers without the cookie; a second time, or for another phone, it is refused."""
    async with farm() as it:
        good = await ticket(it, f"{SCREEN}/tickets")
        other = await ticket(it, "/phones/ph-2/screen/tickets")
        async with socket(it) as opened:
            await opened.send_json({"type": "open", "ticket": good})
            it.controller.screens.shown.put_nowait(INFO)
            assert (await said(opened))["type"] == "info"
        for text in (good, other, "made-up", None):
            async with socket(it) as refused:
                await refused.send_json({"type": "open", "ticket": text})

                code, why = await closed(refused)

                assert (code, "ticket" in why) == (4401, True)


async def test_a_ticket_ends_after_30_seconds() -> None:
    """Whoever finds it later has nothing."""
    clock = _Later()
    async with farm(clock=clock) as it:
        late = await ticket(it, f"{SCREEN}/tickets")
        clock.ahead = timedelta(seconds=30)

        async with socket(it) as opened:
            await opened.send_json({"type": "open", "ticket": late})

            assert (await closed(opened))[0] == 4401


async def test_a_ticket_needs_a_key_with_the_scope() -> None:
    """Nobody gets one without a key, nor with one that may only read."""
    async with farm() as it:
        nobody = await it.call("POST", f"{SCREEN}/tickets", key=None)
        reader = await it.call("POST", "/thumbnails/tickets", key=READ_ONLY_KEY)

        assert nobody.status == 401
        assert (reader.status, reader.body["error"]) == (403, "insufficient_scope:watch")


@pytest.mark.parametrize("path", [SCREEN, "/thumbnails"])
@pytest.mark.parametrize("origin", ["https://evil.example", "http://127.0.0.1:1", "null", None])
async def test_another_page_opens_no_socket(path: str, origin: str | None) -> None:
    """Though the browser adds the cookie: the upgrade is refused."""
    async with farm() as it:
        browser = Browser(it)
        await browser.log_in()
        headers = {"Cookie": browser.cookie} | ({"Origin": origin} if origin else {})

        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            async with socket(it, path, headers):
                pass

        assert caught.value.status == 403
        assert it.controller.screens.open == 0


@pytest.mark.parametrize("path", [SCREEN, f"{SCREEN}?key={KEY}", f"{SCREEN}?ticket=x"])
async def test_without_cookie_and_ticket_nothing_is_shown(path: str) -> None:
    """Nor does a key in the address count."""
    async with farm() as it, socket(it, path) as opened:
        await opened.send_json({"type": "open"})

        assert (await closed(opened))[0] == 4401
        assert it.controller.screens.opened == []


async def test_a_viewer_without_the_scope_is_told() -> None:
    """By the controller; the socket closes with 4403 and the scope that is missing."""
    async with farm() as it, own(it, key=READ_ONLY_KEY) as opened:
        await opened.send_json({"type": "open"})

        told = await said(opened)
        code, why = await closed(opened)

        assert told["reason"] == "insufficient_scope:watch"
        assert code == 4403
        assert "insufficient_scope:watch" in why


async def test_a_revoked_key_loses_its_open_socket() -> None:
    """The controller looks the key up again; the page is told to log in."""
    async with farm() as it, own(it) as opened:
        await opened.send_json({"type": "open"})
        it.controller.screens.shown.put_nowait(INFO)
        await said(opened)

        del it.controller.keys[KEY]

        assert (await said(opened))["reason"] == "unauthenticated"
        assert (await closed(opened))[0] == 4401


async def test_a_phone_that_cannot_be_shown_says_why() -> None:
    """The reason of the farm, in words."""
    async with farm() as it, own(it) as opened:
        it.controller.screens.refusal = (
            grpc.StatusCode.FAILED_PRECONDITION,
            "screen_unavailable:screens_off",
            "The host of this phone shows no screens.",
        )
        await opened.send_json({"type": "open"})

        told = await said(opened)

        assert told["reason"] == "screen_unavailable:screens_off"
        assert told["message"] == "The host of this phone shows no screens."
        assert (await closed(opened))[0] == 1000


@pytest.mark.parametrize("first", ["no json", "[]", '{"type":"open","mode":"smell"}', b"\x00"])
async def test_what_is_not_understood_closes_the_socket(first: str | bytes) -> None:
    """With what is wrong; nothing is opened."""
    async with farm() as it, own(it) as opened:
        await (opened.send_bytes(first) if isinstance(first, bytes) else opened.send_str(first))

        code, why = await closed(opened)

        assert (code, bool(why)) == (1008, True)
        assert it.controller.screens.opened == []


async def test_a_slow_viewer_misses_frames_and_holds_up_nobody() -> None:
    """Its queue is bounded; the phone is asked for a key frame, with which it goes on."""
    size, count = 200_000, 200
    async with farm() as it, own(it) as slow:
        screens = it.controller.screens
        # Linux lets a receiver's window grow as it reads: here only what the gateway keeps counts.
        mine: Any = slow.get_extra_info("socket")
        mine.setsockopt(SOL_SOCKET, SO_RCVBUF, 128 * 1024)
        await slow.send_json({"type": "open"})
        await until(lambda: screens.open == 1)
        screens.shown.put_nowait(frame(0, key=True, size=size))
        for number in range(1, count):
            screens.shown.put_nowait(frame(number, size=size))
        await until(lambda: screens.key_frames >= 1)
        screens.shown.put_nowait(frame(count, key=True))

        times: list[int] = []
        while not times or times[-1] != count:
            picture = await soon(slow.receive_bytes())
            times.append(int.from_bytes(picture[1:9], "big"))

        assert times == sorted(times)
        assert len(times) < count - MOST_FRAMES
        missed = next(index for index, time in enumerate(times) if time != index)
        assert times[missed] == count  # what follows a gap is a key frame
        # Beside the queue little waits: without a bound Linux alone keeps 4 MB for it.
        assert (missed - MOST_FRAMES) * size < 1_500_000


async def test_a_request_that_opens_no_socket_is_refused() -> None:
    """With what it must be."""
    async with farm() as it:
        for path in (SCREEN, "/thumbnails"):
            answer = await it.call("GET", path)

            assert (answer.status, answer.body["error"]) == (426, "upgrade_required")


async def test_sockets_have_a_limit() -> None:
    """They count as event streams do; the next caller may try later."""
    async with farm(streams=StreamLimits(most=1)) as it, own(it) as first, own(it) as second:
        await first.send_json({"type": "open"})
        await until(lambda: it.controller.screens.open == 1)
        await second.send_json({"type": "open"})

        assert (await closed(second))[0] == 1013


async def test_thumbnails_are_of_the_phones_that_were_named_last() -> None:
    """Each with its phone; one that cannot be shown has the reason."""
    async with farm() as it, own(it, "/thumbnails") as opened:
        screens = it.controller.screens
        await opened.send_json({"type": "show", "phone_ids": ["a", "b"]})
        assert await soon(screens.asked.get()) == ["a", "b"]
        await opened.send_json({"type": "show", "phone_ids": ["b"]})
        assert await soon(screens.asked.get()) == ["b"]
        screens.thumbnails.put_nowait(pb.Thumbnail(phone_id="b", jpeg=b"picture"))
        screens.thumbnails.put_nowait(pb.Thumbnail(phone_id="b", refused="screens_off: why"))

        shown, refused = [await soon(opened.receive_bytes()) for _ in range(2)]

        length = int.from_bytes(shown[:2], "big")
        about = json.loads(shown[2 : 2 + length])
        assert (about["phone_id"], shown[2 + length :]) == ("b", b"picture")
        assert json.loads(refused[2:])["refused"] == "screens_off: why"


async def test_a_still_is_a_file_that_no_browser_takes_for_a_page() -> None:
    """With the scope `watch`; a screen that cannot be shown is 409 with the reason."""
    async with farm() as it:
        jpeg = await it.call("GET", "/phones/ph-1/still")
        png = await it.call("GET", "/phones/ph-1/still?format=png")
        reader = await it.call("GET", "/phones/ph-1/still", key=READ_ONLY_KEY)
        wrong = await it.call("GET", "/phones/ph-1/still?format=gif")
        it.controller.screens.refusal = (
            grpc.StatusCode.FAILED_PRECONDITION,
            "screen_unavailable:phone_away",
            "adb does not see it.",
        )
        away = await it.call("GET", "/phones/ph-1/still")

        assert (jpeg.status, jpeg.headers["Content-Type"]) == (200, "image/jpeg")
        assert png.headers["Content-Type"] == "image/png"
        assert "sandbox" in jpeg.headers["Content-Security-Policy"]
        assert jpeg.headers["Content-Disposition"] == 'attachment; filename="ph-1.jpeg"'
        assert (reader.status, wrong.status) == (403, 422)
        assert (away.status, away.body["error"]) == (409, "screen_unavailable:phone_away")


async def test_an_inspection_has_the_picture_and_the_elements() -> None:
    """Bounds in pixels of the phone, parents before children."""
    async with farm() as it:
        still = it.controller.screens.still
        still.taken_at.GetCurrentTime()
        still.nodes.add(parent=-1, class_name="android.widget.FrameLayout", right=1080)
        still.nodes.add(parent=0, text="Search", resource_id="app:id/search", clickable=True)

        answer = await it.call("GET", "/phones/ph-1/inspection")

        assert answer.status == 200
        root, button = answer.body["nodes"]
        assert (root["parent"], root["bounds"]) == (-1, [0, 0, 1080, 0])
        assert (button["text"], button["clickable"]) == ("Search", True)
        assert answer.body["tree_refused"] is None
