"""The console's verbs in a real browser: each asks first, and then does it on the farm."""

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from phonefarm.v1 import fleet_pb2
from playwright.async_api import Page, expect
from support.console import Console, settled
from support.console_farm import failed_process, waiting_process
from support.live_farm import eventually

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

PHONE, OTHER, SPARE = 0, 1, 3


async def do(page: Page, verb: str, go: str, reason: str = "a test") -> None:
    """Press the button of *verb*, give the reason, and press *go* in the dialog."""
    await page.get_by_role("button", name=verb, exact=True).click()
    await answer(page, go, reason)


async def answer(page: Page, go: str, reason: str = "a test") -> None:
    """Give the reason in the dialog, press *go*, and see it close."""
    dialog = page.get_by_role("dialog")
    if reason:
        await dialog.get_by_label("Reason").fill(reason)
    await dialog.get_by_role("button", name=go, exact=True).click()
    await expect(dialog).to_have_count(0)


async def phone_is(console: Console, index: int, wanted: dict[str, Any]) -> None:
    """Return once the phone is so, by REST."""
    path = f"/phones/{console.it.farm.phones[index].phone_id}"

    async def look() -> bool:
        status, details = await console.it.call("GET", path)
        assert status == 200, details
        return all(details["phone"][name] == value for name, value in wanted.items())

    await eventually(look, what=f"{wanted}")


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def whole(console: Console) -> AsyncIterator[None]:
    """Give every phone back to work after each test."""
    yield
    for phone in console.it.farm.phones:
        await console.it.call("POST", f"/phones/{phone.phone_id}/unhold", {"reason": "after"})
        request = fleet_pb2.AdmitPhoneRequest(phone_id=phone.phone_id)
        await console.it.controller.call(console.it.controller.fleet.AdmitPhone, request)


async def test_a_phone_is_taken_out_and_put_back(console: Console) -> None:
    """Maintenance with a reason, by the keyboard alone; then admitted by the button."""
    path = f"/console/phones/{console.it.farm.phones[PHONE].phone_id}"
    async with console.logged_in(path) as page:
        await page.keyboard.press("m")
        await expect(page.get_by_role("dialog")).to_be_visible()
        await page.keyboard.type("a new battery")
        await page.keyboard.press("Enter")

        await phone_is(console, PHONE, {"intent": "maintenance"})
        await expect(page.get_by_role("heading", level=1)).to_contain_text("maintenance")
        await expect(page.get_by_role("region", name="History")).to_contain_text("a new battery")
        await do(page, "Admit", "Admit it", "")
        await phone_is(console, PHONE, {"intent": "in_service"})


async def test_a_phone_is_held_and_given_back(console: Console) -> None:
    """The page says until when, and where its adb is; then the phone is free."""
    path = f"/console/phones/{console.it.farm.phones[PHONE].phone_id}"
    async with console.logged_in(path) as page:
        await do(page, "Hold", "Hold it")
        why = page.get_by_role("region", name="Why it gets no work")
        await expect(why).to_contain_text("Held until")
        await expect(why).to_contain_text("127.0.0.1:")
        await expect(page.get_by_role("heading", level=1)).to_contain_text("held")

        await do(page, "Give back", "Give back")

        await phone_is(console, PHONE, {"lease": "free"})
        await expect(page.get_by_role("button", name="Hold", exact=True)).to_be_visible()


async def test_a_dialog_without_a_reason_does_nothing(console: Console) -> None:
    """Esc closes it, and nothing was sent."""
    path = f"/console/phones/{console.it.farm.phones[PHONE].phone_id}"
    async with console.logged_in(path) as page:
        await page.get_by_role("button", name="Drain", exact=True).click()
        await page.get_by_role("dialog").get_by_role("button", name="Drain it").click()
        await expect(page.get_by_role("dialog")).to_be_visible()
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("dialog")).to_have_count(0)

        await phone_is(console, PHONE, {"intent": "in_service"})


async def test_a_refusal_is_told_in_the_dialog(console: Console) -> None:
    """What the farm says stands there, and the dialog stays for another try."""
    phone = console.it.farm.phones[OTHER]
    async with console.logged_in(f"/console/phones/{phone.phone_id}") as page:
        await page.get_by_role("button", name="Drain", exact=True).click()
        request = fleet_pb2.MaintainPhoneRequest(phone_id=phone.phone_id, reason="faster")
        await console.it.controller.call(console.it.controller.fleet.MaintainPhone, request)

        dialog = page.get_by_role("dialog")
        await dialog.get_by_label("Reason").fill("slower")
        await dialog.get_by_role("button", name="Drain it").click()

        await expect(dialog.get_by_role("alert")).to_contain_text("maintenance")


async def test_chosen_processes_are_cancelled_together(console: Console) -> None:
    """Two that wait, chosen in the list, with one reason."""
    ids = [await waiting_process(console.it), await waiting_process(console.it, SPARE)]
    async with console.logged_in("/console/work?status=queued") as page:
        for process_id in ids:
            await page.get_by_role("checkbox", name=f"Select process {process_id}").check()

        await do(page, "Cancel 2 processes", "Cancel them", "not needed")

        for process_id in ids:
            record = await console.it.until(process_id, "cancelled")
            assert record["error"]["code"] == "cancelled"
        await expect(page.locator("tbody tr")).to_have_count(0)


