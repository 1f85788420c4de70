"""The live screen in a real browser: who watches leaves the phone alone, who holds it drives it."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Locator, Page, expect
from support.console import Console, settled
from support.live_farm import LivePhone, eventually
from support.raw_viewer import raw_viewer
from support.screen_server import real_jar

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

WATCHED, DRIVEN = 0, 1
WIDTH, HEIGHT = 720, 1280
ICON, SEARCH_TAB = (360, 580), (360, 1220)
INPUT = {"tapped", "swiped", "typed", "keys_pressed", "scrolled", "pinched"}
FULL_BYTES = 120_000
"""More than the gateway keeps for a viewer that does not read, on the way and in its queue."""
SCREEN = "document.querySelector('pf-screen')"


@pytest.fixture(scope="module", autouse=True)
def _jar() -> None:
    """Have scrcpy-server where the farm's agent finds it."""
    real_jar()


def path_of(phone: LivePhone) -> str:
    """Return the address of a phone's page."""
    return f"/console/phones/{phone.phone_id}"


async def shown(page: Page) -> Locator:
    """Return the canvas once the page shows live video."""
    await expect(page.get_by_role("region", name="Screen")).to_contain_text("live, 720 x 1280")
    return page.locator("pf-screen canvas").first


async def spot(page: Page, place: tuple[int, int]) -> tuple[float, float]:
    """Return where on the page a place on the phone's screen is."""
    box = await page.locator("pf-screen canvas").first.bounding_box()
    assert box is not None
    return (
        box["x"] + box["width"] * place[0] / WIDTH,
        box["y"] + box["height"] * place[1] / HEIGHT,
    )


async def tap(page: Page, place: tuple[int, int]) -> None:
    """Click on the phone's screen."""
    await page.mouse.click(*await spot(page, place))


async def drag(page: Page, places: Sequence[tuple[int, int]]) -> None:
    """Press the button at the first place, move over the others, and let go."""
    await page.mouse.move(*await spot(page, places[0]))
    await page.mouse.down()
    for place in places[1:]:
        await page.mouse.move(*await spot(page, place), steps=4)
    await page.mouse.up()


async def marked(console: Console, phone: LivePhone) -> int:
    """Return the number of the newest entry in the phone's ledger."""
    entries = await console.it.phones.ledger(phone.serialno)
    return int(entries[-1]["sequence"])


async def inputs(console: Console, phone: LivePhone, since: int) -> list[str]:
    """Return the kinds of input that the phone got since then."""
    entries = await console.it.phones.ledger(phone.serialno, since=since)
    return [entry["kind"] for entry in entries if entry["kind"] in INPUT]


async def key_with(console: Console, name: str, *scopes: str) -> str:
    """Return a new key."""
    status, made = await console.it.call("POST", "/keys", {"name": name, "scopes": list(scopes)})
    assert status == 200, made
    return str(made["secret"])


@asynccontextmanager
async def holding(console: Console, phone: LivePhone) -> AsyncIterator[Page]:
    """Yield the phone's page with a hold that was made there; the phone is free at the end."""
    async with console.logged_in(path_of(phone)) as page:
        await page.get_by_role("button", name="Hold", exact=True).click()
        dialog = page.get_by_role("dialog")
        await dialog.get_by_label("Reason").fill("a test of the screen")
        await dialog.get_by_role("button", name="Hold it").click()
        await expect(page.get_by_role("region", name="Screen")).to_contain_text("Held until")
        await shown(page)
        await expect(page.locator("canvas.mine")).to_be_visible()
        try:
            yield page
        finally:
            await give_back(console, phone)


async def give_back(console: Console, phone: LivePhone) -> None:
    """End the hold, if it goes on, and wait until the phone is free."""
    await console.it.call("POST", f"/phones/{phone.phone_id}/unhold", {"reason": "done"})

    async def free() -> bool:
        return (await console.it.phone(phone.phone_id)).lease == "free"

    await eventually(free, what="the end of the hold")


@pytest_asyncio.fixture(loop_scope="module")
async def driven(console: Console) -> AsyncIterator[tuple[Page, LivePhone]]:
    """Yield the page of a held phone, and the phone."""
    phone = console.it.farm.phones[DRIVEN]
    async with holding(console, phone) as page:
        yield page, phone


