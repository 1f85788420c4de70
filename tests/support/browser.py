"""A real browser for tests: Debian's Chromium, driven by Playwright."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import resources
from typing import Any, Literal

from playwright.async_api import Browser, BrowserContext, Page, async_playwright

PATIENCE_MILLISECONDS = 60_000
Theme = Literal["light", "dark"]


@asynccontextmanager
async def started_browser() -> AsyncIterator[Browser]:
    """Yield a browser without a window; it ends with the block."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            # As root Chromium has no sandbox; it shows only our own pages.
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def opened_page(
    browser: Browser, base: str, *, theme: Theme = "light", width: int = 1440
) -> AsyncIterator[Page]:
    """Yield a tab of its own cookies; AssertionError when its page broke a rule or crashed."""
    context: BrowserContext = await browser.new_context(
        base_url=base, color_scheme=theme, viewport={"width": width, "height": 900}
    )
    context.set_default_timeout(PATIENCE_MILLISECONDS)
    troubles: list[str] = []
    try:
        page = await context.new_page()
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("console", lambda said: _note(troubles, said.text))
        yield page
        assert troubles == [], troubles
    finally:
        await context.close()


def _note(troubles: list[str], said: str) -> None:
    # That another site may not frame the page is no fault of the page.
    is_rule = "Content Security Policy" in said or "TrustedHTML" in said
    if is_rule and "frame-ancestors" not in said:
        troubles.append(said)


async def axe_findings(page: Page) -> list[dict[str, Any]]:
    """Return what axe-core finds on the page that is serious or critical."""
    source = resources.files("axe_playwright_python").joinpath("axe.min.js").read_text()
    await page.evaluate(source)
    found: dict[str, Any] = await page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        {
            "rule": one["id"],
            "nodes": [f"{node['target']} {node['failureSummary']}" for node in one["nodes"]],
        }
        for one in found["violations"]
        if one["impact"] in {"serious", "critical"}
    ]
