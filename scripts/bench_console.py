"""Measures the console and its screens on a farm of simulated phones, and prints one table.

make bench-console, or scripts/bench_console.py [--seconds 20] [--taps 50]

It needs Debian's Chromium, PyAV and scrcpy-server (`phonefarm-agent screens install`). The figures
to accept are for two idle cores; a busy machine gives worse ones.
"""

import argparse
import asyncio
import gzip
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from playwright.async_api import Browser, FloatRect, Page, Route

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from support.browser import axe_findings, opened_page, started_browser  # noqa: E402
from support.live_farm import Hand, LivePhone, eventually, hand  # noqa: E402
from support.screen_server import real_jar  # noqa: E402
from support.up_process import UpProcess, started_up  # noqa: E402

STATIC: Final = ROOT / "gateway" / "phonefarm_gateway" / "console" / "static"
SCREEN: Final = "document.querySelector('pf-screen')"
MANY: Final = 1000
WAIT_SECONDS: Final = 60.0
HIDDEN_SECONDS: Final = 2.0
PAINT: Final = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0"
STROKE: Final = """(letter) => new Promise((resolve) => {
  const field = document.querySelector('main input[type=search]');
  const began = performance.now();
  field.value += letter;
  field.dispatchEvent(new InputEvent('input', { bubbles: true }));
  requestAnimationFrame(() => setTimeout(() => resolve(performance.now() - began)));
})"""
HIDE: Final = """(isHidden) => {
  Object.defineProperty(document, 'hidden', { configurable: true, get: () => isHidden });
  document.dispatchEvent(new Event('visibilitychange'));
}"""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table."""

    what: str
    accept: str
    seen: str
    good: bool


class Bytes:
    """Counts what a page's sockets receive."""

    def __init__(self, page: Page) -> None:
        self.count = 0
        page.on("websocket", lambda one: one.on("framereceived", self._add))

    def _add(self, payload: str | bytes) -> None:
        self.count += len(payload)


