"""A real controller in this process, a caller, and an agent that a test plays by hand."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import grpc.aio
import pytest
from google.rpc import error_details_pb2, status_pb2
from phonefarm.v1 import (
    agent_pb2,
    agent_pb2_grpc,
    callback_pb2,
    callback_pb2_grpc,
    content_pb2_grpc,
    fleet_pb2,
    fleet_pb2_grpc,
    inspect_pb2_grpc,
    operator_pb2_grpc,
    process_pb2,
    process_pb2_grpc,
    screen_pb2_grpc,
    verification_pb2_grpc,
)
from phonefarm_common.channel import bearer, open_channel
from phonefarm_common.ids import PROTOCOL_VERSION
from phonefarm_common.timers import Timers
from phonefarm_controller.app.controller import Controller, running
from phonefarm_controller.settings import Settings
from phonefarm_controller.store.schema.work import queue_items
from sqlalchemy import update
from support.prepared import prepare_sqlite

KEY = "test-key"
AGENT_TOKEN = "test-agent-token"
GATEWAY_TOKEN = "test-gateway-token"
PATIENCE = 180.0
"""Seconds a test waits for what must come."""


@dataclass
class Farm:
    """A running controller and typed clients of it."""

    controller: Controller
    channel: grpc.aio.Channel
    timers: Timers
    scale: float
    processes: Any = field(init=False)
    fleet: Any = field(init=False)
    inspect: Any = field(init=False)
    callbacks: Any = field(init=False)
    content: Any = field(init=False)
    proving: Any = field(init=False)
    operator: Any = field(init=False)
    screens: Any = field(init=False)

    def __post_init__(self) -> None:
        """Open the clients."""
        self.processes = process_pb2_grpc.ProcessServiceStub(self.channel)
        self.fleet = fleet_pb2_grpc.FleetServiceStub(self.channel)
        self.inspect = inspect_pb2_grpc.InspectServiceStub(self.channel)
        self.callbacks = callback_pb2_grpc.CallbackServiceStub(self.channel)
        self.content = content_pb2_grpc.ContentServiceStub(self.channel)
        self.proving = verification_pb2_grpc.VerificationServiceStub(self.channel)
        self.operator = operator_pb2_grpc.OperatorServiceStub(self.channel)
        self.screens = screen_pb2_grpc.ScreenServiceStub(self.channel)

    async def enqueue(self, request: process_pb2.EnqueueRequest) -> process_pb2.EnqueueResponse:
        """Submit a request with the good key."""
        answer: process_pb2.EnqueueResponse = await self.processes.Enqueue(
            request, metadata=bearer(KEY)
        )
        return answer

    async def pass_deadline(self, process_id: str) -> None:
        """Let the deadline of the process's items have been a second ago."""
        async with self.controller.database.writing() as tx:
            passed = (
                update(queue_items)
                .where(queue_items.c.process_id == process_id)
                .values(deadline_at=tx.now - timedelta(seconds=1))
            )
            await tx.connection.execute(passed)

    async def get(self, process_id: str) -> process_pb2.Process:
        """Return the process's record."""
        record: process_pb2.Process = await self.processes.GetProcess(
            process_pb2.GetProcessRequest(process_id=process_id), metadata=bearer(KEY)
        )
        return record

    async def known_phones(self) -> list[fleet_pb2.Phone]:
        """Return the farm's phones."""
        asked = fleet_pb2.ListPhonesRequest()
        return list((await self.fleet.ListPhones(asked, metadata=bearer(KEY))).phones)

    async def until(self, process_id: str, *statuses: str) -> process_pb2.Process:
        """Return the record once its status is one of these; TimeoutError after PATIENCE."""
        async with asyncio.timeout(PATIENCE):
            while True:
                record = await self.get(process_id)
                if record.status in statuses:
                    return record
                await asyncio.sleep(0.03)

    async def cancel(
        self,
        process_id: str,
        strategy: process_pb2.CancelStrategy.ValueType = process_pb2.CANCEL_STRATEGY_UNSPECIFIED,
    ) -> process_pb2.CancelProcessResponse:
        """Ask to cancel."""
        answer: process_pb2.CancelProcessResponse = await self.processes.CancelProcess(
            process_pb2.CancelProcessRequest(
                process_id=process_id, reason="test", requested_by="tester", strategy=strategy
            ),
            metadata=bearer(KEY),
        )
        return answer

    async def lease_deliveries(self, limit: int = 100) -> list[callback_pb2.Delivery]:
        """Lease what is due now."""
        answer = await self.callbacks.LeaseDeliveries(
            callback_pb2.LeaseDeliveriesRequest(gateway_id="gw", limit=limit),
            metadata=(("x-phonefarm-gateway-token", GATEWAY_TOKEN),),
        )
        return list(answer.deliveries)

    async def settle(
        self,
        deliveries: Iterable[callback_pb2.Delivery],
        outcome: callback_pb2.DeliveryOutcome.ValueType = callback_pb2.DELIVERY_OUTCOME_DELIVERED,
    ) -> list[str]:
        """Report the same outcome for each delivery; return the ids that were taken."""
        reports = [
            callback_pb2.DeliveryReport(
                delivery_id=d.delivery_id, lease_token=d.lease_token, outcome=outcome
            )
            for d in deliveries
        ]
        answer = await self.callbacks.ReportDeliveries(
            callback_pb2.ReportDeliveriesRequest(gateway_id="gw", reports=reports),
            metadata=(("x-phonefarm-gateway-token", GATEWAY_TOKEN),),
        )
        return list(answer.settled_delivery_ids)

    async def milestones(self, process_id: str) -> list[str]:
        """Deliver everything that is due; return the process's milestones, checked for order."""
        found: list[tuple[int, str]] = []
        while lent := await self.lease_deliveries():
            found += [(d.sequence, d.milestone) for d in lent if d.process_id == process_id]
            await self.settle(lent)
        assert [sequence for sequence, _ in found] == list(range(1, len(found) + 1))
        return [milestone for _, milestone in found]

    async def admit(self, phones: Iterable[str], *, app: str = "shortvideo") -> None:
        """Admit known phones and give each one active account `acc-<serial number>`."""
        for serialno in phones:
            phone_id = f"ph-{serialno.lower()}"
            await self.fleet.AdmitPhone(
                fleet_pb2.AdmitPhoneRequest(phone_id=phone_id), metadata=bearer(KEY)
            )
            account = fleet_pb2.Account(
                account_id=f"acc-{serialno}", phone_id=phone_id, app=app, active=True
            )
            await self.fleet.PutAccount(
                fleet_pb2.PutAccountRequest(account=account), metadata=bearer(KEY)
            )