async def opened_app(console: Console, page: Page, phone: LivePhone) -> None:
    """Wake the phone, unlock it, go home and open its app, all on its screen."""
    since = await marked(console, phone)
    await page.get_by_role("button", name="Wake").click()
    await page.get_by_role("button", name="Home").click()
    await drag(page, [(360, 1000), (360, 300)])
    await console.it.phones.wait_for(phone.serialno, "swiped", since=since, timeout=180)
    await page.get_by_role("button", name="Home").click()
    await tap(page, ICON)
    await console.it.phones.wait_for(phone.serialno, "app_started", since=since, timeout=180)


async def test_watching_shows_the_phone_and_leaves_it_alone(console: Console) -> None:
    """Video is decoded and drawn; the page names who watches, and the phone gets no input."""
    phone = console.it.farm.phones[WATCHED]
    since = await marked(console, phone)
    async with console.logged_in(path_of(phone)) as page:
        await shown(page)
        await expect(page.get_by_role("button", name="Home")).to_be_disabled()
        await tap(page, SEARCH_TAB)
        await page.reload()
        await shown(page)

        assert await page.evaluate(f"{SCREEN}.painter.painted") > 0
        assert await page.evaluate(f"{SCREEN}.painter.errors") == 0
        assert await inputs(console, phone, since) == []
        await expect(page.get_by_text("Watching now: ingest_secret")).to_be_visible()


async def test_a_tap_on_the_live_screen_reaches_the_app(
    console: Console, driven: tuple[Page, LivePhone]
) -> None:
    """The app opens and goes where it was touched; the phone's ledger has each touch."""
    page, phone = driven
    await opened_app(console, page, phone)
    since = await marked(console, phone)

    await tap(page, SEARCH_TAB)

    entry = await console.it.phones.wait_for(phone.serialno, "tapped", since=since, timeout=180)
    assert entry["detail"]["target"] == "nav_search"
    assert abs(entry["detail"]["x"] - SEARCH_TAB[0]) <= 2
    moved = await console.it.phones.wait_for(
        phone.serialno, "screen_shown", since=since, timeout=180
    )
    assert "search" in str(moved["detail"])


