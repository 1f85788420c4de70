"""One farm and one browser for all tests of a module."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect
from support.browser import PATIENCE_MILLISECONDS, started_browser
from support.console import Console
from support.console_farm import console_farm
from support.live_farm import LiveFarm, hand


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveFarm]:
    """Run one farm for all tests of a module."""
    with console_farm(tmp_path_factory.mktemp("console") / "farm") as it:
        yield it


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    """Yield a browser for all tests of a module."""
    expect.set_options(timeout=PATIENCE_MILLISECONDS)
    async with started_browser() as it:
        yield it


@pytest_asyncio.fixture(loop_scope="module")
async def console(farm: LiveFarm, browser: Browser) -> AsyncIterator[Console]:
    """Yield the console of the farm, every phone of which is fit."""
    async with hand(farm) as it:
        yield Console(it=it, browser=browser)
