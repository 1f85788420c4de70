"""Work on a whole farm: sent by REST, done on simulated phones by real runs, told by callbacks."""

import hashlib
import hmac
import os
import signal
import time
from typing import Any

import pytest
from gateway.support.receiver import Received, Receiver
from phonefarm.v1 import fleet_pb2
from standardwebhooks import Webhook
from support.brokenapp import NAME as BROKEN_APP
from support.live_farm import Hand, LivePhone, containers, eventually, executors, lives, warmup
from support.once import ONE_RUNTIME


def _ids(phones: tuple[LivePhone, ...]) -> list[str]:
    return [phone.phone_id for phone in phones]


async def _events(
    receiver: Receiver, process_id: str, *, last: str, within: float = 180
) -> list[Received]:
    """Return a process's callbacks once the one of milestone *last* came."""

    async def look() -> list[Received] | None:
        got = [r for r in receiver.received if r.event["process"]["process_id"] == process_id]
        return got if any(one.event["milestone"] == last for one in got) else None

    return await eventually(look, within=within, what=f"the callback {last}")


def _check_signed(got: Received, secret: str) -> None:
    """Verify with nothing but HMAC, and with the Standard Webhooks library."""
    signed = f"{got.headers['X-PhoneFarm-Timestamp']}.".encode() + got.body
    expected = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
    assert got.headers["X-PhoneFarm-Signature"] == expected
    assert Webhook(secret).verify(got.body, got.headers) == got.event


async def _searched(at_work: Hand, phone: LivePhone, run_of: set[str | None]) -> list[str]:
    ledger = await at_work.phones.ledger(phone.serialno)
    return [e["detail"]["query"] for e in ledger if e["kind"] == "searched" and e["run"] in run_of]


@ONE_RUNTIME
async def test_a_group_and_a_profile_edit_are_done_and_told(
    at_work: Hand, receiver: Receiver
) -> None:
    """Every phone of the group searches, the profile changes, each callback is signed, in order."""
    phones = at_work.farm.phones[:3]
    before = {p.serialno: await at_work.phones.state(p.serialno) for p in phones}
    keywords = ["tiny houses", "street food"]
    group = {"routing": "group", "phone_ids": _ids(phones)}
    bio = {"display_name": "E2E name", "bio": 'It\'s "quoted" & $HOME `id`'}

    warm = await at_work.warm_up(group, url=receiver.url("/warm"), keywords=keywords)
    edit = await at_work.accepted(
        "/maintenance/requests",
        {
            "request_id": warm,
            "account_id": phones[0].account_id,
            "inputs": {"steps": [{"action": "edit_profile", "params": bio}]},
            "callback": {"url": receiver.url("/edit"), "metadata": {"n": 1}},
            "requested_by": {"system": "e2e", "user": "someone"},
        },
    )
    warmed = await at_work.until(warm, "completed")
    edited = await at_work.until(edit, "completed")

    assert warmed["partial_progress"]["items_completed"] == 3
    assert warmed["target"] == {"account_id": None, "phone_id": None}
    assert edited["target"]["phone_id"] == phones[0].phone_id
    assert len(warmed["linked_ids"]["completed_queue_item_ids"]) == 3
    for phone in phones:
        ledger = await at_work.phones.ledger(
            phone.serialno, since=before[phone.serialno]["last_sequence"]
        )
        searches = [e for e in ledger if e["kind"] == "searched"]
        assert [e["detail"]["query"] for e in searches] == keywords
        assert all(e["epoch"] and e["run"] for e in searches)
    account = (await at_work.phones.state(phones[0].serialno))["account"]
    assert {name: account[name] for name in bio} == bio
    for process_id, record in ((warm, warmed), (edit, edited)):
        events = await _events(receiver, process_id, last="completed")
        for got in events:
            _check_signed(got, at_work.farm.webhook_secret)
        assert [e.event["sequence"] for e in events] == [1, 2, 3]
        assert [e.event["milestone"] for e in events] == ["accepted", "executing", "completed"]
        assert events[-1].event["process"] == record


