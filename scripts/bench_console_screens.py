"""The rows of bench_console.py about live screens: pictures, frames, latency, input, viewers."""

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from bench_console_rows import (
    SCREEN,
    WAIT_SECONDS,
    Bench,
    Received,
    middle_and_high,
    shares,
    until,
)
from playwright.async_api import FloatRect, Page
from support.live_farm import LivePhone
from support.raw_viewer import RawViewer
from support.screen_client import watching
from support.screen_server import real_jar

PROGRAMS: Final = ("simulator", "agent", "controller", "gateway")
VIEWERS: Final = 20
SLOW_BYTES: Final = 200_000
"""More than the gateway keeps for a viewer that does not read."""
HIDDEN_SECONDS: Final = 2.0
TRIES: Final = 10_000
HIDE: Final = """(isHidden) => {
  Object.defineProperty(document, 'hidden', { configurable: true, get: () => isHidden });
  document.dispatchEvent(new Event('visibilitychange'));
}"""
# When each frame of the video was drawn: its own time in us, and the wall clock's in ms.
NOTE_DRAWN: Final = """
window.drawn = [];
const draw = CanvasRenderingContext2D.prototype.drawImage;
CanvasRenderingContext2D.prototype.drawImage = function (picture, ...place) {
  draw.call(this, picture, ...place);
  if (typeof VideoFrame === 'function' && picture instanceof VideoFrame) {
    drawn.push([picture.timestamp, performance.timeOrigin + performance.now()]);
  }
};
"""


async def pictures(bench: Bench, page: Page, received: Received, phone: LivePhone) -> None:
    """Measure the first picture, a still, and the video of a screen that rests."""
    began = time.monotonic()
    await page.goto(f"/console/phones/{phone.phone_id}")
    await until(page, f"({SCREEN}?.painter?.painted ?? 0) > 0")
    seconds = time.monotonic() - began
    bench.add("first picture of a phone", "<= 1.5 s", f"{seconds:.2f} s", reached=seconds <= 1.5)
    seconds = await page.evaluate(
        """async (path) => {
          const began = performance.now();
          await (await fetch(path)).blob();
          return (performance.now() - began) / 1000;
        }""",
        f"/phones/{phone.phone_id}/still",
    )
    bench.add("a still", "<= 0.7 s", f"{seconds:.2f} s", reached=seconds <= 0.7)
    before = received.bytes
    await asyncio.sleep(bench.seconds)
    rate = (received.bytes - before) / bench.seconds
    bench.add("still screen", "<= 5 KB/s", f"{rate / 1000:.1f} KB/s", reached=rate <= 5000)


@dataclass(frozen=True, kw_only=True)
class Without:
    """The phone and the programs while nobody watches; what watching adds is the difference.

    `ages` are those of frames at a client of scrcpy at the phone's adb, in ms; `used` is what the
    programs use, in percent of a core.
    """

    ages: list[float]
    used: dict[str, float]


async def without(bench: Bench, phone: LivePhone) -> Without:
    """Measure the programs without a viewer, and the phone without the farm."""
    before = bench.cpu(*PROGRAMS)
    await asyncio.sleep(bench.seconds)
    used = shares(before, bench.cpu(*PROGRAMS), bench.seconds)
    offset = await wall_offset(bench, phone)
    address = await bench.address(phone)
    async with watching(bench.adb, address, real_jar(), max_size=1280, max_fps=30) as screen:
        await screen.packet()
        taken = []
        began = time.monotonic()
        while time.monotonic() - began < bench.seconds:
            packet = await screen.packet()
            if not packet.configuration:
                taken.append(1000 * (time.time() - offset) - packet.microseconds / 1000)
    middle, high = middle_and_high(taken)
    seen = f"{len(taken) / bench.seconds:.1f}/s, {middle:.0f} / {high:.0f} ms"
    bench.add("the phone alone: frames, capture to adb p50 / p95", "", seen, reached=None)
    return Without(ages=taken, used=used)


async def wall_offset(bench: Bench, phone: LivePhone) -> float:
    """Return the wall clock's time at which the simulated phone's own clock was 0."""
    best = (float("inf"), 0.0)
    for _ in range(20):
        asked = time.time()
        state = await bench.it.phones.state(phone.serialno)
        answered = time.time()
        best = min(
            best, (answered - asked, (asked + answered) / 2 - float(state["uptime_seconds"]))
        )
    return best[1]


