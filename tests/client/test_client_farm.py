"""The client against a real gateway: each method, work from submission to callback, breaks."""

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
from client.conftest import SECRET
from gateway.support.published import operation_of, published
from phonefarm.client import (
    Accepted,
    AsyncPhonefarm,
    AuthenticationError,
    Callback,
    CallbackVerificationError,
    CallbackVerifier,
    Duplicate,
    InvalidRequestError,
    NotFoundError,
    Phonefarm,
    PhonefarmError,
    RequestedBy,
    Retries,
    Target,
)
from phonefarm.schemas.farm import FarmReset
from phonefarm.schemas.farm_requests import PutAccountOfMany
from phonefarm.schemas.requests import Snapshot, Step
from phonefarm.schemas.schedules import ScheduledRequest
from phonefarm_controller.screens import links
from support.controller import KEY
from support.relay import relay
from support.rest_farm import RestFarm

pytestmark = pytest.mark.asyncio(loop_scope="module")
ME = RequestedBy(system="client-tests")
OFTEN = Retries(most=1000, first_seconds=0.01, longest_seconds=0.1)
NO_METHOD = {
    # The console's own: its cookie, and tickets for its sockets.
    *("logIn", "getSession", "logOut", "makeTicket", "makeScreenTicket", "makeThumbnailTicket"),
    # WebSockets.
    *("viewScreen", "watchThumbnails"),
    # The service itself, for probes and browsers.
    *("healthz", "readyz", "metrics", "openapi", "docs"),
}


@asynccontextmanager
async def client(farm: RestFarm, **options: Any) -> AsyncIterator[AsyncPhonefarm]:
    """Yield a client of the farm."""
    values: dict[str, Any] = {"key": KEY, "retries": OFTEN} | options
    async with AsyncPhonefarm(values.pop("url", farm.caller.base), **values) as it:
        yield it


def submission(farm: RestFarm, **changes: Any) -> dict[str, Any]:
    """Return the arguments of an enqueue that is accepted, with *changes*."""
    return {
        "capability": "keyword_warmup",
        "target": Target(routing="direct", account_id="acc-SIM1"),
        "inputs": {"keywords": ["tea"], "videos_per_keyword": 1},
        "callback": Callback(url=farm.receiver.url(), metadata={"campaign": 7, "none": None}),
        "requested_by": ME,
    } | changes


async def refused(call: Awaitable[Any], code: str) -> None:
    """Check that the farm refuses the call for this reason."""
    with pytest.raises(PhonefarmError) as error:
        await call
    assert error.value.code == code, error.value


async def test_work_from_submission_to_its_callback(served: RestFarm) -> None:
    """Enqueued, run, waited for; objects come back as sent; the callback verifies."""
    async with client(served) as farm:
        accepted = await farm.processes.enqueue(**submission(served))
        assert isinstance(accepted, Accepted)
        waiting = asyncio.create_task(farm.processes.wait(accepted.process_id))
        await served.agent.act_out(await served.assigned("SIM1"))
        record = await waiting

    assert record.status == "completed"
    assert record.error is None
    assert record.callback is not None
    assert record.callback.metadata == {"campaign": 7, "none": None}
    assert record.timestamps.finished_at is not None
    got = (await served.receiver.wait(3))[-1]
    event = CallbackVerifier(SECRET).verify(got.body, got.headers)
    assert (event.milestone, event.sequence) == ("completed", 3)
    assert event.process == record
    with pytest.raises(CallbackVerificationError):
        CallbackVerifier(SECRET).verify(got.body + b" ", got.headers)


async def test_a_request_that_is_repeated_is_a_duplicate(served: RestFarm) -> None:
    """The same request_id finds the first process; a dry run creates none."""
    async with client(served) as farm:
        first = await farm.processes.enqueue(**submission(served, request_id="once"))
        again = await farm.processes.enqueue(**submission(served, request_id="once"))
        changed = await farm.processes.enqueue(**submission(served, request_id="once", priority=9))
        tried = await farm.processes.dry_run(**submission(served))

    assert isinstance(again, Duplicate)
    assert again.process_id == first.process_id
    assert not again.request_differs
    assert isinstance(changed, Duplicate)
    assert changed.request_differs
    assert tried.items_planned == 1