async def test_a_failed_process_runs_again(console: Console) -> None:
    """The page goes to the new process, which has the same request."""
    failed = await failed_process(console.it)
    async with console.logged_in(f"/console/work/{failed}") as page:
        await do(page, "Run again", "Run again")

        await expect(page).not_to_have_url(f"{console.base}/console/work/{failed}")
        await settled(page)
        again = page.url.rpartition("/")[2]
        record = await console.it.until(again, "failed_terminal")
        assert record["process_type"] == "keyword_warmup"


async def test_work_is_paused_and_resumed(console: Console) -> None:
    """All of it, with a reason that everybody sees on the first page."""
    async with console.logged_in("/console/queue") as page:
        await do(page, "Pause work", "Pause", "the app has an update")
        pauses = page.get_by_role("region", name="Pauses")
        await expect(pauses).to_contain_text("the app has an update")
        _, told = await console.it.call("GET", "/pauses")
        assert [one["scope"] for one in told["pauses"]] == ["all"]

        await pauses.get_by_role("button", name="Resume: all work").click()
        await answer(page, "Resume", "")

        await expect(pauses).to_contain_text("Nothing is paused.")


async def test_an_account_is_made_inactive_and_active(console: Console) -> None:
    """In its row; the farm has it as the page says."""
    account = console.it.farm.phones[SPARE].account_id

    async def active() -> list[bool]:
        _, told = await console.it.call("GET", "/accounts")
        return [one["active"] for one in told["accounts"] if one["account_id"] == account]

    async with console.logged_in(f"/console/accounts?text={account}") as page:
        await page.get_by_role("button", name=f"Make inactive: {account}").click()
        await answer(page, "Make inactive", "")
        await expect(page.get_by_role("button", name=f"Make active: {account}")).to_be_visible()
        assert await active() == [False]

        await page.get_by_role("button", name=f"Make active: {account}").click()
        await answer(page, "Make active", "")

        await expect(page.get_by_role("button", name=f"Make inactive: {account}")).to_be_visible()
        assert await active() == [True]


async def test_an_inactive_account_is_removed(console: Console) -> None:
    """With a reason; its row goes, and the farm has it no more."""
    unused = {"phone_id": None, "app": "shortvideo", "active": False}
    status, told = await console.it.call("PUT", "/accounts/unused", unused)
    assert status == 200, told

    async with console.logged_in("/console/accounts?text=unused") as page:
        button = page.get_by_role("button", name="Remove: unused")
        await button.click()
        await answer(page, "Remove it", "never used")

        await expect(button).to_have_count(0)
        _, told = await console.it.call("GET", "/accounts")
        assert "unused" not in [one["account_id"] for one in told["accounts"]]


async def test_a_schedule_is_paused_resumed_and_deleted(console: Console) -> None:
    """In its row, with when it comes next."""
    request = {
        "capability": "take_screenshot",
        "mode": "manual",
        "target": {"routing": "queue"},
        "inputs": {},
        "requested_by": {"system": "tests"},
    }
    body = {"name": "pictures", "cron": "0 3 1 1 *", "zone": "UTC", "request": request}
    status, told = await console.it.call("POST", "/schedules", body | {"reason": "a test"})
    assert status == 200, told

    async with console.logged_in("/console/schedules") as page:
        row = page.get_by_role("row").filter(has_text="pictures")
        await expect(row).to_contain_text("0 3 1 1 * UTC")
        await page.get_by_role("button", name="Pause: pictures").click()
        await answer(page, "Pause", "nobody looks")
        await expect(row).to_contain_text("paused")

        await page.get_by_role("button", name="Resume: pictures").click()
        await answer(page, "Resume", "somebody looks")
        await expect(page.get_by_role("button", name="Pause: pictures")).to_be_visible()

        await page.get_by_role("button", name="Delete: pictures").click()
        await answer(page, "Delete it", "enough")
        await expect(page.locator("main")).to_contain_text("There are no schedules yet")


async def test_a_host_is_drained_and_given_work(console: Console) -> None:
    """In its row, with who and why."""
    async with console.logged_in("/console/hosts") as page:
        await page.get_by_role("button", name="Drain: local").click()
        await answer(page, "Drain it", "a new disk")
        await expect(page.get_by_role("row").filter(has_text="local")).to_contain_text("a new disk")

        await page.get_by_role("button", name="Give work: local").click()
        await answer(page, "Give work", "it is in")

        await expect(page.get_by_role("button", name="Drain: local")).to_be_visible()


