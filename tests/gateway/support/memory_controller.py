"""A controller in memory: it speaks the real protocol, keeps the promises a gateway leans on."""

# ruff: noqa: N802 - the protocol names the calls

import asyncio
import contextlib
import json
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import grpc
import grpc.aio
from gateway.support.memory_content import MemoryContent
from gateway.support.memory_fleet import MemoryFleet
from gateway.support.memory_inspection import MemoryInspection
from gateway.support.memory_screens import MemoryScreens
from gateway.support.refusing import Context, refuse
from phonefarm.v1 import (
    callback_pb2,
    callback_pb2_grpc,
    content_pb2_grpc,
    fleet_pb2_grpc,
    inspect_pb2_grpc,
    process_pb2,
    process_pb2_grpc,
    screen_pb2_grpc,
)

TOKEN = "gateway-token"
KEY = "caller-key"
READ_ONLY_KEY = "reader-key"
ACCOUNT = "acc-1"
PHONE = "phone-1"

_TERMINAL = {"completed", "failed_terminal", "cancelled"}
_MODES = {process_pb2.MODE_MANUAL, process_pb2.MODE_UNATTENDED}


@dataclass(kw_only=True)
class Owed:
    """A delivery in the outbox."""

    message: callback_pb2.Delivery
    leased_until: float = 0
    lease_token: str = ""
    attempts: int = 0
    settled: bool = False
    not_before: float = 0
    reports: list[callback_pb2.DeliveryReport] = field(default_factory=list)