async def test_errors_say_what_is_wrong(served: RestFarm) -> None:
    """By class, by code, by field, with the whole problem document."""
    async with client(served) as farm:
        with pytest.raises(NotFoundError) as unknown:
            await farm.processes.enqueue(
                **submission(served, target=Target(routing="direct", account_id="nobody"))
            )
        with pytest.raises(InvalidRequestError) as invalid:
            await farm.processes.enqueue(**submission(served, inputs={"keywords": 7}))
        with pytest.raises(ValueError, match="request_id"):
            await farm.processes.enqueue(**submission(served, request_id="x" * 257))
    async with client(served, key="wrong") as farm:
        with pytest.raises(AuthenticationError) as stranger:
            await farm.phones.list()

    assert unknown.value.code == "unknown_account"
    assert unknown.value.problem is not None
    assert unknown.value.problem.error == "unknown_account:nobody"
    assert invalid.value.status == 422
    assert "inputs.keywords" in {error.field for error in invalid.value.errors}
    assert stranger.value.code == "unauthenticated"
    assert stranger.value.retry_after is None


async def test_a_list_is_read_page_by_page(served: RestFarm) -> None:
    """Every process of the filter once, the newest first, whatever the size of a page."""
    async with client(served) as farm:
        made = [
            await farm.processes.enqueue(
                **submission(served, requested_by=RequestedBy(system="paging"), request_id=f"p{n}")
            )
            for n in range(5)
        ]
        since = datetime.now(UTC) - timedelta(hours=1)
        found = [
            record.process_id
            async for record in farm.processes.list(
                system="paging", status=["queued"], created_from=since, limit=2
            )
        ]
        page = await farm.processes.page(system="paging", limit=2)

    assert found == [one.process_id for one in reversed(made)]
    assert len(page.processes) == 2
    assert page.next_cursor is not None


async def test_streams_go_on_after_a_break(served: RestFarm) -> None:
    """The connection is cut between transitions: each event comes once, none is missed."""
    target = served.caller.base.removeprefix("http://")
    async with relay("127.0.0.1:0", target) as address:
        cut = await _first_half(served, f"http://{address}")
    async with relay(address, target), aclosing(cut.events):
        await cut.farm.processes.cancel(cut.process_id, reason="a test", requested_by=ME)
        rest = [event async for event in cut.events]
        moved = await anext(cut.moves)
        while getattr(moved.data, "process_id", None) != cut.process_id:
            moved = await anext(cut.moves)
        await cut.moves.aclose()
        await cut.farm.close()
        record = rest[-1].process

    assert record.status == "cancelled"
    numbers = [move.number for event in (cut.first, *rest) for move in event.transitions]
    assert numbers == sorted(set(numbers))
    assert isinstance(cut.reset.data, FarmReset)
    assert moved.name == "process.moved"


class _Half:
    """What a client has read when its connection is cut."""

    def __init__(self, farm: AsyncPhonefarm, process_id: str) -> None:
        self.farm = farm
        self.process_id = process_id
        self.events = farm.processes.events(process_id)
        self.moves = farm.operation.events()
        self.first: Any = None
        self.reset: Any = None


async def _first_half(served: RestFarm, url: str) -> _Half:
    farm = await AsyncPhonefarm(url, key=KEY, retries=OFTEN).__aenter__()
    accepted = await farm.processes.enqueue(**submission(served, request_id="broken stream"))
    assert accepted.process_id is not None
    half = _Half(farm, accepted.process_id)
    half.first = await anext(half.events)
    half.reset = await anext(half.moves)
    return half


async def test_the_blocking_client_does_the_same(served: RestFarm) -> None:
    """In a thread: results, iterators that are left early, errors, events to the end."""

    def work() -> tuple[str, list[str], int]:
        with Phonefarm(served.caller.base, key=KEY, retries=OFTEN) as farm:
            accepted = farm.processes.enqueue(**submission(served, request_id="blocking"))
            assert accepted.process_id is not None
            for record in farm.processes.list(limit=1):
                assert record.process_id == accepted.process_id
                break
            farm.processes.cancel(accepted.process_id, reason="a test", requested_by=ME)
            events = farm.processes.events(accepted.process_id)
            statuses = [event.process.status for event in events]
            with pytest.raises(NotFoundError):
                farm.phones.get("nobody")
            return (
                farm.processes.wait(accepted.process_id).status,
                statuses,
                len(farm.phones.list().phones),
            )

    status, statuses, phones = await asyncio.to_thread(work)

    assert status == "cancelled"
    assert statuses[-1] == "cancelled"
    assert phones == 3