class Bench:
    """One farm, one browser, and the rows measured so far."""

    def __init__(self, it: Hand, up: UpProcess, browser: Browser, seconds: float) -> None:
        self.it = it
        self.up = up
        self.browser = browser
        self.seconds = seconds
        self.rows: list[Row] = []
        self.base = f"http://{it.farm.rest}"

    def add(self, what: str, accept: str, seen: str, *, good: bool) -> None:
        """Add a row, and show it."""
        self.rows.append(Row(what=what, accept=accept, seen=seen, good=good))
        print(f"  {what}: {seen}", flush=True)

    def cpu(self, name: str) -> float:
        """Return the seconds of processor time that a program has used (proc(5))."""
        fields = Path(f"/proc/{self.up.pids[name]}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    async def logged_in(self, page: Page, path: str) -> None:
        """Open the page of *path* in a tab that is not logged in."""
        await page.goto(path)
        await page.get_by_label("API key", exact=True).fill(self.it.farm.api_key)
        await page.get_by_role("button", name="Log in").click()
        await page.locator("nav").wait_for(state="attached")


async def paint(bench: Bench) -> None:
    """Measure the first paint, cold and warm, and what is shipped."""
    small = sum(
        len(gzip.compress(file.read_bytes(), 9)) for file in STATIC.rglob("*.js") if file.is_file()
    )
    whole = sum(file.stat().st_size for file in STATIC.rglob("*") if file.is_file())
    bench.add("scripts, compressed", "<= 60 KB", f"{small / 1000:.0f} KB", good=small <= 60_000)
    bench.add("files in the wheel", "<= 300 KB", f"{whole / 1000:.0f} KB", good=whole <= 300_000)
    async with opened_page(bench.browser, bench.base) as page:
        await page.goto("/console")
        await page.get_by_role("button", name="Log in").wait_for()
        cold = await page.evaluate(PAINT)
        await page.reload()
        await page.get_by_role("button", name="Log in").wait_for()
        warm = await page.evaluate(PAINT)
    good = cold <= 1000 and warm <= 500
    seen = f"{cold / 1000:.2f} / {warm / 1000:.2f} s"
    bench.add("first paint cold / warm", "<= 1.0 / 0.5 s", seen, good=good)


async def many_phones(bench: Bench) -> None:
    """Measure 1,000 phones in the table: until they are there, and from key stroke to paint."""
    _, listed = await bench.it.call("GET", "/phones")
    one = listed["phones"][0]
    phones = [
        one | {"phone_id": f"ph-{number:04}", "serialno": f"SERIAL{number:04}"}
        for number in range(MANY)
    ]
    body = json.dumps(listed | {"phones": phones})

    async def fulfil(route: Route) -> None:
        await route.fulfill(body=body, content_type="application/json")

    async with opened_page(bench.browser, bench.base) as page:
        await page.route(f"{bench.base}/phones", fulfil)
        await bench.logged_in(page, "/console")
        began = time.monotonic()
        await page.goto("/console/phones")
        await page.locator("tbody tr").first.wait_for()
        seconds = time.monotonic() - began
        strokes = [await page.evaluate(STROKE, letter) for letter in "SERIAL0999"]
    seen = f"{seconds:.2f} s"
    bench.add(f"{MANY} phones listed", "<= 1.5 s (100)", seen, good=seconds <= 1.5)
    slow = max(strokes)
    bench.add("key stroke to paint", "<= 100 ms", f"{slow:.0f} ms", good=slow <= 100)


async def live(bench: Bench, page: Page, received: Bytes, phone: LivePhone) -> None:
    """Measure the first picture, and the video of a feed that moves."""
    began = time.monotonic()
    await page.goto(f"/console/phones/{phone.phone_id}")
    await until(page, f"({SCREEN}?.painter?.painted ?? 0) > 0")
    seconds = time.monotonic() - began
    bench.add("first picture of a phone", "<= 1.5 s", f"{seconds:.2f} s", good=seconds <= 1.5)
    before, cpu = received.count, [bench.cpu("agent"), bench.cpu("gateway")]
    await asyncio.sleep(bench.seconds)
    rate = (received.count - before) / bench.seconds
    bench.add("still screen", "<= 5 KB/s", f"{rate / 1000:.1f} KB/s", good=rate <= 5000)
    await hold(page)
    await open_feed(bench, page, phone)
    drawn, before = await page.evaluate(f"{SCREEN}.painter.painted"), received.count
    cpu = [bench.cpu("agent"), bench.cpu("gateway")]
    most, ends = 0, time.monotonic() + bench.seconds
    while time.monotonic() < ends:
        most = max(most, await page.evaluate(f"{SCREEN}.painter.queued"))
        await asyncio.sleep(0.1)
    used = [
        100 * (bench.cpu(name) - start) / bench.seconds
        for name, start in zip(("agent", "gateway"), cpu, strict=True)
    ]
    painted = await page.evaluate(f"{SCREEN}.painter.painted") - drawn
    errors = await page.evaluate(f"{SCREEN}.painter.errors")
    a_second = painted / bench.seconds
    seen = f"{a_second:.1f}/s, {errors} errors, queue {most}"
    good = a_second >= 28 and not errors and most <= 3
    bench.add("frames drawn of 30/s", ">= 28/s, 0 errors, queue <= 3", seen, good=good)
    megabits = 8 * (received.count - before) / bench.seconds / 1e6
    bench.add("moving screen", "<= 1 Mbit/s", f"{megabits:.2f} Mbit/s", good=megabits <= 1)
    seen = f"{used[0]:.1f} / {used[1]:.1f} % of a core"
    bench.add("CPU of agent / gateway", "<= 3 % each", seen, good=max(used) <= 3)


async def until(page: Page, expression: str) -> None:
    """Wait until an expression of the page is true."""

    async def look() -> bool:
        return bool(await page.evaluate(expression))

    await eventually(look, within=WAIT_SECONDS, what=expression)


async def hold(page: Page) -> None:
    """Take the phone."""
    await page.get_by_role("button", name="Hold", exact=True).click()
    await page.get_by_role("dialog").get_by_label("Reason").fill("the bench")
    await page.get_by_role("button", name="Hold it").click()
    await page.locator("canvas.mine").wait_for()


async def open_feed(bench: Bench, page: Page, phone: LivePhone) -> None:
    """Wake and unlock the phone, and open its app, whose feed moves."""
    since = await newest(bench, phone)
    await page.get_by_role("button", name="Wake").click()
    box = await canvas_box(page)
    await page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] * 0.8)
    await page.mouse.down()
    await page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] * 0.2, steps=5)
    await page.mouse.up()
    await bench.it.phones.wait_for(phone.serialno, "swiped", since=since, timeout=60)
    await page.get_by_role("button", name="Home").click()
    await page.mouse.click(
        box["x"] + box["width"] * 360 / 720, box["y"] + box["height"] * 580 / 1280
    )
    await bench.it.phones.wait_for(phone.serialno, "app_started", since=since, timeout=60)


async def canvas_box(page: Page) -> FloatRect:
    """Return where the screen is on the page."""
    box = await page.locator("pf-screen canvas").first.bounding_box()
    if box is None:
        raise RuntimeError("the page shows no screen")
    return box


async def newest(bench: Bench, phone: LivePhone) -> int:
    """Return the number of the newest entry in the phone's ledger."""
    return int((await bench.it.phones.ledger(phone.serialno))[-1]["sequence"])


