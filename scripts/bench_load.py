"""A load for `make bench`: a caller, and agents whose runs end at once.

The agents speak AgentService as real ones do, many phones on a stream, and act out every action of
a plan as a pair of records; nothing happens on a phone. What is measured is the controller.
"""

import asyncio
import json
import os
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc.aio
from phonefarm.v1 import agent_pb2 as pb
from phonefarm.v1 import (
    agent_pb2_grpc,
    fleet_pb2,
    fleet_pb2_grpc,
    process_pb2,
    process_pb2_grpc,
)
from phonefarm_common.channel import bearer, open_channel
from phonefarm_common.ids import PROTOCOL_VERSION
from phonefarm_common.timers import Timers

KEY, AGENT_TOKEN, GATEWAY_TOKEN = "bench-key", "bench-agent", "bench-gateway"
HEARTBEAT_SECONDS = 5.0


@dataclass
class InstantAgent:
    """An agent whose every run does everything well, at once."""

    agent_id: str
    phones: list[str]
    hold: bool = False  # do not start what is assigned; for latency
    received: dict[str, float] = field(default_factory=dict)  # process id -> when assigned
    finished: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    over: str = ""  # why the conversation ended, once it has
    _busy: set[str] = field(default_factory=set)
    _held: dict[str, pb.Assignment] = field(default_factory=dict)
    _offers: int = 0
    _writing: asyncio.Lock = field(default_factory=asyncio.Lock)
    _unacknowledged: dict[str, tuple[int, str]] = field(default_factory=dict)

    async def live(self, target: str) -> None:
        """Talk with the controller until cancelled; `over` tells why it ended by itself."""
        try:
            await self._talk(target)
            self.over = "the controller ended the stream"
        except grpc.aio.AioRpcError as error:
            self.over = f"{error.code().name}: {error.details()}"
        self.changed.set()

    async def _talk(self, target: str) -> None:
        channel = open_channel(target, Timers())
        try:
            stub: Any = agent_pb2_grpc.AgentServiceStub(channel)
            call = stub.Session(metadata=bearer(AGENT_TOKEN))
            await self._say(call, pb.AgentMessage(hello=self._hello()))
            beat = asyncio.create_task(self._beat(call))
            try:
                while isinstance(message := await call.read(), pb.ControllerMessage):
                    await self._hear(call, message)
            finally:
                beat.cancel()
        finally:
            await channel.close(None)

    def _hello(self) -> pb.Hello:
        reports = [
            pb.PhoneReport(
                serialno=serial,
                adb_serial=serial,
                transport=pb.TRANSPORT_ONLINE,
                readiness=pb.READINESS_READY,
            )
            for serial in self.phones
        ]
        return pb.Hello(
            agent_id=self.agent_id,
            boot_id="bench",
            incarnation=1,
            protocol_version=PROTOCOL_VERSION,
            agent_version="bench",
            phones=reports,
            time_scale=1.0,
        )

    async def _say(self, call: Any, message: pb.AgentMessage) -> None:
        """Write one message; gRPC ends a call that is written to twice at once."""
        async with self._writing:
            await call.write(message)

    async def _beat(self, call: Any) -> None:
        number = 0
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            number += 1
            runs = [assignment.run for assignment in self._held.values()]
            await self._say(call, pb.AgentMessage(heartbeat=pb.Heartbeat(number=number, runs=runs)))
            await self.offer(call)

    async def offer(self, call: Any) -> None:
        """Offer every phone that has nothing to do."""
        self._offers += 1
        free = [serial for serial in self.phones if serial not in self._busy]
        await self._say(call, pb.AgentMessage(offer=pb.Offer(number=self._offers, serialnos=free)))

    async def _hear(self, call: Any, message: pb.ControllerMessage) -> None:
        match message.WhichOneof("body"):
            case "welcome":
                self.changed.set()
                await self.offer(call)
            case "assignments":
                await self._begin(call, list(message.assignments.assignments))
            case "desired":
                unseen = [a for a in message.desired.claimed if a.run.run_id not in self._held]
                await self._begin(call, unseen)
            case "start_verdicts":
                await self._act(call, [v.run for v in message.start_verdicts.verdicts])
            case "record_acks":
                await self._acknowledged(call, message.record_acks.acks)
            case _:
                pass

    async def _begin(self, call: Any, assignments: list[pb.Assignment]) -> None:
        now = time.perf_counter()
        for assignment in assignments:
            self._busy.add(assignment.serialno)
            self._held[assignment.run.run_id] = assignment
            self.received[assignment.process_id] = now
        self.changed.set()
        if assignments and not self.hold:
            started = [pb.RunStarted(run=a.run, container="bench") for a in assignments]
            await self._say(call, pb.AgentMessage(runs_started=pb.RunsStarted(runs=started)))

    async def _act(self, call: Any, runs: list[pb.RunRef]) -> None:
        records = []
        for run in runs:
            assignment = self._held.get(run.run_id)
            if assignment is None:
                continue
            made = _records(assignment)
            self._unacknowledged[run.run_id] = (len(made), assignment.serialno)
            records += made
        await self._say(call, pb.AgentMessage(run_records=pb.RunRecords(records=records)))

    async def _acknowledged(self, call: Any, acks: Any) -> None:
        done = 0
        for ack in acks:
            last, serial = self._unacknowledged.get(ack.run_id, (0, ""))
            if last and ack.sequence >= last:
                del self._unacknowledged[ack.run_id]
                del self._held[ack.run_id]
                self._busy.discard(serial)
                done += 1
        self.finished += done
        if done:
            self.changed.set()
            await self.offer(call)