def request(**changes: Any) -> process_pb2.EnqueueRequest:
    """Return a keyword_warmup for any phone, with a callback; *changes* replace fields."""
    values: dict[str, Any] = {
        "request_id": str(uuid.uuid4()),
        "capability": "keyword_warmup",
        "mode": process_pb2.MODE_MANUAL,
        "target": process_pb2.Target(routing=process_pb2.ROUTING_QUEUE),
        "inputs_json": json.dumps(
            {"keywords": ["cats"], "videos_per_keyword": 1, "app": "shortvideo"}
        ),
        "callback": process_pb2.Callback(url="http://127.0.0.1:9/cb", metadata_json='{"n": 1}'),
        "requested_by": process_pb2.RequestedBy(system="tests"),
    }
    return process_pb2.EnqueueRequest(**(values | changes))


def told(refused: pytest.ExceptionInfo[grpc.aio.AioRpcError]) -> tuple[str, list[str]]:
    """Return the reason and the fields of a refusal."""
    trailers: Any = refused.value.trailing_metadata()
    status = status_pb2.Status.FromString(dict(trailers)["grpc-status-details-bin"])
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details:
        detail.Unpack(info)
        detail.Unpack(bad)
    return info.reason, [violation.field for violation in bad.field_violations]


_LAPSES: Final = (
    *("keepalive_agent_timeout", "keepalive_server_timeout", "start", "suspect", "offline"),
    *("self_fence", "kill", "clean_up", "lease_ttl", "loop_lapse", "probe_limit", "offer_fresh"),
    *("callback_attempt", "callback_lease"),
)


def patient_timers(scale: float, lapse: float = 1.0) -> Timers:
    """Return timers whose periods are scaled, so that farms are quick, but not their limits.

    What ends for silence is scaled by *lapse*: a test in which nobody is silent must not depend on
    how fast the machine is.
    """
    quick, slow = Timers().scaled(scale), Timers().scaled(lapse)
    return replace(quick, **{name: getattr(slow, name) for name in _LAPSES})


