"""How soon a deed at one controller is known at another, on one PostgreSQL; for `make bench`.

An agent speaks with the second controller. A caller enqueues and cancels at the first one and
watches at the second: each is measured from the call to what the agent or the watcher is told, one
process at a time.
"""

import asyncio
import statistics
import time
from dataclasses import dataclass, field
from typing import Any

from bench_load import KEY, InstantAgent, instant_agents, request
from phonefarm.v1 import agent_pb2 as pb
from phonefarm.v1 import inspect_pb2, inspect_pb2_grpc, process_pb2, process_pb2_grpc
from phonefarm_common.channel import bearer, open_channel
from phonefarm_common.timers import Timers


@dataclass
class StoppedAgent(InstantAgent):
    """An agent that holds what it is given until it is told to stop."""

    stopped: dict[str, float] = field(default_factory=dict)  # run id -> when told

    async def _hear(self, call: Any, message: pb.ControllerMessage) -> None:
        await super()._hear(call, message)
        match message.WhichOneof("body"):
            case "stops":
                await self._stop(call, message.stops.stops)
            case "desired":
                await self._stop(call, message.desired.stops)
            case _:
                pass

    async def _stop(self, call: Any, stops: Any) -> None:
        now = time.perf_counter()
        for stop in stops:
            run_id = stop.run.run_id
            assignment = self._held.get(run_id)
            if assignment is None or run_id in self.stopped:
                continue
            self.stopped[run_id] = now
            self._unacknowledged[run_id] = (2, assignment.serialno)
            records = [
                pb.RunRecord(
                    run=stop.run,
                    sequence=1,
                    run_ended=pb.RunEnded(outcome=pb.RUN_OUTCOME_STOPPED, exit_code=3),
                ),
                pb.RunRecord(run=stop.run, sequence=2, phone_released=pb.PhoneReleased(clean=True)),
            ]
            await self._say(call, pb.AgentMessage(run_records=pb.RunRecords(records=records)))
        self.changed.set()

    def run_of(self, process_id: str) -> str:
        """Return the run that it holds for a process."""
        return next(run for run, given in self._held.items() if given.process_id == process_id)


async def crossings(here: str, there: str, *, samples: int) -> dict[str, Any]:
    """Return milliseconds at p50 and p99 of enqueue, cancel and watch, from *here* to *there*."""
    seen: dict[str, list[float]] = {"enqueue": [], "cancel": [], "watch": []}
    near, far = open_channel(here, Timers()), open_channel(there, Timers())
    processes: Any = process_pb2_grpc.ProcessServiceStub(near)
    inspect: Any = inspect_pb2_grpc.InspectServiceStub(far)
    async with instant_agents(there, agents=1, phones=1, hold=True, kind=StoppedAgent) as (agent,):
        assert isinstance(agent, StoppedAgent)  # noqa: S101 - it was asked for
        for _ in range(samples):
            finished = agent.finished
            begun = time.perf_counter()
            process_id = (await processes.Enqueue(request(), metadata=bearer(KEY))).process_id
            while process_id not in agent.received:
                await _changed(agent)
            seen["enqueue"].append(agent.received[process_id] - begun)
            run_id = agent.run_of(process_id)

            wanted = inspect_pb2.WatchProcessRequest(process_id=process_id)
            watch = inspect.WatchProcess(wanted, metadata=bearer(KEY))
            await watch.read()
            told = asyncio.create_task(_next(watch))
            begun = time.perf_counter()
            await processes.CancelProcess(
                process_pb2.CancelProcessRequest(
                    process_id=process_id,
                    reason="bench",
                    requested_by="bench",
                    strategy=process_pb2.CANCEL_STRATEGY_HARD,
                ),
                metadata=bearer(KEY),
            )
            seen["watch"].append(await told - begun)
            while run_id not in agent.stopped or agent.finished == finished:
                await _changed(agent)
            seen["cancel"].append(agent.stopped[run_id] - begun)
            watch.cancel()
    await near.close(None)
    await far.close(None)
    return {
        f"{name}_ms": {
            "p50": round(statistics.median(values) * 1000, 2),
            "p99": round(statistics.quantiles(values, n=100)[98] * 1000, 2),
            "samples": len(values),
        }
        for name, values in seen.items()
    }


async def _changed(agent: InstantAgent) -> None:
    agent.changed.clear()
    await agent.changed.wait()


async def _next(watch: Any) -> float:
    """Return when the watcher is told of the next move."""
    await watch.read()
    return time.perf_counter()