@ONE_RUNTIME
async def test_a_selector_that_matches_nothing_is_named_and_shown(at_work: Hand) -> None:
    """The error names selector and screen; picture and UI dump of that moment are kept."""
    phone = at_work.farm.phones[3]
    account = fleet_pb2.Account(
        account_id="broken-1", phone_id=phone.phone_id, app=BROKEN_APP, active=True
    )
    await at_work.put_account(account)
    account.active = False

    process_id = await at_work.warm_up({"routing": "direct", "account_id": "broken-1"})
    record = await at_work.until(process_id, "failed_terminal")
    await at_work.put_account(account)

    error = record["error"]
    assert error["code"] == "selector_not_found"
    assert error["class"] == "work"
    assert error["action"] == "search"
    _, told = await at_work.call("GET", f"/processes/{process_id}/timeline")
    of_item = [move["reason"] for move in told["transitions"] if move["queue_item_id"]]
    assert of_item.count("selector_not_found") == 1  # not tried again
    assert error["queue_item_id"] == record["linked_ids"]["queue_item_ids"][0]
    assert "search.box (resource-id com.example.shortvideo:id/gone_box)" in error["message"]
    assert "on the screen search" in error["message"]

    async def kept() -> dict[str, bytes] | None:
        files = {path.name: path for path in at_work.farm.evidence(process_id)}
        wanted = {"a1-screen.png", "a1-ui.xml"}
        return {n: files[n].read_bytes() for n in wanted} if wanted <= files.keys() else None

    files = await eventually(kept, what="the evidence")
    assert files["a1-screen.png"].startswith(b"\x89PNG")
    assert b"com.example.shortvideo:id/search_box" in files["a1-ui.xml"]


@pytest.mark.parametrize(
    ("strategy", "termination"),
    [("soft", "requested"), ("hard", "issued"), ("soft_then_force", "scheduled")],
)
async def test_a_running_process_is_cancelled(
    at_work: Hand, receiver: Receiver, strategy: str, termination: str
) -> None:
    """The container is gone, the status is cancelled, the phone is clean and offered again."""
    phone = at_work.farm.phones[0]
    since = (await at_work.phones.state(phone.serialno))["last_sequence"]
    target = {"routing": "direct", "phone_id": phone.phone_id}
    process_id = await at_work.warm_up(target, url=receiver.url(), watch_seconds=100)
    await at_work.on_screen(phone.serialno, since=since)

    answer = await at_work.cancel(process_id, strategy=strategy, force_after_seconds=5)
    record = await at_work.until(process_id, "cancelled", within=180)

    assert answer["status"] == "cancel_requested"
    assert answer["active_target"]["phone_id"] == phone.phone_id
    assert answer["active_target"]["capability_request_id"] == process_id
    assert answer["termination"]["status"] == termination
    assert answer["termination"]["terminate_issued"] is (strategy == "hard")
    assert answer["active_queue_item_ids"] == record["linked_ids"]["queue_item_ids"]
    assert await _is_gone(at_work, answer["termination"]["container"])
    assert record["error"]["code"] == "cancelled"
    assert record["error"]["class"] == "cancelled"
    await at_work.offered(phone.phone_id)
    state = await at_work.phones.state(phone.serialno)
    assert state["app"]["running"] is False
    events = await _events(receiver, process_id, last="cancelled")
    told = [event.event["milestone"] for event in events]
    assert told == ["accepted", "executing", "cancel_requested", "cancelled"]
    assert (await at_work.cancel(process_id))["status"] == "ignored_terminal"


async def test_an_executor_that_cannot_stop_itself_is_forced(at_work: Hand) -> None:
    """soft_then_force ends a run whose executor is frozen, once the window is over."""
    phone = at_work.farm.phones[1]
    since = (await at_work.phones.state(phone.serialno))["last_sequence"]
    target = {"routing": "direct", "phone_id": phone.phone_id}
    process_id = await at_work.warm_up(target, watch_seconds=100)
    shown = await at_work.on_screen(phone.serialno, since=since)

    frozen = await executors(at_work.farm, shown["run"])
    assert frozen
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    asked_at = time.monotonic()
    answer = await at_work.cancel(process_id, strategy="soft_then_force", force_after_seconds=1)
    await at_work.until(process_id, "cancelled", within=180)

    assert time.monotonic() - asked_at >= 1
    assert await _is_gone(at_work, answer["termination"]["container"])
    assert not [pid for pid in frozen if lives(pid)]
    await at_work.offered(phone.phone_id)


@ONE_RUNTIME
async def test_a_repeated_request_is_the_same_process(at_work: Hand) -> None:
    """The same body again is a duplicate; another body under the id is told, and ignored."""
    body = warmup({"routing": "direct", "phone_id": at_work.farm.phones[2].phone_id})
    process_id = await at_work.accepted("/capability-requests/enqueue", body)

    again = await at_work.call("POST", "/capability-requests/enqueue", body)
    other = body | {"inputs": body["inputs"] | {"keywords": ["other"]}}
    differing = await at_work.call("POST", "/capability-requests/enqueue", other)
    record = await at_work.until(process_id, "completed")

    assert again[0] == differing[0] == 200
    for answer in (again[1], differing[1]):
        assert answer["duplicate"] is True
        assert answer["process_id"] == process_id
        assert answer["process_status"] in {"queued", "executing"}
    assert "request_differs" not in again[1]
    assert differing[1]["request_differs"] is True
    assert record["partial_progress"]["items_total"] == 1
    ledger = await at_work.phones.ledger(at_work.farm.phones[2].serialno)
    assert "other" not in [e["detail"].get("query") for e in ledger if e["kind"] == "searched"]