@asynccontextmanager
async def farm_on(
    database_url: str,
    data: Path,
    *,
    scale: float = 0.05,
    lapse: float = 1.0,
    ingest_secret: str | None = KEY,
    desired: float | None = None,
    host: str = "127.0.0.1",
    **more: Any,
) -> AsyncIterator[Farm]:
    """Run a controller on the database while the block runs.

    *lapse* scales the limits after which silence counts (`patient_timers`); *desired* is how often
    it repeats the desired list, in seconds, unless scaled like the others; *more* are further
    settings.
    """
    timers = patient_timers(scale, lapse)
    if desired is not None:
        timers = replace(timers, desired=desired)
    settings = Settings(
        host=host,
        port=0,
        database_url=database_url,
        data=data,
        farm_id="test",
        ingest_secret=ingest_secret,
        agent_token=AGENT_TOKEN,
        gateway_token=GATEWAY_TOKEN,
        timers=timers,
        time_scale=scale,
        production=False,
        ready_file=None,
        **({"reserve": 0} | more),
    )
    prepare_sqlite(database_url)
    async with running(settings) as controller:
        channel = open_channel(f"127.0.0.1:{controller.port}", timers)
        try:
            yield Farm(controller=controller, channel=channel, timers=timers, scale=scale)
        finally:
            await channel.close(None)


class PlayedAgent:
    """An agent whose every word a test chooses; it keeps what it heard."""

    def __init__(self, farm: Farm, agent_id: str, phones: Iterable[str]) -> None:
        self.farm = farm
        self.agent_id = agent_id
        self.phones = list(phones)
        self.heard: asyncio.Queue[agent_pb2.ControllerMessage] = asyncio.Queue(10_000)
        self.offers = 0
        self._offered: list[str] = []
        self.beats = 0
        self.sequences: dict[str, int] = {}
        self.welcome = agent_pb2.Welcome()
        self.call: Any = None
        self._kept: list[agent_pb2.ControllerMessage] = []

    async def say(self, **body: Any) -> None:
        """Send one message."""
        await self.call.write(agent_pb2.AgentMessage(**body))

    async def hear(self, *kinds: str) -> Any:
        """Return the next message of *kinds*; others, but for desired lists, are kept for later."""
        async with asyncio.timeout(PATIENCE):
            for kept in self._kept:
                if (kind := kept.WhichOneof("body")) in kinds:
                    self._kept.remove(kept)
                    return getattr(kept, kind)
            while True:
                message = await self.heard.get()
                if (kind := message.WhichOneof("body")) in kinds:
                    return getattr(message, kind)
                if kind != "desired":
                    self._kept.append(message)

    async def ended(self) -> grpc.StatusCode:
        """Return how the controller ended the session, once it has."""
        async with asyncio.timeout(PATIENCE):
            code: grpc.StatusCode = await self.call.code()
        return code

    async def offer(self, *serialnos: str) -> None:
        """Offer these phones (all when none is named)."""
        self._offered = list(serialnos or self.phones)
        await self._offer()

    async def _offer(self) -> None:
        self.offers += 1
        await self.say(offer=agent_pb2.Offer(number=self.offers, serialnos=self._offered))

    async def _offer_until(self, enough: asyncio.Event) -> None:
        """Renew an offer before it lapses, as agents do: the machine may be busy."""
        while not enough.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(self.farm.timers.heartbeat):
                    await enough.wait()
            if self._offered and not enough.is_set():
                await self._offer()

    async def assigned(self, count: int = 1) -> list[agent_pb2.Assignment]:
        """Return the next *count* assignments."""
        found: list[agent_pb2.Assignment] = []
        enough = asyncio.Event()
        offering = asyncio.create_task(self._offer_until(enough))
        try:
            while len(found) < count:
                found += (await self.hear("assignments")).assignments
        finally:
            enough.set()  # not cancelled: with a write under way that would end the whole call
            await asyncio.gather(offering, return_exceptions=True)
        return found

    async def start(self, *runs: agent_pb2.RunRef) -> list[agent_pb2.StartVerdict]:
        """Come to the start gate; return the verdicts."""
        started = [agent_pb2.RunStarted(run=run, container=f"pf-{run.run_id}") for run in runs]
        await self.say(runs_started=agent_pb2.RunsStarted(runs=started))
        verdicts: list[agent_pb2.StartVerdict] = []
        while len(verdicts) < len(runs):
            verdicts += (await self.hear("start_verdicts")).verdicts
        return verdicts

    def record(self, run: agent_pb2.RunRef, **body: Any) -> agent_pb2.RunRecord:
        """Return the run's next numbered record."""
        self.sequences[run.run_id] = self.sequences.get(run.run_id, 0) + 1
        return agent_pb2.RunRecord(run=run, sequence=self.sequences[run.run_id], **body)

    async def report(self, *records: agent_pb2.RunRecord) -> list[agent_pb2.RecordAck]:
        """Send records together; return the acknowledgements."""
        await self.say(run_records=agent_pb2.RunRecords(records=records))
        return list((await self.hear("record_acks")).acks)

    async def act_out(self, assignment: agent_pb2.Assignment) -> None:
        """Do everything well: go through the gate, do each action, end, release the phone."""
        (verdict,) = await self.start(assignment.run)
        assert verdict.WhichOneof("verdict") == "go"
        await self.report(*self.whole_run(assignment))

    def whole_run(self, assignment: agent_pb2.Assignment) -> list[agent_pb2.RunRecord]:
        """Return the records of a run that does everything well."""
        run = assignment.run
        records = []
        for action in json.loads(assignment.plan_json)["actions"]:
            index, kind = action["index"], action["kind"]
            started = agent_pb2.ActionStarted(index=index, kind=kind)
            done = agent_pb2.ActionDone(index=index, kind=kind, outputs_json='{"ok": true}')
            records += [
                self.record(run, action_started=started),
                self.record(run, action_done=done),
            ]
        ended = agent_pb2.RunEnded(outcome=agent_pb2.RUN_OUTCOME_DONE, exit_code=0)
        released = agent_pb2.PhoneReleased(clean=True)
        return [
            *records,
            self.record(run, run_ended=ended),
            self.record(run, phone_released=released),
        ]

    def failed_run(
        self, run: agent_pb2.RunRef, failure: agent_pb2.Failure
    ) -> list[agent_pb2.RunRecord]:
        """Return the records of a run that fails and whose phone is clean."""
        ended = agent_pb2.RunEnded(outcome=agent_pb2.RUN_OUTCOME_FAILED, failure=failure)
        released = agent_pb2.PhoneReleased(clean=True)
        return [self.record(run, run_ended=ended), self.record(run, phone_released=released)]

    async def beat(self, *runs: agent_pb2.RunRef) -> agent_pb2.HeartbeatAck:
        """Send a heartbeat; return its acknowledgement."""
        self.beats += 1
        await self.say(heartbeat=agent_pb2.Heartbeat(number=self.beats, runs=runs))
        ack: agent_pb2.HeartbeatAck = await self.hear("heartbeat_ack")
        return ack