async def moving(
    bench: Bench,
    page: Page,
    received: Received,
    phone: LivePhone,
    *,
    alone: Without,
    counted_seconds: float,
) -> None:
    """Measure the video of a feed that moves, and what it costs each program."""
    offset = await wall_offset(bench, phone)
    await until(page, "drawn.length > 30")
    painter = f"{SCREEN}.painter"
    before = await page.evaluate(f"[{painter}.painted, {painter}.skipped, drawn.length]")
    cpu, browser = bench.cpu(*PROGRAMS), bench.browser_cpu()
    bytes_before, most_queued, fastest = received.bytes, 0, 0
    began = second = time.monotonic()
    bytes_second = received.bytes
    while time.monotonic() - began < counted_seconds:
        most_queued = max(most_queued, await page.evaluate(f"{painter}.queued"))
        await asyncio.sleep(0.1)
        if (now := time.monotonic()) - second >= 1:
            fastest = max(fastest, int((received.bytes - bytes_second) / (now - second)))
            second, bytes_second = now, received.bytes
    lasted = time.monotonic() - began
    used = shares(cpu, bench.cpu(*PROGRAMS), lasted)
    in_browser = 100 * (bench.browser_cpu() - browser) / lasted
    painted, skipped, errors, times = await page.evaluate(
        f"[{painter}.painted, {painter}.skipped, {painter}.errors, drawn.slice({before[2]})]"
    )
    rate = (painted - before[0]) / lasted
    skipped -= before[1]
    seen = f"{rate:.1f}/s, {errors} errors, queue {most_queued}, {skipped} skipped, {lasted:.0f} s"
    reached = rate >= 28 and not errors and most_queued <= 3
    bench.add("frames drawn of 30/s", ">= 28/s, 0 errors, queue <= 3", seen, reached=reached)
    drawn = [wall - 1000 * offset - at / 1000 for at, wall in times]
    latency(bench, "capture to drawn (glass to glass) p50 / p95", drawn, (60, 150))
    async with await bench.viewer(phone) as viewer:
        arrived = await arrivals(viewer, bench.seconds, offset)
    middle, high = middle_and_high(arrived)
    own_middle, own_high = middle_and_high(alone.ages)
    seen = f"{middle - own_middle:.0f} / {high - own_high:.0f} ms"
    reached = middle - own_middle <= 5 and high - own_high <= 15
    what = "of it agent + controller + gateway p50 / p95"
    bench.add(what, "<= 5 / 15 ms", seen, reached=reached)
    megabits = 8 * (received.bytes - bytes_before) / lasted / 1e6
    seen = f"{megabits:.2f} Mbit/s, at most {8 * fastest / 1e6:.2f} in a second"
    reached = megabits <= 1 and 8 * fastest <= 4e6
    bench.add("moving screen", "<= 1 Mbit/s, never above 4", seen, reached=reached)
    agent, gateway = (used[name] - alone.used[name] for name in ("agent", "gateway"))
    seen = f"{agent:.1f} / {gateway:.1f} % of a core more than without"
    reached = max(agent, gateway) <= 3
    bench.add("CPU of agent / gateway for one view", "<= 3 % each", seen, reached=reached)
    shown = ", ".join(f"{name} {share:.0f} %" for name, share in used.items())
    bench.add("all CPU of it", "", f"{shown}, browser {in_browser:.0f} %", reached=None)


def latency(bench: Bench, what: str, values: list[float], accept: tuple[int, int]) -> None:
    """Add a row about milliseconds."""
    middle, high = middle_and_high(values)
    reached = middle <= accept[0] and high <= accept[1]
    seen = f"{middle:.0f} / {high:.0f} ms"
    bench.add(what, f"<= {accept[0]} / {accept[1]} ms", seen, reached=reached)


async def arrivals(viewer: RawViewer, seconds: float, offset: float) -> list[float]:
    """Return how old each frame is when it arrives, in ms."""
    await viewer.picture()
    ages = []
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        picture = await viewer.picture()
        ages.append(1000 * (time.time() - offset) - picture.microseconds / 1000)
    return ages


async def slow_viewer(bench: Bench, page: Page, received: Received, phone: LivePhone) -> None:
    """Measure the others while somebody reads one frame a second."""
    async with await bench.viewer(phone, small=True) as slow:
        read = [await slow.picture()]
        before = await page.evaluate("drawn.length")
        bytes_before, began = received.bytes, time.monotonic()
        while (
            received.bytes - bytes_before < SLOW_BYTES or time.monotonic() - began < bench.seconds
        ):
            await asyncio.sleep(1)
            read.append(await slow.picture())
        lasted = time.monotonic() - began
        times = [at for at, _ in await page.evaluate("drawn")]
        rate = (len(times) - before) / lasted
        while read[-1].microseconds < times[-1]:
            read.append(await slow.picture())
    seen_by_slow = {picture.microseconds for picture in read}
    missed = [at for at in times[before:] if at not in seen_by_slow]
    later = [picture for picture in read if missed and picture.microseconds > missed[0]]
    by_key = bool(later) and later[0].key
    seen = f"others {rate:.1f}/s; it missed {len(missed)} frames"
    seen += ", continued with a key frame" if by_key else ", and saw no gap before a key frame"
    bench.add(
        "slow viewer",
        "others >= 28/s; a key frame after a gap",
        seen,
        reached=by_key and rate >= 28,
    )