def _records(assignment: pb.Assignment) -> list[pb.RunRecord]:
    run = assignment.run
    records: list[dict[str, Any]] = []
    for action in json.loads(assignment.plan_json)["actions"]:
        index, kind = action["index"], action["kind"]
        records.append({"action_started": pb.ActionStarted(index=index, kind=kind)})
        done = pb.ActionDone(index=index, kind=kind, outputs_json="{}", seconds=0.1)
        records.append({"action_done": done})
    records.append({"run_ended": pb.RunEnded(outcome=pb.RUN_OUTCOME_DONE, exit_code=0)})
    records.append({"phone_released": pb.PhoneReleased(clean=True)})
    return [
        pb.RunRecord(run=run, sequence=sequence, **body)
        for sequence, body in enumerate(records, start=1)
    ]


def request(target: process_pb2.Target | None = None) -> process_pb2.EnqueueRequest:
    """Return a small request for any phone, without callback."""
    inputs = {"app": "shortvideo", "keywords": ["x"], "videos_per_keyword": 1}
    return process_pb2.EnqueueRequest(
        request_id=str(uuid.uuid4()),
        capability="keyword_warmup",
        mode=process_pb2.MODE_MANUAL,
        target=target or process_pb2.Target(routing=process_pb2.ROUTING_QUEUE),
        inputs_json=json.dumps(inputs),
        requested_by=process_pb2.RequestedBy(system="bench"),
        callback=process_pb2.Callback(url="http://192.0.2.1/"),
    )


@asynccontextmanager
async def instant_agents(
    target: str,
    *,
    agents: int,
    phones: int,
    hold: bool = False,
    kind: type[InstantAgent] = InstantAgent,
) -> AsyncIterator[list[InstantAgent]]:
    """Connect agents with *phones* phones each, admitted and with an account."""
    fleet = [
        kind(agent_id=f"bench-{a}", phones=[f"B{a:02}-{p:03}" for p in range(phones)], hold=hold)
        for a in range(agents)
    ]
    channel = open_channel(target, Timers())
    lives = [asyncio.create_task(agent.live(target)) for agent in fleet]
    try:
        for agent in fleet:
            await agent.changed.wait()
        stub: Any = fleet_pb2_grpc.FleetServiceStub(channel)
        for serial in [serial for agent in fleet for serial in agent.phones]:
            phone_id = f"ph-{serial.lower()}"
            await stub.AdmitPhone(
                fleet_pb2.AdmitPhoneRequest(phone_id=phone_id), metadata=bearer(KEY)
            )
            account = fleet_pb2.Account(
                account_id=f"acc-{serial}", phone_id=phone_id, app="shortvideo", active=True
            )
            await stub.PutAccount(
                fleet_pb2.PutAccountRequest(account=account), metadata=bearer(KEY)
            )
        yield fleet
    finally:
        for life in lives:
            life.cancel()
        await asyncio.gather(*lives, return_exceptions=True)
        await channel.close(None)


async def latencies(target: str, *, samples: int) -> list[float]:
    """Return seconds from the call of Enqueue to the assignment at the agent, one at a time."""
    measured = []
    async with instant_agents(target, agents=1, phones=1) as (agent,):
        channel = open_channel(target, Timers())
        stub: Any = process_pb2_grpc.ProcessServiceStub(channel)
        for _ in range(samples):
            finished = agent.finished
            begun = time.perf_counter()
            answer = await stub.Enqueue(request(), metadata=bearer(KEY))
            while answer.process_id not in agent.received or agent.finished == finished:
                agent.changed.clear()
                await agent.changed.wait()
            measured.append(agent.received[answer.process_id] - begun)
        await channel.close(None)
    return measured


async def lifecycles(
    target: str, *, count: int, agents: int, phones: int, callers: int, pid: int
) -> dict[str, float]:
    """Return how fast *count* processes go from Enqueue to the acknowledged end, all together.

    And the processor time of the server *pid* and of this load, per lifecycle: what they need each,
    however busy the machine is with other things, and the ratio of both.
    """
    async with instant_agents(target, agents=agents, phones=phones) as fleet:
        channel = open_channel(target, Timers())
        stub: Any = process_pb2_grpc.ProcessServiceStub(channel)
        left = iter(range(count))

        async def call() -> None:
            for _ in left:
                await stub.Enqueue(request(), metadata=bearer(KEY))

        begun, spent, own = time.perf_counter(), cpu_seconds(pid), time.process_time()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(callers):
                tasks.create_task(call())
        enqueued = time.perf_counter() - begun
        while sum(agent.finished for agent in fleet) < count:
            for agent in fleet:
                if agent.over:
                    raise RuntimeError(f"{agent.agent_id}: {agent.over}")
            for agent in fleet:
                agent.changed.clear()
            waits = [asyncio.create_task(agent.changed.wait()) for agent in fleet]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()
        seconds = time.perf_counter() - begun
        spent, own = cpu_seconds(pid) - spent, time.process_time() - own
        await channel.close(None)
    return {
        "lifecycles": count,
        "seconds": round(seconds, 3),
        "lifecycles_per_second": round(count / seconds, 1),
        "enqueues_per_second": round(count / enqueued, 1),
        "server_cpu_ms_per_lifecycle": round(spent * 1000 / count, 3),
        "load_cpu_ms_per_lifecycle": round(own * 1000 / count, 3),
        "server_cpu_to_load_cpu": round(spent / own, 2),
    }


def cpu_seconds(pid: int) -> float:
    """Return the processor time, user's and kernel's, that a process has used (proc(5), stat)."""
    # The command's name, in brackets, may hold spaces; utime and stime are fields 14 and 15.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