@asynccontextmanager
async def played_agent(
    farm: Farm,
    *phones: str,
    agent_id: str = "agent-1",
    incarnation: int = 1,
    boot_id: str = "boot-1",
    held: Iterable[agent_pb2.HeldRun] = (),
    admit: bool = True,
    runtime: str = "process",
    runs_without_app: bool = True,
) -> AsyncIterator[PlayedAgent]:
    """Connect an agent with these phones (serial numbers); admitted, each with one account."""
    agent = PlayedAgent(farm, agent_id, phones)
    stub: Any = agent_pb2_grpc.AgentServiceStub(farm.channel)
    agent.call = stub.Session(metadata=bearer(AGENT_TOKEN))
    reports = [
        agent_pb2.PhoneReport(
            serialno=serialno,
            adb_serial=f"127.0.0.1:{serialno}",
            transport=agent_pb2.TRANSPORT_ONLINE,
            readiness=agent_pb2.READINESS_READY,
        )
        for serialno in phones
    ]
    await agent.say(
        hello=agent_pb2.Hello(
            agent_id=agent_id,
            boot_id=boot_id,
            incarnation=incarnation,
            protocol_version=PROTOCOL_VERSION,
            agent_version="0",
            phones=reports,
            held_runs=held,
            time_scale=farm.scale,
            runtime=runtime,
            runs_without_app=runs_without_app,
        )
    )
    reader = asyncio.create_task(_read(agent))
    try:
        agent.welcome = await agent.hear("welcome")
        if admit:
            await farm.admit(phones)
        yield agent
    finally:
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
        agent.call.cancel()


async def _read(agent: PlayedAgent) -> None:
    while True:
        message = await agent.call.read()
        if not isinstance(message, agent_pb2.ControllerMessage):
            return
        agent.heard.put_nowait(message)