@ONE_RUNTIME
async def test_a_group_with_one_bad_phone_keeps_what_was_done(
    at_work: Hand, receiver: Receiver
) -> None:
    """Two phones complete, the logged-out one ends its item; the process says both."""
    phones = at_work.farm.phones[:3]
    bad = phones[1]
    await at_work.phones.fault(bad.serialno, "logged_out")

    group = {"routing": "group", "phone_ids": _ids(phones)}
    process_id = await at_work.warm_up(group, url=receiver.url())
    record = await at_work.until(process_id, "failed_terminal")

    progress = record["partial_progress"]
    assert (progress["items_total"], progress["items_completed"]) == (3, 2)
    assert (progress["items_failed"], progress["items_cancelled"]) == (1, 0)
    by_phone: dict[str, Any] = {item["phone_id"]: item for item in progress["items"]}
    assert {phone: by_phone[phone]["status"] for phone in _ids(phones)} == {
        phones[0].phone_id: "DONE",
        bad.phone_id: "DEAD_LETTER",
        phones[2].phone_id: "DONE",
    }
    assert record["error"]["code"] == "account_logged_out"
    assert record["error"]["class"] == "account"
    assert record["error"]["queue_item_id"] == by_phone[bad.phone_id]["queue_item_id"]
    assert len(record["linked_ids"]["completed_queue_item_ids"]) == 2
    accounts = {a.account_id: a for a in await at_work.controller.accounts()}
    assert accounts[bad.account_id].condition == "needs_attention"
    events = await _events(receiver, process_id, last="failed_terminal")
    assert events[-1].event["process"] == record


@pytest.mark.long
async def test_a_phone_unplugged_in_a_run_is_replaced(at_work: Hand, receiver: Receiver) -> None:
    """The run fails as infra, another phone does the whole plan, the process completes."""
    process_id = await at_work.warm_up(
        {"routing": "queue"}, url=receiver.url(), watch_seconds=4, app="shortvideo"
    )
    await at_work.until(process_id, "executing")
    first = (await at_work.record(process_id))["partial_progress"]["items"][0]["phone_id"]
    lost = next(phone for phone in at_work.farm.phones if phone.phone_id == first)
    await at_work.phones.fault(lost.serialno, "unplug")

    record = await at_work.until(process_id, "completed", within=180)

    (item,) = record["partial_progress"]["items"]
    assert item["phone_id"] != lost.phone_id
    assert record["target"]["phone_id"] == item["phone_id"]
    assert record["error"] is None
    events = await _events(receiver, process_id, last="completed")
    told = [event.event["milestone"] for event in events]
    assert told == ["accepted", "executing", "retrying", "executing", "completed"]
    retrying = events[2].event["process"]
    assert retrying["error"]["class"] == "infra"
    assert retrying["timestamps"]["retrying_at"] is not None


@ONE_RUNTIME
@pytest.mark.long
async def test_a_phone_that_was_unplugged_comes_back_by_itself(at_work: Hand) -> None:
    """Its agent could not clean it while it was away; it does when the phone is there again."""
    process_id = await at_work.warm_up({"routing": "queue"}, watch_seconds=4)
    await at_work.until(process_id, "executing")
    (item,) = (await at_work.record(process_id))["partial_progress"]["items"]
    lost = next(phone for phone in at_work.farm.phones if phone.phone_id == item["phone_id"])

    async def is_dirty() -> bool:
        phone = await at_work.phone(lost.phone_id)
        return phone.health == "quarantined" and phone.health_reason.startswith("dirty: ")

    async def is_offered() -> bool:
        phone = await at_work.phone(lost.phone_id)
        return phone.offered and phone.lease == "free" and phone.health != "quarantined"

    await at_work.phones.fault(lost.serialno, "unplug")
    await eventually(is_dirty, within=120, what="the clean-up given up")
    await at_work.phones.clear(lost.serialno)

    await eventually(is_offered, within=120, what="the phone, clean and back on offer")


async def _is_gone(at_work: Hand, container: str) -> bool:
    """Tell whether the run's container, or the session that stands for it, is gone for good.

    Nothing of it may run any more; that it is removed may take another moment.
    """
    kind, _, rest = container.partition("-")
    if at_work.farm.runtime == "process":
        assert kind == "process"
        return not lives(int(rest))
    assert kind == "pf"
    assert not await containers(name=container, running=True)

    async def look() -> bool:
        return not await containers(name=container)

    return await eventually(look, within=180, what="the removal of the container")