async def test_text_is_typed_and_pasted_where_the_cursor_is(
    console: Console, driven: tuple[Page, LivePhone]
) -> None:
    """By the field of the page, by the keyboard on the screen, and in every script."""
    page, phone = driven
    await opened_app(console, page, phone)
    await tap(page, SEARCH_TAB)
    await page.get_by_role("button", name="Inspect").click()
    await expect(page.locator("pf-inspector canvas")).to_be_visible()
    left, top, right, bottom = await page.evaluate(
        "document.querySelector('pf-inspector').seen.nodes"
        ".find((one) => one.resource_id.endsWith('search_box')).bounds"
    )
    box = ((left + right) // 2, (top + bottom) // 2)
    await tap(page, box)
    since = await marked(console, phone)

    await page.get_by_label("Text", exact=True).fill("tiny")
    await page.get_by_role("button", name="Type it").click()
    await console.it.phones.wait_for(phone.serialno, "typed", since=since, timeout=180)
    await tap(page, box)
    await page.keyboard.type(" house")
    await page.get_by_label("Text", exact=True).fill(" für 東京")
    await page.get_by_role("button", name="Type it").click()
    await expect(page.locator("pf-screen .note")).to_have_text("The phone has the text.")

    async def whole() -> bool:
        status, seen = await console.it.call("GET", f"/phones/{phone.phone_id}/inspection")
        return status == 200 and any(
            node["text"] == "tiny house für 東京" for node in seen["nodes"]
        )

    await eventually(whole, what="the text in the app's field")


async def test_the_phone_takes_the_wheel_a_pinch_and_a_turn_and_gives_its_clipboard(
    console: Console, driven: tuple[Page, LivePhone]
) -> None:
    """By wheel, by two fingers on a touch screen, and by buttons; a turned screen takes taps."""
    page, phone = driven
    await opened_app(console, page, phone)
    since = await marked(console, phone)

    async def next_of(kind: str) -> dict[str, Any]:
        entry = await console.it.phones.wait_for(phone.serialno, kind, since=since, timeout=60)
        return dict(entry["detail"])

    await page.mouse.move(*await spot(page, (300, 600)))
    await page.mouse.wheel(0, 300)
    scrolled = await next_of("scrolled")
    assert abs(scrolled["x"] - 300) <= 2
    assert scrolled["down"] < 0  # towards what comes next

    await pinch(page, [((300, 500), (200, 300)), ((400, 700), (500, 900))])
    fingers = (await next_of("pinched"))["fingers"]
    assert len(fingers) == 2
    for (start, end), (x, y) in zip(sorted(fingers), [(200, 300), (500, 900)], strict=True):
        assert start != end
        assert (abs(end[0] - x), abs(end[1] - y)) <= (2, 2)

    await page.get_by_label("Text", exact=True).fill("für 東京")
    await page.get_by_role("button", name="Type it").click()
    await expect(page.locator("pf-screen .note")).to_have_text("The phone has the text.")
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await page.get_by_role("button", name="Copy from phone").click()
    await expect(page.locator("pf-screen .note")).to_have_text("Copied from the phone.")
    assert await page.evaluate("navigator.clipboard.readText()") == "für 東京"

    region = page.get_by_role("region", name="Screen")
    await page.get_by_role("button", name="Rotate").click()
    await expect(region).to_contain_text("live, 1280 x 720")
    await expect(page.locator("pf-screen canvas").first).to_have_attribute("width", "1280")
    box = await page.locator("pf-screen canvas").first.bounding_box()
    assert box is not None
    since = await marked(console, phone)
    await page.mouse.click(box["x"] + box["width"] * 0.75, box["y"] + box["height"] * 0.25)
    tapped = await next_of("tapped")
    assert (abs(tapped["x"] - 960), abs(tapped["y"] - 180)) <= (2, 2)
    await page.get_by_role("button", name="Rotate").click()
    await shown(page)


async def pinch(page: Page, fingers: Sequence[tuple[tuple[int, int], tuple[int, int]]]) -> None:
    """Draw several fingers at once on a touch screen, each from a place to a place."""
    places = [[await spot(page, place) for place in way] for way in fingers]
    devtools = await page.context.new_cdp_session(page)
    for kind, step in (("touchStart", 0), ("touchMove", 1), ("touchEnd", 1)):
        touching = [
            {"x": way[step][0], "y": way[step][1], "id": finger}
            for finger, way in enumerate(places)
        ]
        points = [] if kind == "touchEnd" else touching
        await devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    await devtools.detach()


async def received(page: Page, wanted: int) -> bool:
    """Tell whether the page has received so many bytes of video."""
    return bool(await page.evaluate("bytes") > wanted)


async def test_a_viewer_that_does_not_read_harms_nobody(
    console: Console, driven: tuple[Page, LivePhone]
) -> None:
    """Others see and drive the phone; it misses pictures, and goes on with a key frame."""
    page, phone = driven
    await opened_app(console, page, phone)
    await page.evaluate(
        f"""() => {{
          const {{ painter }} = {SCREEN};
          const put = painter.put.bind(painter);
          window.times = [];
          window.bytes = 0;
          painter.put = (data, isKey, at) => {{
            times.push(at);
            bytes += data.length;
            return put(data, isKey, at);
          }};
        }}"""
    )
    _, ticket = await console.it.call("POST", f"/phones/{phone.phone_id}/screen/tickets")
    async with raw_viewer(
        console.it.farm.rest, phone.phone_id, ticket["ticket"], small=True
    ) as slow:
        read = [await slow.picture()]
        bytes_before = await page.evaluate("bytes")

        # One picture for many of the page's, so that the gateway does not take it for dead.
        for step in range(1, 11):
            wanted = bytes_before + step * FULL_BYTES // 10
            await eventually(partial(received, page, wanted), what="pictures for the page")
            read.append(await slow.picture())
        since = await marked(console, phone)
        await tap(page, SEARCH_TAB)
        await console.it.phones.wait_for(phone.serialno, "tapped", since=since, timeout=60)

        newest = await page.evaluate("times.at(-1)")
        while read[-1].microseconds < newest:
            read.append(await slow.picture())

    seen = {picture.microseconds for picture in read}
    times: list[int] = await page.evaluate("times")
    missed = next(at for at in times if at > read[0].microseconds and at not in seen)
    after = next(picture for picture in read if picture.microseconds > missed)
    assert after.key


async def test_after_the_hold_nothing_arrives(
    console: Console, driven: tuple[Page, LivePhone]
) -> None:
    """The page lets go by itself; of 10,000 messages that it sends nevertheless none passes."""
    page, phone = driven
    await opened_app(console, page, phone)
    await give_back(console, phone)
    await expect(page.locator("canvas.mine")).to_have_count(0)
    since = await marked(console, phone)

    await tap(page, SEARCH_TAB)
    # What is sent after the key presses is answered after them: by a key frame.
    await page.evaluate(
        f"""async () => {{
          const {{ socket, painter }} = {SCREEN};
          const press = new Uint8Array([0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0]);
          for (let sent = 0; sent < 10_000; sent += 1) socket.send(press);
          const put = painter.put.bind(painter);
          window.answered = new Promise((resolve) => {{
            painter.put = (data, isKey, at) => {{
              if (isKey) resolve(true);
              return put(data, isKey, at);
            }};
          }});
          socket.wantKeyFrame();
        }}"""
    )
    assert await page.evaluate("answered")

    await expect(page.locator("pf-screen .note")).to_contain_text(re.compile("hold", re.IGNORECASE))
    assert await inputs(console, phone, since) == []


async def test_a_hold_of_another_key_is_no_hold_of_mine(
    console: Console, driven: tuple[Page, LivePhone]
) -> None:
    """Another operator sees the phone; what they send is refused with the reason."""
    _, phone = driven
    other = await key_with(console, "other-operator", "operate")
    async with console.logged_in(path_of(phone), key=other) as page:
        await shown(page)
        since = await marked(console, phone)
        note = page.locator("pf-screen .note")

        async with asyncio.timeout(180):
            while "hold" not in (await note.inner_text()).lower():
                await tap(page, SEARCH_TAB)  # again: a picture that is still to come takes none

        assert await inputs(console, phone, since) == []


async def test_a_viewer_may_look_and_nothing_else(
    console: Console, driven: tuple[Page, LivePhone]
) -> None:
    """With the scope `watch` alone; without it the page names the scope and opens nothing."""
    _, phone = driven
    viewer = await key_with(console, "screen-viewer", "read", "watch")
    reader = await key_with(console, "screen-reader", "read")
    async with console.logged_in(path_of(phone), key=viewer) as page:
        await shown(page)
        since = await marked(console, phone)
        await tap(page, SEARCH_TAB)
        await page.evaluate(
            f"{SCREEN}.socket.send(new Uint8Array([0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0]))"
        )
        await expect(page.locator("pf-screen .note")).to_contain_text("operate")
        assert await inputs(console, phone, since) == []
    async with console.logged_in(path_of(phone), key=reader) as page:
        region = page.get_by_role("region", name="Screen")
        await expect(region).to_contain_text("does not have the scope watch")
        assert await page.evaluate(f"{SCREEN}.socket") is None


async def test_a_revoked_key_sees_no_more(console: Console) -> None:
    """Its open socket ends, and the page asks for a key."""
    phone = console.it.farm.phones[WATCHED]
    leaver = await key_with(console, "leaver", "read", "watch")
    async with console.logged_in(path_of(phone), key=leaver) as page:
        await shown(page)

        await console.it.call("POST", "/keys/leaver/revoke")

        await expect(page.get_by_role("heading", name="Log in")).to_be_visible()


async def test_another_site_opens_no_socket(console: Console) -> None:
    """A page on another port of this machine gets the cookie sent, and no screen."""
    phone = console.it.farm.phones[WATCHED]
    async with console.logged_in() as page:
        await page.route(
            "http://127.0.0.1:9/",
            lambda route: route.fulfill(body="<p>evil</p>", content_type="text/html"),
        )
        await page.goto("http://127.0.0.1:9/")

        told = await page.evaluate(
            """(address) => new Promise((resolve) => {
              const socket = new WebSocket(address);
              socket.onopen = () => resolve('open');
              socket.onclose = ({ code }) => resolve(code);
            })""",
            f"ws://{console.it.farm.rest}/phones/{phone.phone_id}/screen",
        )

        assert told == 1006


async def test_a_hidden_tab_is_sent_nothing(console: Console) -> None:
    """It closes its socket; when it is seen again the screen comes back."""
    phone = console.it.farm.phones[WATCHED]
    hide = """(isHidden) => {
      Object.defineProperty(document, 'hidden', { configurable: true, get: () => isHidden });
      document.dispatchEvent(new Event('visibilitychange'));
    }"""
    async with console.logged_in(path_of(phone)) as page:
        await shown(page)

        await page.evaluate(hide, True)
        assert await page.evaluate(f"{SCREEN}.socket.isOpen") is False

        async def ended() -> bool:
            _, told = await console.it.call("GET", f"/audit?subject={phone.phone_id}&limit=1")
            return bool(told["entries"][0]["verb"] == "watch_end")

        await eventually(ended, what="the end of the view at the controller")
        await page.evaluate(hide, False)

        await shown(page)
        assert await page.evaluate(f"{SCREEN}.socket.isOpen") is True


async def test_without_a_decoder_there_are_pictures_and_the_reason(console: Console) -> None:
    """In words; they need no hold, and take no input."""
    phone = console.it.farm.phones[WATCHED]
    async with console.tab() as page:
        await page.add_init_script("delete globalThis.VideoDecoder")
        await page.goto(path_of(phone))
        await page.get_by_label("API key", exact=True).fill(console.it.farm.api_key)
        await page.get_by_role("button", name="Log in").click()
        await settled(page)

        region = page.get_by_role("region", name="Screen")
        await expect(region).to_contain_text("pictures, at most one a second")
        await expect(region).to_contain_text("this browser has no WebCodecs")
        await expect(page.get_by_role("button", name="Home")).to_be_disabled()


async def test_a_picture_is_saved(console: Console) -> None:
    """As the phone makes it, under the phone's name."""
    phone = console.it.farm.phones[WATCHED]
    async with console.logged_in(path_of(phone)) as page:
        await shown(page)
        async with page.expect_download() as coming:
            await page.get_by_role("button", name="Save picture").click()
        saved = await coming.value

        assert saved.suggested_filename.startswith(phone.phone_id)
        with open(await saved.path(), "rb") as file:  # noqa: ASYNC230, PTH123 - small and local
            assert file.read(8) == b"\x89PNG\r\n\x1a\n"


async def test_the_inspector_names_what_is_clicked(
    console: Console, driven: tuple[Page, LivePhone]
) -> None:
    """Its selectors, the most stable first, and a line that an app profile takes as it is."""
    page, phone = driven
    await opened_app(console, page, phone)
    await page.get_by_role("button", name="Inspect").click()
    picture = page.locator("pf-inspector canvas")
    await expect(picture).to_be_visible()
    box = await picture.bounding_box()
    assert box is not None

    await picture.click(
        position={
            "x": box["width"] * SEARCH_TAB[0] / WIDTH,
            "y": box["height"] * SEARCH_TAB[1] / HEIGHT,
        }
    )

    element = page.locator("pf-inspector .element")
    await expect(element).to_contain_text('{ id = "nav_search" }')
    await expect(element.locator(".line-of-profile")).to_have_text(
        'nav_search = { id = "nav_search" }'
    )


async def test_the_grid_shows_the_screens_of_phones_in_view(console: Console) -> None:
    """A small picture of each phone that is free; the choice is in the address."""
    async with console.logged_in("/console/phones") as page:
        await page.get_by_role("button", name="Screens").click()
        await expect(page).to_have_url(f"{console.base}/console/phones?view=grid")

        pictures = page.locator("pf-thumbnail img")
        await expect(pictures).to_have_count(len(console.it.farm.phones))
        assert (
            await pictures.first.evaluate("image => image.decode().then(() => image.naturalHeight)")
            > 100
        )