async def many_viewers(bench: Bench, page: Page, phone: LivePhone) -> None:
    """Measure as many viewers of one phone as a controller takes."""
    async with AsyncExitStack() as stack:
        viewers = [
            await stack.enter_async_context(await bench.viewer(phone)) for _ in range(VIEWERS - 1)
        ]
        offset = await wall_offset(bench, phone)
        cpu, before = bench.cpu(*PROGRAMS), await page.evaluate("drawn.length")
        began = time.monotonic()
        ages = await asyncio.gather(*(arrivals(one, bench.seconds, offset) for one in viewers))
        lasted = time.monotonic() - began
        drawn = (await page.evaluate("drawn.length") - before) / lasted
        used = shares(cpu, bench.cpu(*PROGRAMS), lasted)
    least = min(len(one) for one in ages) / lasted
    shown = ", ".join(f"{name} {share:.0f} %" for name, share in used.items())
    seen = f"page {drawn:.1f}/s, least {least:.1f}/s; {shown}"
    reached = min(drawn, least) >= 28 and max(used["agent"], used["gateway"]) <= 3 * VIEWERS
    accept = f"each >= 28/s, agent and gateway <= {3 * VIEWERS} %"
    bench.add(f"{VIEWERS} viewers of one phone", accept, seen, reached=reached)


async def hold(page: Page) -> None:
    """Take the phone."""
    await page.get_by_role("button", name="Hold", exact=True).click()
    await page.get_by_role("dialog").get_by_label("Reason").fill("the bench")
    await page.get_by_role("button", name="Hold it").click()
    await page.locator("canvas.mine").wait_for()


async def canvas_box(page: Page) -> FloatRect:
    """Return where the screen is on the page."""
    box = await page.locator("pf-screen canvas").first.bounding_box()
    if box is None:
        raise RuntimeError("the page shows no screen")
    return box


async def clicks(bench: Bench, page: Page, phone: LivePhone, taps: int) -> None:
    """Measure from a click to the phone's ledger, and send input after the end of the hold."""
    box = await canvas_box(page)
    place = (box["x"] + box["width"] / 2, box["y"] + box["height"] * 0.05)
    times = []
    for _ in range(taps):
        since = await bench.newest(phone)
        # The browser's call counts too, so that this is an upper bound.
        began = time.time()
        await page.mouse.click(*place)
        entry = await bench.it.phones.wait_for(
            phone.serialno, "tapped", since=since, timeout=WAIT_SECONDS
        )
        times.append(1000 * (entry["wall"] - began))
    latency(bench, "click to ledger p50 / p95", times, (30, 100))
    await bench.it.call("POST", f"/phones/{phone.phone_id}/unhold", {"reason": "the bench"})
    began = time.monotonic()
    await page.locator("canvas.mine").wait_for(state="detached")
    closed, since = time.monotonic() - began, await bench.newest(phone)
    await page.evaluate(
        f"""async (tries) => {{
          const press = new Uint8Array([0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0]);
          for (let sent = 0; sent < tries; sent += 100) {{
            {SCREEN}.socket.send(...Array(100).fill(press));
            await new Promise((resolve) => setTimeout(resolve, 20));
          }}
        }}""",
        TRIES,
    )
    await until(page, f"{SCREEN}.note.length > 0")
    later: list[dict[str, Any]] = await bench.it.phones.ledger(phone.serialno, since=since)
    late = [entry for entry in later if entry["kind"] in {"keys_pressed", "home_pressed"}]
    seen = f"{len(late)} of {TRIES}; {closed:.2f} s"
    accept = "0 of 10,000; the page ends control within 1 s"
    bench.add("inputs after the hold", accept, seen, reached=not late and closed <= 1)


async def hidden(bench: Bench, page: Page, received: Received) -> None:
    """Count what a hidden tab receives, from 2 s after it was hidden."""
    await page.evaluate(HIDE, True)
    await asyncio.sleep(HIDDEN_SECONDS)
    before = received.bytes
    await asyncio.sleep(bench.seconds / 4)
    seen = received.bytes - before
    bench.add("hidden tab", "0 bytes after 2 s", f"{seen} bytes", reached=not seen)


async def watched_runs(bench: Bench, phone: LivePhone, pairs: int) -> None:
    """Compare runs that somebody watches with runs that nobody watches, in turn."""
    alone, watched = [], []
    for _ in range(pairs):
        alone.append(await run_seconds(bench, phone))
        async with await bench.viewer(phone) as viewer:
            watching_it = asyncio.create_task(arrivals(viewer, 10 * WAIT_SECONDS, 0.0))
            try:
                watched.append(await run_seconds(bench, phone))
            finally:
                watching_it.cancel()
                await asyncio.wait([watching_it])
    before, after = middle_and_high(alone)[0], middle_and_high(watched)[0]
    more = 100 * (after - before) / before
    seen = f"{before:.2f} s alone, {after:.2f} s watched ({more:+.1f} %), {pairs} pairs"
    accept = "all complete, <= 2 % longer"
    bench.add("runs that are watched", accept, seen, reached=more <= 2)


async def run_seconds(bench: Bench, phone: LivePhone) -> float:
    """Have one job done on the phone; return how long its run took."""
    target = {"routing": "direct", "account_id": phone.account_id}
    process_id = await bench.it.warm_up(target)
    record = await bench.it.until(process_id, "completed")
    began, ended = (
        datetime.fromisoformat(record["timestamps"][name])
        for name in ("executing_at", "finished_at")
    )
    return (ended - began).total_seconds()