async def test_a_viewer_sees_what_they_may_not_do(console: Console) -> None:
    """A key is made on the page and shown once; with it buttons name the scope that they need."""
    phone = console.it.farm.phones[PHONE]
    async with console.logged_in("/console/settings") as page:
        await page.get_by_role("button", name="New key").click()
        await page.get_by_role("dialog").get_by_label("Name").fill("viewer")
        await answer(page, "Create it", "")
        secret = await page.locator("main .secret").first.inner_text()
        assert secret.startswith("pf_")

        async with console.logged_in(f"/console/phones/{phone.phone_id}", key=secret) as viewer:
            hold = viewer.get_by_role("button", name="Hold")
            await expect(hold).to_be_disabled()
            await expect(hold).to_contain_text("operate")
            await viewer.keyboard.press("h")
            await expect(viewer.get_by_role("dialog")).to_have_count(0)
            await viewer.goto("/console/audit")
            await expect(viewer.locator("main")).to_contain_text("does not have the scope operate")

            await page.get_by_role("button", name="Revoke: viewer").click()
            await answer(page, "Revoke it", "")

            # The open page of the revoked key is back at the login by itself.
            await viewer.goto("/console/phones")
            await expect(viewer.get_by_role("heading", name="Log in")).to_be_visible()


async def test_the_audit_says_who_did_it(console: Console) -> None:
    """With the reason, and a filter by what it was done to."""
    phone = console.it.farm.phones[OTHER]
    request = fleet_pb2.MaintainPhoneRequest(phone_id=phone.phone_id, reason="seen in the audit")
    await console.it.controller.call(console.it.controller.fleet.MaintainPhone, request)

    async with console.logged_in(f"/console/audit?subject={phone.phone_id}") as page:
        row = page.get_by_role("row").filter(has_text="seen in the audit").first

        await expect(row).to_contain_text("maintain")
        await expect(row).to_contain_text(phone.phone_id)


async def test_a_group_is_made_and_cleaned_up_as_told(console: Console) -> None:
    """Its members, and what agents do on its phones after each run."""
    phone = console.it.farm.phones[SPARE].phone_id

    async def group() -> dict[str, Any] | None:
        _, told = await console.it.call("GET", "/groups")
        return next((one for one in told["groups"] if one["name"] == "rack-9"), None)

    async with console.logged_in("/console/settings") as page:
        await page.get_by_role("button", name="New group").click()
        await page.get_by_role("dialog").get_by_label("Name").fill("rack-9")
        await page.get_by_role("dialog").get_by_label("Members").fill(phone)
        await answer(page, "Create it")
        await page.get_by_role("button", name="Clean-up: rack-9").click()
        await page.get_by_role("dialog").get_by_label("stop apps").check()
        await answer(page, "Set it", "")

        made = await group()
        assert made is not None
        assert (made["member_ids"], made["clean_up"]) == ([phone], ["stop_apps"])
        await page.get_by_role("button", name="Members: rack-9").click()
        await page.get_by_role("dialog").get_by_label("Members").fill("")
        await answer(page, "Set them", "")
        await expect(page.get_by_role("row").filter(has_text="rack-9")).to_have_count(0)


async def test_a_capability_is_verified(console: Console) -> None:
    """The run goes on a phone that a person names as they know it; then it is recorded."""
    phone = console.it.farm.phones[SPARE]
    async with console.logged_in("/console/settings") as page:
        await page.get_by_role("button", name="Verify: keyword warmup").click()
        await page.get_by_role("dialog").get_by_label("Phone").fill(phone.serialno)
        await page.get_by_role("dialog").get_by_label("Account").fill(phone.account_id)
        await answer(page, "Run it", "")
        started = page.get_by_role("region", name="Verifications")
        link = await started.get_by_role("link").first.get_attribute("href")
        assert link is not None
        await console.it.until(link.rpartition("/")[2], "completed")

        async def recorded() -> bool:
            # The evidence of the run may still be on its way.
            _, told = await console.it.call("POST", f"/processes{link[13:]}/verification")
            return "verified_by" in told

        await eventually(recorded, what="the record")
        await page.reload()
        await settled(page)

        await expect(started.get_by_text("verified", exact=True)).to_have_count(1)


async def test_an_invitation_that_is_refused_says_why(console: Console) -> None:
    """This farm listens on loopback only; the dialog stays for another try."""
    async with console.logged_in("/console/settings") as page:
        await page.get_by_role("button", name="Invite").click()
        dialog = page.get_by_role("dialog")
        await dialog.get_by_role("textbox", name="Reason").fill("a new rack")
        await dialog.get_by_role("button", name="Create it").click()

        await expect(dialog.get_by_role("alert")).to_contain_text("--tls-listen")


async def test_the_database_is_backed_up(console: Console) -> None:
    """The browser saves the copy under a name with its time."""
    async with console.logged_in("/console/settings") as page:
        async with page.expect_download() as coming:
            await page.get_by_role("button", name="Back up").click()
            await answer(page, "Download the copy")
        saved = await coming.value

        assert re.fullmatch(r"farm-\d{8}T\d{6}Z\.db", saved.suggested_filename)
        with open(await saved.path(), "rb") as file:  # noqa: ASYNC230, PTH123 - small and local
            assert file.read(16) == b"SQLite format 3\0"
