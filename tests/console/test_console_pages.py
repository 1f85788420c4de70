"""The console in a real browser on a real farm: what each page shows, and how one gets around."""

import json

import pytest
import pytest_asyncio
from playwright.async_api import Page, Route, expect
from support.browser import Theme, axe_findings
from support.console import Console, settled
from support.console_farm import completed_process, failed_process, waiting_process
from support.live_farm import LiveFarm, hand

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

PAGES = {
    "/console": "Now",
    "/console/phones": "Phones",
    "/console/phones?view=grid": "Phones",
    "/console/phones/{phone}": "SIM0001",
    "/console/work": "Work",
    "/console/work/{failed}": "keyword warmup",
    "/console/work/{waiting}": "keyword warmup",
    "/console/queue": "Queue",
    "/console/schedules": "Schedules",
    "/console/hosts": "Hosts",
    "/console/accounts": "Accounts",
    "/console/audit": "Audit",
    "/console/settings": "Settings",
    "/console/nowhere": "No such page",
}
THEMES: tuple[Theme, ...] = ("light", "dark")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def worked(farm: LiveFarm) -> dict[str, str]:
    """Return work of the farm that completed, failed and waits, and a phone."""
    async with hand(farm) as it:
        return {
            "completed": await completed_process(it),
            "failed": await failed_process(it),
            "waiting": await waiting_process(it),
            "phone": farm.phones[0].phone_id,
        }


async def overflow(page: Page) -> int:
    """Return by how many pixels the page is wider than its window."""
    wide: int = await page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    return wide


@pytest.mark.long
@pytest.mark.parametrize("width", [1440, 390])
async def test_every_page_is_fit_for_everybody(
    console: Console, worked: dict[str, str], width: int
) -> None:
    """It says what it is, is no wider than the window, and axe finds nothing serious.

    In both themes, which differ only in colours: the page is opened once for both.
    """
    async with console.logged_in(width=width) as page:
        for path, name in PAGES.items():
            await page.goto(path.format(**worked))
            await settled(page)
            await expect(page.get_by_role("heading", level=1)).to_contain_text(name)
            for theme in THEMES:
                await page.emulate_media(color_scheme=theme)

                assert await axe_findings(page) == [], (path, theme)
                assert await overflow(page) <= 0, (path, theme)


async def test_the_first_page_says_what_needs_me(console: Console, worked: dict[str, str]) -> None:
    """What failed, and why work waits, with a link to each and what helps."""
    async with console.logged_in() as page:
        failed = page.get_by_role("region", name="Failed in the last hour")
        waits = page.get_by_role("region", name="Why work waits")

        await expect(failed).to_contain_text("selector not found")
        await expect(waits).to_contain_text("phone in maintenance")
        await expect(waits).to_contain_text("phonefarm phones admit")
        await failed.get_by_role("link", name="keyword warmup").first.click()
        await expect(page).to_have_url(f"{console.base}/console/work/{worked['failed']}")


async def test_long_names_stay_inside_the_window(console: Console) -> None:
    """Names without a space, on the screen of a telephone."""
    _, listed = await console.it.call("GET", "/phones")
    names = {"serialno": "S" * 60, "agent_id": "rack-" + "7" * 60, "model": "M" * 80}
    body = json.dumps({"phones": [phone | names for phone in listed["phones"]]})

    async def fulfil(route: Route) -> None:
        await route.fulfill(body=body, content_type="application/json")

    async with console.logged_in(width=390) as page:
        await page.route(f"{console.base}/phones", fulfil)
        for path in ("/console/phones", "/console/phones?view=grid", "/console/accounts"):
            await page.goto(path)
            await settled(page)
            await expect(page.locator("main")).to_contain_text("S" * 60)

            assert await overflow(page) <= 0, path
            clipped = "[...document.querySelectorAll('.scroll')]"
            clipped += ".filter((one) => one.scrollWidth > one.clientWidth).length"
            assert await page.evaluate(clipped) == 0, path


async def test_a_page_is_loaded_when_it_is_opened(console: Console, worked: dict[str, str]) -> None:
    """The first one is at most 60 KB of scripts; one that cannot be loaded says what to do."""
    async with console.logged_in() as page:
        loaded: dict[str, int] = await page.evaluate(
            """Object.fromEntries(performance.getEntriesByType('resource')
              .filter((one) => one.name.endsWith('.js'))
              .map((one) => [one.name.replace(/.*static.[^/]+./, ''), one.encodedBodySize]))"""
        )
        pages = {name for name in loaded if name.startswith("pages/")}
        assert pages == {"pages/login.js", "pages/now.js"}
        assert 20_000 < sum(loaded.values()) <= 60_000

        await page.route("**/pages/work.js", lambda route: route.abort())
        await page.get_by_role("link", name="Work", exact=True).click()
        trouble = page.get_by_role("alert").filter(has_text="was not loaded")
        await expect(trouble).to_be_visible()
        await page.unroute("**/pages/work.js")
        await trouble.get_by_role("button", name="Reload the console").click()

        await settled(page)
        await expect(page.get_by_role("heading", level=1)).to_have_text("Work")
        await expect(page.locator("tbody tr")).not_to_have_count(0)


