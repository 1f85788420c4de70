"""The floor for `make bench`: the least program that can serve bench_load and keep its rows.

It decides and checks nothing: the oldest request gets any free phone; no key, no fence, no expiry.
But it speaks the same messages through grpc.aio, and writes the same rows into the controller's own
schema, with prepared statements of SQLite's driver and as safely: whatever came meanwhile is one
transaction, its commit waits for the disk in a thread, and answers follow the commit. A controller
of this design, in Python and in one process, cannot need less.
"""

import argparse
import asyncio
import json
import signal
import sqlite3
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import bench_floor_rows as rows
import grpc
import grpc.aio
from phonefarm.v1 import agent_pb2 as pb
from phonefarm.v1 import fleet_pb2, process_pb2
from phonefarm_common.channel import server_options
from phonefarm_common.clock import SystemClock
from phonefarm_common.timers import Timers
from phonefarm_controller.app.controller import store_app_profiles
from phonefarm_controller.capabilities.catalog import CAPABILITIES, planned_inputs
from phonefarm_controller.store.migrate import open_migrated

APP: Final = "shortvideo"
YEAR_MICROS: Final = 365 * 24 * 3600 * 1_000_000


@dataclass(eq=False)
class _Work:
    """One process with its one item, as far as it has come."""

    process_id: str
    request_id: str
    item_id: str
    url: str
    phone: str = ""
    lease_id: str = ""


@dataclass(eq=False)
class _Stream:
    """One agent's stream. After the Welcome, only the writer writes to it."""

    agent_id: str
    context: Any
    phone_ids: dict[str, str]
    verdicts: list[pb.StartVerdict] = field(default_factory=list)
    acks: list[pb.RecordAck] = field(default_factory=list)
    assignments: list[pb.Assignment] = field(default_factory=list)
    beats: list[int] = field(default_factory=list)

    async def answer(self) -> None:
        """Send what was committed, a message of each kind."""
        message = pb.ControllerMessage
        told = [message(heartbeat_ack=pb.HeartbeatAck(number=number)) for number in self.beats]
        if self.verdicts:
            told.append(message(start_verdicts=pb.StartVerdicts(verdicts=self.verdicts)))
        if self.acks:
            told.append(message(record_acks=pb.RecordAcks(acks=self.acks)))
        if self.assignments:
            told.append(message(assignments=pb.Assignments(assignments=self.assignments)))
        self.verdicts, self.acks, self.assignments, self.beats = [], [], [], []
        for each in told:
            await self.context.write(each)


_Heard = tuple[_Stream, pb.AgentMessage]
_Asked = tuple[process_pb2.EnqueueRequest, "asyncio.Future[process_pb2.EnqueueResponse]"]