async def test_every_operation_has_a_method(
    served: RestFarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is called at the gateway, which knows its path and body; its response is understood.

    The played agent opens no screen.
    """
    monkeypatch.setattr(links, "ANSWER_SECONDS", 0.2)
    called: set[str] = set()
    async with recording(called) as session, client(served, session=session) as farm:
        await call_everything(served, farm)

    names = {
        one["operationId"] for methods in published()["paths"].values() for one in methods.values()
    }
    assert names - called == NO_METHOD


@asynccontextmanager
async def recording(called: set[str]) -> AsyncIterator[aiohttp.ClientSession]:
    """Yield a session that notes the operationId of each of its requests."""

    async def note(session: Any, context: Any, sent: aiohttp.TraceRequestStartParams) -> None:
        operation = operation_of(sent.method, sent.url.raw_path)
        assert operation is not None, sent.url
        called.add(operation["operationId"])

    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(note)
    async with aiohttp.ClientSession(trace_configs=[trace]) as session:
        yield session


async def call_everything(served: RestFarm, farm: AsyncPhonefarm) -> None:
    """Call each method once; the farm answers, or refuses what it cannot do as it stands."""
    accepted = await farm.processes.enqueue(**submission(served, request_id="everything"))
    of = str(accepted.process_id)
    record = await farm.processes.get(of)
    steps: tuple[Callable[[AsyncPhonefarm, RestFarm, str], Awaitable[None]], ...] = (
        _call_work,
        _call_phones,
        _call_farm,
    )
    for step in steps:
        await step(farm, served, of)
    await farm.processes.queue_item(record.linked_ids.queue_item_ids[0])


async def _call_work(farm: AsyncPhonefarm, served: RestFarm, of: str) -> None:
    step = Step(action="edit_profile", params={"bio": "tea"})
    await farm.processes.enqueue_maintenance(
        "acc-SIM1",
        steps=[step],
        callback=Callback(url=served.receiver.url()),
        requested_by=ME,
    )
    assert [one async for one in farm.processes.list()]
    assert (await farm.processes.timeline(of)).transitions
    assert (await farm.processes.explain(of)).summary
    assert (await farm.processes.evidence(of)).evidence == ()
    await refused(farm.processes.evidence_file(of, of), "unknown_evidence")
    assert (await farm.processes.deliveries(of)).deliveries
    await refused(farm.processes.replay_deliveries(of, sequences=[99]), "invalid_request")
    await refused(farm.processes.rerun(of, reason="a test"), "state_conflict")
    await farm.processes.cancel(of, reason="a test", requested_by=ME, strategy="hard")
    async with aclosing(farm.processes.events(of)) as events:
        assert [event async for event in events][-1].process.status == "cancelled"
    await farm.content.ingest(
        "video-1",
        account_id="acc-SIM2",
        video_path=served.receiver.url("/v.mp4"),
        caption="tea",
        scheduling_hint=datetime.now(UTC) + timedelta(hours=1),
    )
    await farm.content.cancel("video-1", account_id="acc-SIM2", reason="a test")
    snapshot = Snapshot(
        account_id="acc-SIM1",
        ugc_account_id="ugc",
        snapshot_id="s-1",
        strategy_version=2,
        content_hash="x",
        strategy_synced_at=datetime.now(UTC),
        personality={"tone": "warm"},
    )
    assert (await farm.content.upsert_snapshot(snapshot)).status == "upserted"
    older = snapshot.model_copy(update={"strategy_version": 1})
    assert (await farm.content.upsert_snapshot(older)).status == "ignored_stale"


async def _call_phones(farm: AsyncPhonefarm, served: RestFarm, of: str) -> None:
    assert (await farm.phones.list()).counts.total == 3
    assert (await farm.phones.get("ph-sim1")).phone.phone_id == "ph-sim1"
    await farm.phones.needing_hands()
    await farm.phones.drain("ph-sim3", reason="a test")
    await farm.phones.maintain("ph-sim3", reason="a test")
    await farm.phones.admit("ph-sim3")
    assert (await farm.phones.return_("ph-sim3", reason="a test")).phone_id == "ph-sim3"
    await refused(farm.phones.release("ph-sim3", epoch=7, reason="a test"), "state_conflict")
    hold = await farm.phones.hold("ph-sim3", reason="a test", wait_seconds=60)
    assert (await farm.phones.get_hold(hold.process_id)).phone_id == "ph-sim3"
    await farm.phones.unhold("ph-sim3", reason="a test")
    await refused(farm.phones.still("ph-sim3"), "screen_unavailable")
    await refused(farm.phones.inspect("ph-sim3"), "screen_unavailable")
    await farm.phones.retire("ph-sim3", reason="a test")
    assert (await farm.accounts.list()).accounts
    await farm.accounts.put("acc-new", app="shortvideo", phone_id=None, active=False)
    many = [PutAccountOfMany(account_id="acc-new", app="shortvideo", phone_id=None)]
    assert len((await farm.accounts.put_many(many)).accounts) == 1
    await farm.accounts.clear("acc-new", reason="a test")
    await farm.accounts.delete("acc-new", reason="a test")
    await farm.groups.put("phone", "pair", ["ph-sim1", "ph-sim2"])
    await farm.groups.change("phone", "pair", add=["ph-sim1"], remove=["ph-nobody"])
    await farm.groups.put("account", "both", ["acc-SIM1"], reason="a test")
    await farm.groups.change("account", "both", add=["acc-SIM2"])
    await farm.groups.put_clean_up("pair", ["home"])
    await farm.groups.put_clean_up("pair", None)
    assert len((await farm.groups.list()).groups) == 2


async def _call_farm(farm: AsyncPhonefarm, served: RestFarm, of: str) -> None:
    (host,) = (await farm.hosts.list()).agents
    await farm.hosts.incidents()
    await farm.hosts.drain(host.agent_id, reason="a test")
    await farm.hosts.undrain(host.agent_id, reason="a test")
    await refused(farm.hosts.invite("agent"), "joining_closed")
    await refused(farm.hosts.revoke("agent", "nobody"), "unknown_member")
    await refused(farm.hosts.revoke("gateway", "nobody"), "unknown_member")
    names = {one.name for one in (await farm.operation.capabilities()).capabilities}
    assert "keyword_warmup" in names
    assert (await farm.operation.examine()).findings
    await farm.operation.failing_receivers()
    assert (await farm.operation.alert_events()).receiver is None
    await refused(farm.operation.send_test_alert(), "state_conflict")
    await refused(farm.operation.replay_alert_event(1), "state_conflict")
    async with aclosing(farm.operation.events()) as events:
        assert (await anext(events)).name == "farm.reset"
    assert [entry async for entry in farm.operation.audit(limit=3)]
    assert (await farm.operation.pause("app", "shortvideo", reason="a test")).by
    assert (await farm.operation.pauses()).pauses
    assert (await farm.operation.resume("app", "shortvideo")).resumed
    window = await farm.operation.put_window(
        "phone", "ph-sim1", zone="UTC", hours=["daily 00:00-24:00"], reason="a test"
    )
    assert (await farm.operation.windows()).windows == (window,)
    assert (await farm.phones.get("ph-sim1")).windows == (window,)
    assert (await farm.operation.remove_window("phone", "ph-sim1", reason="a test")).removed
    work = ScheduledRequest(
        capability="keyword_warmup",
        mode="manual",
        target=Target(routing="queue"),
        inputs={"keywords": ["cats"]},
        requested_by=ME,
    )
    added = await farm.schedules.add(
        "daily", cron="30 9 * * *", zone="Europe/Berlin", request=work, reason="a test"
    )
    assert (await farm.schedules.list()).schedules == (added,)
    assert len((await farm.schedules.get("daily", next_count=3)).next_runs) == 3
    assert (await farm.schedules.pause("daily", reason="a test")).paused
    assert (await farm.schedules.resume("daily", reason="a test")).next_at is not None
    assert (await farm.schedules.delete("daily", reason="a test")).name == "daily"
    limit = await farm.operation.put_limit(
        "runs_per_day", "every_account", value=9, zone="UTC", reason="a test"
    )
    assert (await farm.operation.limits()).limits == (limit,)
    assert (
        await farm.operation.remove_limit("runs_per_day", "every_account", reason="a test")
    ).removed
    copy = io.BytesIO()
    await farm.operation.backup(copy, reason="a test")
    assert copy.getvalue().startswith(b"SQLite format 3")
    made = await farm.operation.create_key("reader", scopes=["read"])
    assert made.secret
    assert len((await farm.operation.keys()).keys) == 1
    assert (await farm.operation.revoke_key("reader")).revoked_at
    await farm.operation.verify_capability("keyword_warmup", phone_id="ph-sim1", requested_by=ME)
    await refused(farm.operation.record_verification(of), "state_conflict")
    await refused(
        farm.operation.check_profile("x", "wrong", phone_id="ph-sim1", requested_by=ME),
        "invalid_request",
    )
