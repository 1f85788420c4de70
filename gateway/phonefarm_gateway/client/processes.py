"""ProcessService: enqueue, get, list, cancel; and the check of a key."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import grpc.aio
from phonefarm.schemas import queries, requests
from phonefarm.schemas.acknowledgements import Accepted, Cancelled, DryRun, Duplicate
from phonefarm.schemas.process_record import ProcessRecord
from phonefarm.schemas.responses import ProcessList
from phonefarm.v1 import process_pb2 as pb
from phonefarm.v1 import process_pb2_grpc
from phonefarm_common.reasons import FieldProblem

from phonefarm_gateway.client import convert
from phonefarm_gateway.client.calls import RefusedError, RpcCaller
from phonefarm_gateway.strict_json import dump


@dataclass(frozen=True, kw_only=True)
class KeyIdentity:
    """What the controller calls a key, and what it may do."""

    name: str
    scopes: tuple[str, ...]


class ProcessClient:
    """Enqueues, reads and cancels processes."""

    def __init__(self, channel: grpc.aio.Channel, rpc: RpcCaller) -> None:
        self._stub = process_pb2_grpc.ProcessServiceStub(channel)
        self._rpc = rpc

    async def check_key(self, key: str | None, *, scope: str) -> KeyIdentity:
        """Return the name and scopes of *key* when it has the *scope*; RefusedError otherwise."""
        request = pb.CheckKeyRequest(scope=scope)
        answer = await self._rpc.call(self._stub.CheckKey, request, key=key)
        return KeyIdentity(name=answer.name, scopes=tuple(answer.scopes))

    async def input_problems(
        self, key: str | None, capability: str, inputs: Mapping[str, Any]
    ) -> tuple[FieldProblem, ...]:
        """Return what is wrong with a capability and its inputs; nothing if nobody can tell."""
        request = pb.CheckInputsRequest(capability=capability, inputs_json=dump(inputs))
        try:
            await self._rpc.call(self._stub.CheckInputs, request, key=key)
        except RefusedError as refused:
            return refused.problems
        return ()

    async def enqueue(
        self, key: str | None, body: requests.Enqueue
    ) -> Accepted | Duplicate | DryRun:
        """Submit work; it is committed when this returns."""
        request = convert.enqueue_request(body)
        return convert.accepted(await self._rpc.call(self._stub.Enqueue, request, key=key))

    async def get(self, key: str | None, process_id: str) -> ProcessRecord:
        """Return the process record; RefusedError with UNKNOWN_PROCESS when there is none."""
        request = pb.GetProcessRequest(process_id=process_id)
        return convert.record(await self._rpc.call(self._stub.GetProcess, request, key=key))

    async def page(self, key: str | None, wanted: queries.ProcessFilter) -> ProcessList:
        """Return one page, the newest first, with the cursor of the next."""
        request = convert.list_request(wanted)
        answer = await self._rpc.call(self._stub.ListProcesses, request, key=key)
        return ProcessList(
            processes=tuple(convert.record(process) for process in answer.processes),
            next_cursor=answer.next_cursor or None,
        )

    async def cancel(self, key: str | None, process_id: str, body: requests.Cancel) -> Cancelled:
        """Record the cancel; it does not wait for an agent."""
        request = convert.cancel_request(process_id, body)
        return convert.cancelled(await self._rpc.call(self._stub.CancelProcess, request, key=key))