class Floor:
    """Serves what the load calls of three services."""

    def __init__(
        self, connection: sqlite3.Connection, *, plan: str, profile: tuple[str, str]
    ) -> None:
        self._connection = connection
        self._plan = plan
        self._version, profile_json = profile
        self._plan_json = f'{{"profile": {profile_json}, {plan[1:]}'
        self._actions = len(json.loads(plan)["actions"])
        self._asked: list[_Asked] = []
        self._heard: list[_Heard] = []
        self._arrived = asyncio.Event()
        self._waiting: deque[_Work] = deque()
        self._free: dict[str, _Stream] = {}  # by serial number
        self._busy: set[str] = set()
        self._epochs: dict[str, int] = {}
        self._runs: dict[str, _Work] = {}
        self._rows: dict[str, list[tuple[Any, ...]]] = {sql: [] for sql in rows.STATEMENTS}
        self._now = 0

    def handlers(self) -> "list[grpc.GenericRpcHandler[Any, Any]]":
        """Return the methods that the load calls, of three services."""
        processes = grpc.unary_unary_rpc_method_handler(
            self.enqueue,
            process_pb2.EnqueueRequest.FromString,
            process_pb2.EnqueueResponse.SerializeToString,
        )
        agents = grpc.stream_stream_rpc_method_handler(
            self.session, pb.AgentMessage.FromString, pb.ControllerMessage.SerializeToString
        )
        admit = grpc.unary_unary_rpc_method_handler(
            self.admit_phone,
            fleet_pb2.AdmitPhoneRequest.FromString,
            fleet_pb2.Phone.SerializeToString,
        )
        put = grpc.unary_unary_rpc_method_handler(
            self.put_account,
            fleet_pb2.PutAccountRequest.FromString,
            fleet_pb2.Account.SerializeToString,
        )
        made = grpc.method_handlers_generic_handler
        return [
            made("phonefarm.v1.ProcessService", {"Enqueue": processes}),
            made("phonefarm.v1.AgentService", {"Session": agents}),
            made("phonefarm.v1.FleetService", {"AdmitPhone": admit, "PutAccount": put}),
        ]

    async def admit_phone(
        self, request: fleet_pb2.AdmitPhoneRequest, context: Any
    ) -> fleet_pb2.Phone:
        """Answer; every phone is in service from its hello on."""
        return fleet_pb2.Phone(phone_id=request.phone_id)

    async def put_account(
        self, request: fleet_pb2.PutAccountRequest, context: Any
    ) -> fleet_pb2.Account:
        """Answer; the name of the account follows from the phone."""
        return request.account

    async def enqueue(
        self, request: process_pb2.EnqueueRequest, context: Any
    ) -> process_pb2.EnqueueResponse:
        """Answer after the commit."""
        future: asyncio.Future[process_pb2.EnqueueResponse] = asyncio.Future()
        self._asked.append((request, future))
        self._arrived.set()
        return await future

    async def session(self, request_iterator: AsyncIterator[pb.AgentMessage], context: Any) -> None:
        """Hear one agent until its stream ends."""
        hello = (await context.read()).hello
        names = {phone.serialno: f"ph-{phone.serialno.lower()}" for phone in hello.phones}
        stream = _Stream(hello.agent_id, context, names)
        fit = [
            (phone_id, serial, hello.agent_id, serial, *rows.FIT)
            for serial, phone_id in names.items()
        ]
        self._rows[rows.PHONE] += fit
        known = [pb.PhoneName(serialno=serial, phone_id=name) for serial, name in names.items()]
        welcome = pb.Welcome(term=1, phones=known)
        await context.write(pb.ControllerMessage(welcome=welcome))
        while isinstance(message := await context.read(), pb.AgentMessage):
            self._heard.append((stream, message))
            self._arrived.set()

    async def run(self) -> None:
        """Write and answer what came, until cancelled."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            asked, self._asked = self._asked, []
            heard, self._heard = self._heard, []
            self._now = time.time_ns() // 1000
            answers = [(future, self._accept(request)) for request, future in asked]
            for stream, message in heard:
                self._take(stream, message)
            streams = {stream for stream, _ in heard} | self._match()
            self._execute()
            await asyncio.to_thread(self._connection.commit)
            for future, answer in answers:
                future.set_result(answer)
            for stream in streams:
                await stream.answer()

    def _execute(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        for sql, written in self._rows.items():
            if written:
                self._connection.executemany(sql, written)
                written.clear()

    def _accept(self, request: process_pb2.EnqueueRequest) -> process_pb2.EnqueueResponse:
        process_id, item_id, now = str(uuid.uuid4()), str(uuid.uuid4()), self._now
        url, kind = request.callback.url, request.capability
        work = _Work(process_id, request.request_id, item_id, url)
        target = '{"routing": "queue"}'
        self._rows[rows.PROCESS].append(
            (
                *(process_id, kind, request.request_id, request.requested_by.system, "{}"),
                *("manual", "0" * 64, target, request.inputs_json, url, "{}"),
                *(0, 1, "PLANNED", now, 1),
            )
        )
        self._rows[rows.ITEM].append(
            (
                *(item_id, process_id, 0, kind, APP, "QUEUED", 5, now, now, 1),
                *(now + YEAR_MICROS, 0, self._plan, self._actions, "[]", 300.0),
                *(self._version, 0, 0, 0, 0, 0, "[]", 0),
            )
        )
        self._moved(work, None, "QUEUED", None, "PLANNED", milestone="accepted", sequence=1)
        self._waiting.append(work)
        return process_pb2.EnqueueResponse(
            process_id=process_id,
            request_id=request.request_id,
            process_type=kind,
            process_status="queued",
            items_planned=1,
        )

    def _take(self, stream: _Stream, message: pb.AgentMessage) -> None:
        match message.WhichOneof("body"):
            case "offer":
                free = [serial for serial in message.offer.serialnos if serial not in self._busy]
                self._free.update(dict.fromkeys(free, stream))
            case "runs_started":
                for started in message.runs_started.runs:
                    self._start(stream, started)
            case "run_records":
                for record in message.run_records.records:
                    self._record(stream, record)
            case "heartbeat":
                stream.beats.append(message.heartbeat.number)
                self._rows[rows.RENEW] += [(run.lease_id,) for run in message.heartbeat.runs]
            case _:
                pass

    def _match(self) -> set[_Stream]:
        """Give free phones to what waits; return the streams of their agents."""
        told = set()
        while self._free and self._waiting:
            serial, stream = self._free.popitem()
            self._busy.add(serial)
            self._claim(stream, serial, self._waiting.popleft())
            told.add(stream)
        return told

    def _claim(self, stream: _Stream, serial: str, work: _Work) -> None:
        run_id, lease_id, now = str(uuid.uuid4()), str(uuid.uuid4()), self._now
        phone, account = stream.phone_ids[serial], f"acc-{serial}"
        before = self._epochs.get(phone, 0)
        epoch = self._epochs[phone] = before + 1
        work.phone, work.lease_id = phone, lease_id
        self._runs[run_id] = work
        self._rows[rows.EPOCH].append((epoch, phone, before))
        self._rows[rows.RUN].append(
            (
                *(run_id, work.item_id, 1, phone, account, stream.agent_id, lease_id),
                *(epoch, "CLAIMED", 0, now, ""),
            )
        )
        self._rows[rows.LEASE].append(
            (
                *(lease_id, run_id, work.item_id, work.process_id, phone, account),
                *(stream.agent_id, epoch, "live", 1, 1, 0, now + 400_000_000, now),
            )
        )
        self._rows[rows.CLAIM_ITEM].append((phone, account, run_id, lease_id, epoch, work.item_id))
        self._rows[rows.CLAIM_PROCESS].append((work.process_id,))
        self._moved(work, "QUEUED", "CLAIMED", "PLANNED", "CLAIMED")
        ref = pb.RunRef(
            run_id=run_id, item_id=work.item_id, attempt=1, lease_id=lease_id, epoch=epoch
        )
        stream.assignments.append(
            pb.Assignment(
                run=ref,
                process_id=work.process_id,
                phone_id=phone,
                serialno=serial,
                account_id=account,
                capability="keyword_warmup",
                plan_json=self._plan_json,
                cap_seconds=300.0,
            )
        )

    def _start(self, stream: _Stream, started: pb.RunStarted) -> None:
        work = self._runs[started.run.run_id]
        self._rows[rows.START_ITEM].append((work.item_id,))
        self._rows[rows.START_RUN].append((started.container, self._now, started.run.run_id))
        self._rows[rows.START_PROCESS].append((self._now, work.process_id))
        moves = ("CLAIMED", "EXECUTING") * 2
        self._moved(work, *moves, milestone="executing", sequence=2)
        go = pb.Go(asked_at=started.asked_at, seconds_left=3600.0)
        stream.verdicts.append(pb.StartVerdict(run=started.run, go=go))

    def _record(self, stream: _Stream, record: pb.RunRecord) -> None:
        run, kind, now = record.run, record.WhichOneof("body") or "", self._now
        done = record.action_done
        body = (
            f'{{"index": {done.index}, "kind": "{done.kind}", "outputs": "{{}}", "seconds": 0.1}}'
        )
        self._rows[rows.RESULT].append((run.run_id, run.epoch, record.sequence, kind, body, 0, now))
        if kind != "phone_released":
            return
        work = self._runs.pop(run.run_id)
        self._rows[rows.END_ITEM].append((self._actions, "{}", now, work.item_id))
        self._rows[rows.END_RUN].append((record.sequence, now, run.run_id))
        self._rows[rows.END_LEASE].append((now, work.lease_id))
        self._rows[rows.END_PROCESS].append((now, work.process_id))
        moves = ("EXECUTING", "DONE") * 2
        self._moved(work, *moves, milestone="completed", sequence=3)
        self._busy.discard(work.phone.removeprefix("ph-").upper())
        ack = pb.RecordAck(run_id=run.run_id, epoch=run.epoch, sequence=record.sequence)
        stream.acks.append(ack)

    def _moved(
        self,
        work: _Work,
        item_was: str | None,
        item_is: str,
        process_was: str | None,
        process_is: str,
        *,
        milestone: str = "",
        sequence: int = 0,
    ) -> None:
        now, process_id, item_id = self._now, work.process_id, work.item_id
        attempt, phone = int(bool(work.phone)), work.phone or None
        self._rows[rows.TRANSITION] += [
            (process_id, item_id, now, item_was, item_is, "floor", "floor", attempt, phone, phone),
            (process_id, None, now, process_was, process_is, "floor", "floor", 0, None, None),
        ]
        if milestone:
            record = rows.record_json(
                process_id=process_id,
                request_id=work.request_id,
                item_id=item_id,
                url=work.url,
                phone=work.phone,
                state=process_is,
                now=now,
            )
            self._rows[rows.DELIVERY].append(
                (
                    *(f"msg_{uuid.uuid4()}", process_id, sequence, milestone, now),
                    *(work.url, work.url, record, "pending", 0, now),
                )
            )


async def _prepare(path: Path) -> tuple[str, tuple[str, str]]:
    """Make the controller's schema; return a plan, and the version and JSON of its profile."""
    async with open_migrated(f"sqlite:///{path}", SystemClock()) as database:
        profile = (await store_app_profiles(database, path.parent / "profiles"))[APP]
    inputs = {"app": APP, "keywords": ["x"], "videos_per_keyword": 1}
    planned = planned_inputs(CAPABILITIES["keyword_warmup"], inputs, dummy_allowed=True)
    return planned.plan.to_json(), (profile.version, profile.json)


async def serve(folder: Path, ready: Path) -> None:
    """Serve on a free port, which *ready* then names, until SIGTERM."""
    path = folder / "farm.db"
    plan, profile = await _prepare(path)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    # As the controller's: store/database.
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute("PRAGMA cache_size = -65536")
    floor = Floor(connection, plan=plan, profile=profile)
    server = grpc.aio.server(options=server_options(Timers()))
    server.add_generic_rpc_handlers(floor.handlers())
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    writer = asyncio.create_task(floor.run())
    await asyncio.to_thread(ready.write_text, json.dumps({"grpc": f"127.0.0.1:{port}"}))
    await asyncio.wait(
        {writer, asyncio.create_task(stop.wait())}, return_when=asyncio.FIRST_COMPLETED
    )
    if writer.done():
        writer.result()
    writer.cancel()
    await server.stop(0)
    connection.close()


def main() -> None:
    """Serve the floor."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder of its database")
    parser.add_argument("--ready-file", type=Path, required=True, help="written once it serves")
    options = parser.parse_args()
    asyncio.run(serve(options.data, options.ready_file))


if __name__ == "__main__":
    main()