async def test_a_failed_process_shows_the_picture_of_its_failure(
    console: Console, worked: dict[str, str]
) -> None:
    """Beside the reason; the timeline has its moves, its actions and the picture in one list."""
    async with console.logged_in(f"/console/work/{worked['failed']}") as page:
        failure = page.get_by_role("region", name="Why it failed")
        timeline = page.get_by_role("region", name="Timeline")
        picture = failure.get_by_role("img", name="search, attempt 1")

        await expect(failure).to_contain_text("selector not found during search")
        await expect(picture).to_be_visible()
        await expect(timeline).to_contain_text("running")
        await expect(timeline).to_contain_text("launch app")
        await expect(timeline.get_by_role("img")).to_have_count(1)
        await picture.evaluate("image => image.decode()")
        assert await picture.evaluate("image => image.naturalWidth") > 100


async def test_each_waiting_row_says_why(console: Console, worked: dict[str, str]) -> None:
    """Without a click; and a filter in the address is the one on the page."""
    async with console.logged_in("/console/work?status=queued") as page:
        row = page.get_by_role("row").filter(has_text="waiting")

        await expect(row).to_have_count(1)
        await expect(row).to_contain_text("phone in maintenance")
        await expect(page.get_by_role("checkbox", name="waiting", exact=True)).to_be_checked()


async def test_filters_are_in_the_address(console: Console, worked: dict[str, str]) -> None:
    """So that a link shows to a colleague what I see, and going back too."""
    async with console.logged_in("/console/phones") as page:
        await expect(page.locator("tbody tr")).to_have_count(5)

        await page.get_by_label("Serial number, model, account, host").fill("sim-0003")

        await expect(page.locator("tbody tr")).to_have_count(1)
        await expect(page).to_have_url(f"{console.base}/console/phones?text=sim-0003")
        await page.reload()
        await settled(page)
        await expect(page.locator("tbody tr")).to_have_count(1)
        await page.get_by_label("State").select_option("maintenance")
        await page.get_by_label("Serial number, model, account, host").fill("sim-0001")
        await expect(page.locator("main")).to_contain_text("No phone matches these filters.")
        await page.get_by_role("link", name="Clear filters").click()
        await expect(page.locator("tbody tr")).to_have_count(5)


async def test_the_keyboard_reaches_every_page(console: Console, worked: dict[str, str]) -> None:
    """`g` and a letter; `?` shows them, Esc closes; letters in a field are only text."""
    async with console.logged_in() as page:
        for letter, name in {"p": "Phones", "w": "Work", "q": "Queue", "n": "Now"}.items():
            await page.keyboard.press("g")
            await page.keyboard.press(letter)
            await expect(page.get_by_role("heading", level=1)).to_have_text(name)
        await page.keyboard.press("?")
        await expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_hidden()
        await page.keyboard.press("/")
        await page.keyboard.type("g")
        await page.keyboard.type("p")

        await expect(page.get_by_role("combobox")).to_have_value("gp")
        await expect(page.get_by_role("heading", level=1)).to_have_text("Now")


async def test_search_finds_a_phone_by_any_of_its_names(
    console: Console, worked: dict[str, str]
) -> None:
    """Its account too; Enter goes there, and a process id leads to the process."""
    async with console.logged_in() as page:
        await page.keyboard.press("/")
        await page.keyboard.type("sim-0004")
        await expect(page.get_by_role("option", name="SIM0004")).to_be_visible()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", level=1)).to_contain_text("SIM0004")
        await page.keyboard.press("/")
        await page.keyboard.type(worked["completed"])
        await page.keyboard.press("Enter")

        await expect(page.get_by_role("heading", level=1)).to_contain_text("completed")


async def test_a_lost_connection_is_a_banner_and_what_is_shown_stays(
    console: Console, worked: dict[str, str]
) -> None:
    """It goes by itself when the gateway answers again."""
    async with console.logged_in("/console/phones") as page:
        banner = page.get_by_role("alert").filter(has_text="has not answered")

        await page.context.set_offline(True)
        await expect(banner).to_be_visible()
        await expect(page.locator("tbody tr")).to_have_count(5)
        await page.context.set_offline(False)

        await expect(banner).to_have_count(0)


async def test_a_page_shows_what_changes_by_itself(
    console: Console, worked: dict[str, str]
) -> None:
    """By the farm's stream: nobody presses reload."""
    async with console.logged_in(f"/console/work/{worked['completed']}") as page:
        await page.goto("/console/work?status=completed")
        await settled(page)
        before = await page.locator("tbody tr").count()

        await completed_process(console.it, 3)

        await expect(page.locator("tbody tr")).to_have_count(before + 1)
