"""The console of a farm in a real browser: tabs, logged in or not."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from playwright.async_api import Browser, Page, expect
from support.browser import opened_page
from support.live_farm import Hand


@dataclass(frozen=True, kw_only=True)
class Console:
    """A farm, a hand on it by REST and gRPC, and tabs of the console."""

    it: Hand
    browser: Browser

    @property
    def base(self) -> str:
        """Return the gateway's address."""
        return f"http://{self.it.farm.rest}"

    def tab(self, **options: Any) -> AbstractAsyncContextManager[Page]:
        """Open a tab that is not logged in."""
        return opened_page(self.browser, self.base, **options)

    @asynccontextmanager
    async def logged_in(
        self, path: str = "/console", *, key: str = "", **options: Any
    ) -> AsyncIterator[Page]:
        """Yield a tab at *path* with a session of *key* (the farm's own)."""
        async with self.tab(**options) as page:
            await page.goto(path)
            await page.get_by_label("API key", exact=True).fill(key or self.it.farm.api_key)
            await page.get_by_role("button", name="Log in").click()
            await expect(page.locator("nav")).to_be_attached()
            await settled(page)
            yield page


async def settled(page: Page) -> None:
    """Return once the page shows its data."""
    await expect(page.locator("main h1")).to_be_visible()
    await expect(page.locator(".pending")).to_have_count(0)