async def clicks(bench: Bench, page: Page, phone: LivePhone, taps: int) -> None:
    """Measure from a click to the phone's ledger, and send input after the end of the hold."""
    box = await canvas_box(page)
    place = (box["x"] + box["width"] / 2, box["y"] + box["height"] * 0.05)
    times = []
    for _ in range(taps):
        since = await newest(bench, phone)
        # The browser's call counts too, so that this is an upper bound.
        began = time.time()
        await page.mouse.click(*place)
        entry = await bench.it.phones.wait_for(
            phone.serialno, "tapped", since=since, timeout=WAIT_SECONDS
        )
        times.append(1000 * (entry["wall"] - began))
    middle, high = statistics.median(times), statistics.quantiles(times, n=20)[-1]
    seen = f"{middle:.0f} / {high:.0f} ms"
    good = middle <= 30 and high <= 100
    bench.add("click to ledger p50 / p95", "<= 30 / 100 ms", seen, good=good)
    await bench.it.call("POST", f"/phones/{phone.phone_id}/unhold", {"reason": "the bench"})
    began, since = time.monotonic(), await newest(bench, phone)
    press = "new Uint8Array([0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0])"
    tries = 0
    while time.monotonic() - began < bench.seconds / 2:
        await page.evaluate(f"{SCREEN}.socket.send(...Array(20).fill({press}))")
        tries += 20
        await asyncio.sleep(0.05)
    later = await bench.it.phones.ledger(phone.serialno, since=since)
    late = [entry for entry in later if entry["kind"] in {"keys_pressed", "home_pressed"}]
    seen = f"{len(late)} of {tries}"
    bench.add("inputs after the hold", "0 of 10,000", seen, good=not late)


async def hidden(bench: Bench, page: Page, received: Bytes) -> None:
    """Count what a hidden tab receives, from 2 s after it was hidden."""
    await page.evaluate(HIDE, True)
    await asyncio.sleep(HIDDEN_SECONDS)
    before = received.count
    await asyncio.sleep(bench.seconds / 4)
    seen = received.count - before
    bench.add("hidden tab", "0 bytes after 2 s", f"{seen} bytes", good=not seen)


async def thumbnails(bench: Bench, page: Page, received: Bytes) -> None:
    """Measure small pictures of every phone of the farm."""
    await page.goto("/console/phones?view=grid")
    await page.locator("pf-thumbnail img").first.wait_for()
    before, cpu = received.count, bench.cpu("gateway")
    await asyncio.sleep(bench.seconds)
    rate = (received.count - before) / bench.seconds
    used = 100 * (bench.cpu("gateway") - cpu) / bench.seconds
    count = len(bench.it.farm.phones)
    seen = f"{rate / 1000:.1f} KB/s, {used:.1f} % of a core for {count} phones"
    good = rate <= 2000 * count and used <= 2
    bench.add("thumbnails, 1 in 5 s", "<= 2 KB/s each, gateway <= 2 %", seen, good=good)


async def axe(bench: Bench) -> None:
    """Count what axe finds on the pages with screens, in both themes."""
    phone = bench.it.farm.phones[0]
    found: list[Any] = []
    for theme in ("light", "dark"):
        async with opened_page(bench.browser, bench.base, theme=theme) as page:
            await bench.logged_in(page, f"/console/phones/{phone.phone_id}")
            await until(page, f"({SCREEN}?.painter?.painted ?? 0) > 0")
            found += await axe_findings(page)
            await page.goto("/console/phones?view=grid")
            await page.locator("pf-thumbnail").first.wait_for()
            found += await axe_findings(page)
    bench.add("axe, serious or critical", "0", str(len(found)), good=not found)


def table(rows: Sequence[Row]) -> str:
    """Return the rows as one table of Markdown."""
    lines = ["| figure | accept | seen | |", "|---|---|---|---|"]
    lines += [
        f"| {row.what} | {row.accept} | {row.seen} | {'yes' if row.good else '**no**'} |"
        for row in rows
    ]
    return "\n".join(lines)


async def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="for each rate (20)")
    parser.add_argument("--taps", type=int, default=50, help="clicks (50)")
    options = parser.parse_args()
    real_jar()
    with (
        tempfile.TemporaryDirectory() as folder,
        started_up(Path(folder) / "farm", simulate=6) as up,
    ):
        async with hand(up.ready()) as it, started_browser() as browser:
            bench = Bench(it, up, browser, options.seconds)
            phone = it.farm.phones[0]
            await paint(bench)
            await many_phones(bench)
            async with opened_page(browser, bench.base) as page:
                received = Bytes(page)
                await bench.logged_in(page, "/console")
                await live(bench, page, received, phone)
                await clicks(bench, page, phone, options.taps)
                await hidden(bench, page, received)
            async with opened_page(browser, bench.base) as page:
                received = Bytes(page)
                await bench.logged_in(page, "/console")
                await thumbnails(bench, page, received)
            await axe(bench)
            load = os.getloadavg()[0]
            print(f"\n{table(bench.rows)}\n\nload of this machine: {load:.1f} on {os.cpu_count()}")
        up.stop()


if __name__ == "__main__":
    asyncio.run(main())
