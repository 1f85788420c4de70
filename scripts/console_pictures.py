"""Takes pictures of the console on a farm of simulated phones, with Debian's Chromium.

make pictures                          the pictures of README.md, into docs/pictures
scripts/console_pictures.py --all DIR  every page, 1440 and 390 pixels wide, in both themes
"""

import argparse
import asyncio
import io
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from PIL import Image
from playwright.async_api import Page, expect

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from support.brokenapp import put_broken_app  # noqa: E402 - after the path of the support
from support.browser import (  # noqa: E402
    PATIENCE_MILLISECONDS,
    Theme,
    opened_page,
    started_browser,
)
from support.console import settled  # noqa: E402
from support.console_farm import (  # noqa: E402
    completed_process,
    failed_process,
    waiting_process,
)
from support.live_farm import Hand, LiveFarm, hand  # noqa: E402
from support.screen_server import real_jar  # noqa: E402
from support.up_process import started_up  # noqa: E402

PICTURES: Final = ROOT / "docs" / "pictures"
COLOURS: Final = 256
"""A palette makes a picture of the console a fifth as large."""
PHONES: Final = 8
THEMES: Final[tuple[Theme, ...]] = ("light", "dark")
WIDTHS: Final = (1440, 390)


@contextmanager
def farm(data: Path) -> Iterator[LiveFarm]:
    """Yield a farm of phones of several makers."""
    put_broken_app(data)
    kinds = "pixel-15,samsung,xiaomi,foldable"
    with started_up(data, "--personality", kinds, simulate=PHONES) as up:
        yield up.ready()
        up.stop()


async def lived_in(it: Hand) -> dict[str, str]:
    """Give the farm work and trouble of each kind; return what pages are of."""
    phones = it.farm.phones
    completed = [await completed_process(it, index) for index in (0, 3)]
    failed = await failed_process(it)
    waiting = await waiting_process(it)
    hold = {"seconds": 1800, "reason": "the app looks odd"}
    await it.call("POST", f"/phones/{phones[5].phone_id}/hold", hold)
    await it.call("POST", f"/phones/{phones[6].phone_id}/drain", {"reason": "a new cable"})
    await it.phones.fault(phones[7].serialno, "unplug")
    await it.call("PUT", "/groups/phone/rack-1", {"member_ids": [one.phone_id for one in phones]})
    running = await it.warm_up(
        {"routing": "direct", "account_id": phones[4].account_id},
        watch_seconds=120,
        videos_per_keyword=5,
    )
    await it.until(running, "executing")
    return {
        "completed": completed[0],
        "failed": failed,
        "waiting": waiting,
        "running": running,
        "phone": phones[0].phone_id,
        "watched": phones[4].phone_id,
        "held": phones[5].phone_id,
        "out": phones[7].phone_id,
    }


PAGES: Final = {
    "now": "/console",
    "phones": "/console/phones",
    "phone": "/console/phones/{phone}",
    "grid": "/console/phones?view=grid",
    "watched": "/console/phones/{watched}",
    "held": "/console/phones/{held}",
    "out": "/console/phones/{out}",
    "work": "/console/work",
    "failed": "/console/work/{failed}",
    "waiting": "/console/work/{waiting}",
    "queue": "/console/queue",
    "hosts": "/console/hosts",
    "accounts": "/console/accounts",
    "audit": "/console/audit",
    "settings": "/console/settings",
    "nowhere": "/console/nowhere",
}
SEEN: Final = """Promise.allSettled([...document.images].map((one) => {
  one.loading = 'eager';
  return one.decode();
}))"""
README: Final = {"now": "light", "watched": "dark"}
"""The pages of README.md, and their themes."""


async def drawn(page: Page) -> None:
    """Return once pictures, thumbnails and a live screen are there, or are not to be had."""
    await page.evaluate(SEEN)
    if await page.locator("pf-thumbnail").count():
        await page.locator("pf-thumbnail img").nth(3).wait_for()
    if await page.locator("pf-screen").count():
        state = page.get_by_role("region", name="Screen").locator(".head .sub")
        await expect(state).not_to_have_text("opening …")


async def logged_in(page: Page, it: LiveFarm) -> None:
    """Log the tab in."""
    await page.goto("/console")
    await page.get_by_label("API key", exact=True).fill(it.api_key)
    await page.get_by_role("button", name="Log in").click()
    await page.locator("nav").wait_for(state="attached")


async def keep(page: Page, path: Path, *, whole: bool) -> None:
    """Write what the page shows, with few colours."""
    write(await page.screenshot(full_page=whole), path)


def write(taken: bytes, path: Path) -> None:
    """Write a screenshot with few colours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(io.BytesIO(taken)) as image:
        small = image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
        small.save(path, optimize=True)
    print(f"{path}  {path.stat().st_size // 1024} KiB")


async def take(it: Hand, places: dict[str, str], everything: Path | None) -> None:
    """Take the pictures of README.md, or of every page into *everything*."""
    expect.set_options(timeout=PATIENCE_MILLISECONDS)
    async with started_browser() as browser:
        for theme in THEMES:
            for width in WIDTHS if everything else WIDTHS[:1]:
                async with opened_page(
                    browser, f"http://{it.farm.rest}", theme=theme, width=width
                ) as page:
                    if everything:
                        await page.goto("/console")
                        await page.get_by_role("button", name="Log in").wait_for()
                        await keep(page, everything / f"login-{width}-{theme}.png", whole=True)
                    await logged_in(page, it.farm)
                    for name, path in PAGES.items():
                        if not everything and README.get(name) != theme:
                            continue
                        await page.goto(path.format(**places))
                        await settled(page)
                        await drawn(page)
                        where = everything or PICTURES
                        file = f"{name}-{width}-{theme}.png" if everything else f"{name}.png"
                        await keep(page, where / file, whole=everything is not None)


async def main() -> None:
    """Run a farm, live in it, take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", type=Path, metavar="DIR", help="every page, into this folder")
    options = parser.parse_args()
    real_jar()
    with tempfile.TemporaryDirectory() as folder, farm(Path(folder) / "farm") as live:
        async with hand(live) as it:
            await take(it, await lived_in(it), options.all)


if __name__ == "__main__":
    asyncio.run(main())
