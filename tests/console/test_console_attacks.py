"""What others try with a person's session, in a real browser; each try is refused."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from phonefarm_cli.client.console_link import console_link
from playwright.async_api import expect
from support.console import Console, settled
from support.console_farm import waiting_process
from support.live_farm import warmup

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

SCRIPT = "<img src=x onerror=window.pwned=1><script>window.pwned=1</script>"


@asynccontextmanager
async def evil_site(page: str) -> AsyncIterator[str]:
    """Serve *page* on another port of this machine, which is the same site to a browser."""

    async def show(request: web.Request) -> web.Response:
        return web.Response(text=page, content_type="text/html")

    application = web.Application()
    application.router.add_get("/", show)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        yield f"http://127.0.0.1:{port}/"
    finally:
        await runner.cleanup()


async def test_names_that_are_scripts_are_text(console: Console) -> None:
    """A caller chooses request ids and systems; the page shows them and runs nothing."""
    account = console.it.farm.phones[0].account_id
    body = warmup({"routing": "direct", "account_id": account})
    body |= {"request_id": SCRIPT, "requested_by": {"system": SCRIPT, "user": SCRIPT}}
    process_id = await console.it.accepted("/capability-requests/enqueue", body)

    async with console.logged_in("/console/work") as page:
        await expect(page.locator("tbody")).to_contain_text(SCRIPT)
        await page.goto(f"/console/work/{process_id}")
        await settled(page)
        await expect(page.get_by_role("region", name="The request")).to_contain_text(SCRIPT)

        assert await page.evaluate("window.pwned") is None


async def test_another_site_posts_no_form(console: Console) -> None:
    """Its form goes out with the cookie, and is refused; the process goes on waiting."""
    process_id = await waiting_process(console.it)
    target = f"{console.base}/processes/{process_id}/cancel"
    body = '{"reason":"evil","requested_by":{"system":"evil"},"x":"'
    form = (
        f"<form method=post enctype=text/plain action='{target}'>"
        f"<input name='{body}' value='\"}}'></form>"
        "<button onclick='document.forms[0].submit()'>win</button>"
    )
    async with console.logged_in() as page, evil_site(form) as evil:
        await page.goto(evil)
        async with page.expect_response(lambda one: one.url.endswith("/cancel")) as answer:
            await page.get_by_role("button", name="win").click()

        assert (await answer.value).status == 403
        assert (await console.it.record(process_id))["status"] == "queued"


async def test_another_site_reads_nothing(console: Console) -> None:
    """Neither by fetch with the cookie nor as an image."""
    async with console.logged_in() as page, evil_site("<p>evil</p>") as evil:
        await page.goto(evil)

        read = await page.evaluate(
            """async (base) => {
              try {
                const answer = await fetch(`${base}/phones`, {credentials: 'include'});
                return await answer.text();
              } catch (error) { return String(error); }
            }""",
            console.base,
        )

        assert "Failed to fetch" in read


async def test_no_site_shows_the_console_in_a_frame(console: Console) -> None:
    """So that nobody clicks on it unseen."""
    frame = f"<iframe src='{console.base}/console'></iframe>"
    async with console.logged_in() as page, evil_site(frame) as evil:
        await page.goto(evil)

        shown = page.frame_locator("iframe").locator("pf-app")

        await expect(shown).to_have_count(0)
        assert page.frames[1].url.startswith("chrome-error://")


async def test_scripts_of_the_page_see_no_key(console: Console) -> None:
    """Neither in the cookie nor in any storage of the browser."""
    async with console.logged_in() as page:
        seen = await page.evaluate(
            "document.cookie + JSON.stringify(localStorage) + JSON.stringify(sessionStorage)"
        )
        kept = await page.context.cookies()

        assert seen == "{}{}"
        assert [one["httpOnly"] for one in kept] == [True]
        assert console.it.farm.api_key not in str(kept)


async def test_a_link_logs_in_once_and_leaves_no_trace(console: Console) -> None:
    """`phonefarm console` prints it; the ticket is gone from the address, and used up."""
    link = await console_link(console.it.farm.rest, console.it.farm.api_key)
    async with console.tab() as page, console.tab() as other:
        await page.goto(link)
        await settled(page)
        await other.goto(link)

        await expect(other.get_by_role("alert").filter(has_text="been used")).to_be_visible()
        assert page.url == other.url == f"{console.base}/console"
        assert await page.evaluate("performance.getEntriesByType('navigation')[0].name") == link
        sent = await page.evaluate("performance.getEntriesByType('resource').map(one => one.name)")
        assert not [address for address in sent if "ticket=" in address]