class MemoryController(
    process_pb2_grpc.ProcessServiceServicer, callback_pb2_grpc.CallbackServiceServicer
):
    """Processes, keys and an outbox; tests move processes along and break things."""

    def __init__(self) -> None:
        everything = {"submit", "read", "watch", "cancel", "operate"}
        self.keys: dict[str, set[str]] = {KEY: everything, READ_ONLY_KEY: {"read"}}
        self.processes: dict[str, process_pb2.Process] = {}
        self.requests: dict[tuple[str, str, str], tuple[str, bytes]] = {}
        self.enqueued: list[process_pb2.EnqueueRequest] = []
        self.listed: list[process_pb2.ListProcessesRequest] = []
        self.cancels: list[process_pb2.CancelProcessRequest] = []
        self.outbox: list[Owed] = []
        self.retry_seconds = 0.0
        self.lease_seconds = 60.0
        self.metadata_seen: list[dict[str, Any]] = []
        self.next_refusal: tuple[grpc.StatusCode, str, str, tuple[tuple[str, str], ...]] | None = (
            None
        )
        self.keys_checked = 0
        self.crash_next = False
        self.reports_refused = 0
        self.lease_calls = 0
        self.signs: bool | None = None  # as the gateway says with each lease
        self.lent_in_call = 0
        self.changed = asyncio.Condition()
        self.address = ""
        self.token = TOKEN
        self.refusal = "gateway_token_refused"
        self.inspection = MemoryInspection(self._admit, self._process, self.processes)
        self.content = MemoryContent(self._admit)
        self.fleet = MemoryFleet(self._admit)  # type: ignore[abstract]  # only what a gateway calls
        self.screens = MemoryScreens(self._admit)
        self._server: grpc.aio.Server | None = None

    @classmethod
    @asynccontextmanager
    async def serving(cls) -> AsyncIterator[Self]:
        """Yield a controller that listens on loopback."""
        controller = cls()
        await controller.start()
        try:
            yield controller
        finally:
            await controller.stop()

    async def start(self) -> None:
        """Listen, on the same port as before if there was one."""
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        process_pb2_grpc.add_ProcessServiceServicer_to_server(self, self._server)
        callback_pb2_grpc.add_CallbackServiceServicer_to_server(self, self._server)
        inspect_pb2_grpc.add_InspectServiceServicer_to_server(self.inspection, self._server)
        content_pb2_grpc.add_ContentServiceServicer_to_server(self.content, self._server)
        fleet_pb2_grpc.add_FleetServiceServicer_to_server(self.fleet, self._server)
        screen_pb2_grpc.add_ScreenServiceServicer_to_server(self.screens, self._server)
        port = self._server.add_insecure_port(self.address or "127.0.0.1:0")
        self.address = f"127.0.0.1:{port}"
        await self._server.start()

    async def stop(self) -> None:
        """Hang up on everybody, as a crash does; the memory stays."""
        if self._server is not None:
            await self._server.stop(0)
            self._server = None
            await self._refusing()

    async def _refusing(self) -> None:
        """Wait until the port is closed: gRPC goes on listening for a moment, answering nobody."""
        host, _, port = self.address.rpartition(":")
        async with asyncio.timeout(180):
            while True:
                try:
                    _, writer = await asyncio.open_connection(host, int(port))
                except OSError:
                    return
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

    async def move(self, process_id: str, status: str, **owed: str) -> None:
        """Set the public status and owe the delivery of that milestone."""
        if status != "accepted":  # a milestone, no status
            self.processes[process_id].status = status
        await self.owe(process_id, status, **owed)

    async def owe(self, process_id: str, milestone: str, *, url: str | None = None) -> Owed:
        """Put one delivery into the outbox."""
        process = self.processes[process_id]
        before = [one for one in self.outbox if one.message.process_id == process_id]
        message = callback_pb2.Delivery(
            delivery_id=str(uuid.uuid4()),
            process_id=process_id,
            sequence=len(before) + 1,
            milestone=milestone,
            url=url or process.callback.url,
            process=process,
        )
        message.emitted_at.GetCurrentTime()
        owed = Owed(message=message)
        async with self.changed:
            self.outbox.append(owed)
            self.changed.notify_all()
        return owed

    def add_process(self, *, url: str, request_id: str = "r") -> str:
        """Create a queued process that nobody enqueued; nothing is owed for it yet."""
        process = process_pb2.Process(
            process_id=str(uuid.uuid4()),
            process_type="keyword_warmup",
            request_id=request_id,
            status="queued",
            target_account_id=ACCOUNT,
            target_phone_id=PHONE,
        )
        process.requested_by.system = "tests"
        process.callback.url = url
        process.timestamps.created_at.GetCurrentTime()
        self.processes[process.process_id] = process
        return process.process_id

    async def settled(self, count: int, *, within: float = 180) -> list[Owed]:
        """Return the settled deliveries once there are *count*."""
        await self.until(lambda: sum(one.settled for one in self.outbox) >= count, within=within)
        return [one for one in self.outbox if one.settled]

    async def until(self, condition: Any, *, within: float = 180) -> None:
        """Wait for *condition* to hold after a change."""
        async with asyncio.timeout(within), self.changed:
            await self.changed.wait_for(condition)

    # ProcessService

    async def CheckKey(
        self, request: process_pb2.CheckKeyRequest, context: Context
    ) -> process_pb2.CheckKeyResponse:
        """Answer for a known key with the scope."""
        self.keys_checked += 1
        name = await self._admit(context, request.scope)
        async with self.changed:
            self.changed.notify_all()
        scopes = next(scopes for key, scopes in self.keys.items() if key == name)
        return process_pb2.CheckKeyResponse(name=name, scopes=sorted(scopes))

    async def Enqueue(
        self, request: process_pb2.EnqueueRequest, context: Context
    ) -> process_pb2.EnqueueResponse:
        """Check what the tests lean on, then create the process and owe `accepted`."""
        await self._admit(context, "submit")
        await self._break(context)
        self.enqueued.append(request)
        invalid = grpc.StatusCode.INVALID_ARGUMENT
        if request.capability not in {"keyword_warmup", "fyp_warmup", "maintenance"}:
            await refuse(
                context, invalid, f"unknown_capability:{request.capability}", "no such capability"
            )
        account = request.target.account_id
        if account and account != ACCOUNT:
            violation = ("target.account_id", "is not known")
            await refuse(
                context,
                grpc.StatusCode.NOT_FOUND,
                f"unknown_account:{account}",
                "no such account",
                violation,
            )
        inputs = json.loads(request.inputs_json)
        for index, step in enumerate(inputs.get("steps", ())):
            if step["action"] != "edit_profile":
                violation = (f"inputs.steps[{index}].action", "must be edit_profile")
                reason = f"unsupported_action:{step['action']}"
                await refuse(context, invalid, reason, "no such action", violation)
        key = (request.capability, request.requested_by.system, request.request_id)
        body = request.SerializeToString(deterministic=True)
        if key in self.requests:
            process_id, first = self.requests[key]
            return process_pb2.EnqueueResponse(
                process_id=process_id,
                request_id=request.request_id,
                process_type=request.capability,
                duplicate=True,
                process_status=self.processes[process_id].status,
                request_differs=first != body,
            )
        answer = process_pb2.EnqueueResponse(
            request_id=request.request_id, process_type=request.capability, items_planned=1
        )
        if request.dry_run:
            return answer
        process_id = self.add_process(url=request.callback.url, request_id=request.request_id)
        process = self.processes[process_id]
        process.process_type = request.capability
        process.requested_by.CopyFrom(request.requested_by)
        process.callback.CopyFrom(request.callback)
        process.target_account_id = account
        process.timestamps.accepted_at.CopyFrom(process.timestamps.created_at)
        self.requests[key] = (process_id, body)
        await self.owe(process_id, "accepted")
        answer.process_id, answer.process_status = process_id, "queued"
        return answer

    async def GetProcess(
        self, request: process_pb2.GetProcessRequest, context: Context
    ) -> process_pb2.Process:
        """Return a process."""
        await self._admit(context, "read")
        await self._break(context)
        return await self._process(request.process_id, context)

    async def ListProcesses(
        self, request: process_pb2.ListProcessesRequest, context: Context
    ) -> process_pb2.ListProcessesResponse:
        """Return the newest first; a cursor is the id of the last one of the page before."""
        await self._admit(context, "read")
        self.listed.append(request)
        kept = [
            process
            for process in reversed(self.processes.values())
            if not request.statuses or process.status in request.statuses
        ]
        if request.cursor:
            places = [place for place, one in enumerate(kept) if one.process_id == request.cursor]
            if not places:
                code = grpc.StatusCode.INVALID_ARGUMENT
                wrong = ("cursor", "is none of ours")
                await refuse(context, code, "invalid_request", "a strange cursor", wrong)
            kept = kept[places[0] + 1 :]
        limit = request.limit or 50
        answer = process_pb2.ListProcessesResponse(processes=kept[:limit])
        if len(kept) > limit:
            answer.next_cursor = kept[limit - 1].process_id
        return answer

    async def CancelProcess(
        self, request: process_pb2.CancelProcessRequest, context: Context
    ) -> process_pb2.CancelProcessResponse:
        """Cancel what is queued; wish it for what executes."""
        await self._admit(context, "cancel")
        process = await self._process(request.process_id, context)
        self.cancels.append(request)
        answer = process_pb2.CancelProcessResponse(
            process_id=process.process_id, termination_status="not_needed"
        )
        if process.status in _TERMINAL:
            answer.status = "ignored_terminal"
        elif process.status == "executing":
            is_hard = request.strategy == process_pb2.CANCEL_STRATEGY_HARD
            answer.status = "cancel_requested"
            answer.active_queue_item_ids.extend(process.queue_item_ids)
            answer.active_queue_item_id = process.queue_item_ids[0]
            answer.active_phone_id = process.target_phone_id
            answer.active_account_id = process.target_account_id
            answer.termination_status = "issued" if is_hard else "scheduled"
            answer.terminate_issued = is_hard
            answer.container = "run-1"
        else:
            process.status = "cancelled"
            answer.status = "cancel_requested"
            answer.cancelled_queue_item_ids.extend(process.queue_item_ids)
        answer.process_status = process.status
        return answer

    # CallbackService

    async def LeaseDeliveries(
        self, request: callback_pb2.LeaseDeliveriesRequest, context: Context
    ) -> callback_pb2.LeaseDeliveriesResponse:
        """Lend the oldest unsettled delivery of each process, waiting for the first."""
        await self._admit_gateway(context)
        async with self.changed:
            self.lease_calls += 1
            self.signs = request.signs if request.HasField("signs") else None
            self.changed.notify_all()
        until = time.monotonic() + request.wait_seconds
        while True:
            now = time.monotonic()
            due = self._due(now)[: request.limit]
            if due or now >= until:
                break
            async with self.changed:
                owed = [one for one in self.outbox if not one.settled]
                waking = min([until, *(max(o.not_before, o.leased_until) for o in owed)])
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(max(waking - now, 0.01)):
                        await self.changed.wait()
        if due:
            self.lent_in_call = self.lease_calls
        for one in due:
            one.attempts += 1
            one.lease_token = str(uuid.uuid4())
            one.leased_until = now + self.lease_seconds
            one.message.attempt = one.attempts
            one.message.lease_token = one.lease_token
        return callback_pb2.LeaseDeliveriesResponse(deliveries=[one.message for one in due])

    async def ReportDeliveries(
        self, request: callback_pb2.ReportDeliveriesRequest, context: Context
    ) -> callback_pb2.ReportDeliveriesResponse:
        """Settle what is reported under a live lease."""
        await self._admit_gateway(context)
        if self.reports_refused:
            self.reports_refused -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "try again")
        taken = []
        async with self.changed:
            for report in request.reports:
                owed = next(
                    (o for o in self.outbox if o.message.delivery_id == report.delivery_id), None
                )
                if owed is None or owed.settled or owed.lease_token != report.lease_token:
                    continue
                taken.append(report.delivery_id)
                self._settle(owed, report)
            self.changed.notify_all()
        return callback_pb2.ReportDeliveriesResponse(settled_delivery_ids=taken)

    def _settle(self, owed: Owed, report: callback_pb2.DeliveryReport) -> None:
        owed.reports.append(report)
        owed.leased_until = 0
        match report.outcome:
            case callback_pb2.DELIVERY_OUTCOME_DELIVERED:
                owed.settled = True
            case callback_pb2.DELIVERY_OUTCOME_GONE:
                for other in self.outbox:
                    other.settled |= other.message.process_id == owed.message.process_id
            case _:
                owed.not_before = time.monotonic() + self.retry_seconds

    def _due(self, now: float) -> list[Owed]:
        oldest: dict[str, Owed] = {}
        for one in self.outbox:
            if not one.settled:
                oldest.setdefault(one.message.process_id, one)
        return [o for o in oldest.values() if o.leased_until <= now and o.not_before <= now]

    async def _process(self, process_id: str, context: Context) -> process_pb2.Process:
        process = self.processes.get(process_id)
        if process is None:
            code = grpc.StatusCode.NOT_FOUND
            await refuse(context, code, "unknown_process", "there is no such process")
        return process

    async def _admit_gateway(self, context: Context) -> dict[str, Any]:
        given: dict[str, Any] = dict(context.invocation_metadata() or ())
        if given.get("x-phonefarm-gateway-token") != self.token:
            code = grpc.StatusCode.UNAUTHENTICATED
            await refuse(context, code, self.refusal, "another token is known")
        return given

    async def _admit(self, context: Context, scope: str) -> str:
        given = await self._admit_gateway(context)
        self.metadata_seen.append(given)
        if not self.keys:
            code = grpc.StatusCode.FAILED_PRECONDITION
            await refuse(context, code, "no_secret_configured", "set INGEST_SECRET or make a key")
        key = given.get("authorization", "").removeprefix("Bearer ")
        if key not in self.keys:
            code = grpc.StatusCode.UNAUTHENTICATED
            await refuse(context, code, "unauthenticated", "the key is missing or wrong")
        if scope not in self.keys[key]:
            code = grpc.StatusCode.PERMISSION_DENIED
            await refuse(context, code, f"insufficient_scope:{scope}", f"the key may not {scope}")
        return str(key)

    async def _break(self, context: Context) -> None:
        if self.crash_next:
            self.crash_next = False
            await context.abort(grpc.StatusCode.UNKNOWN, "Unexpected: secret-internal-detail")
        if self.next_refusal is not None:
            code, reason, message, violations = self.next_refusal
            self.next_refusal = None
            await refuse(context, code, reason, message, *violations)
