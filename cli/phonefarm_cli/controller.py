"""A client of the controller: the fleet and the processes, with errors made for people."""

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import grpc
import grpc.aio
from google.rpc import error_details_pb2, status_pb2
from phonefarm.v1 import fleet_pb2, fleet_pb2_grpc, process_pb2, process_pb2_grpc
from phonefarm_common.channel import bearer, open_channel
from phonefarm_common.config import address
from phonefarm_common.timers import Timers

from phonefarm_cli.failure import CommandError, ExitCode

CALL_SECONDS = 10.0
_SILENT = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})

_T = TypeVar("_T")


class UnreachableError(CommandError):
    """The controller does not answer at all."""


class Controller:
    """A channel to one controller, and the caller's key."""

    def __init__(self, channel: grpc.aio.Channel, target: str, key: str) -> None:
        self._target = target
        self._options: Any = {"metadata": bearer(key), "timeout": CALL_SECONDS}
        self._fleet = fleet_pb2_grpc.FleetServiceStub(channel)
        self._processes = process_pb2_grpc.ProcessServiceStub(channel)

    @classmethod
    @asynccontextmanager
    async def opened(cls, target: str, key: str) -> "AsyncIterator[Controller]":
        """Yield a client of the controller at HOST:PORT; nothing is dialled yet."""
        address(target, name="--grpc")
        try:
            channel = open_channel(target, Timers())
        except ValueError as error:
            raise CommandError(f"--grpc: {error}", ExitCode.MISUSED) from error
        async with channel:
            yield cls(channel, target, key)

    async def phones(self) -> list[fleet_pb2.Phone]:
        """Return every phone, by id."""
        request = fleet_pb2.ListPhonesRequest()
        answer = await self._answer(self._fleet.ListPhones(request, **self._options))
        return list(answer.phones)

    async def admit(self, phone_id: str) -> None:
        """Take a new phone into service."""
        request = fleet_pb2.AdmitPhoneRequest(phone_id=phone_id)
        await self._answer(self._fleet.AdmitPhone(request, **self._options))

    async def give_back(self, phone_id: str, reason: str) -> fleet_pb2.Phone:
        """End a phone's quarantine; the reason is kept."""
        request = fleet_pb2.ReturnPhoneRequest(phone_id=phone_id, reason=reason)
        return await self._answer(self._fleet.ReturnPhone(request, **self._options))

    async def accounts(self) -> list[fleet_pb2.Account]:
        """Return every account, by id."""
        request = fleet_pb2.ListAccountsRequest()
        answer = await self._answer(self._fleet.ListAccounts(request, **self._options))
        return list(answer.accounts)

    async def put_account(self, account: fleet_pb2.Account) -> fleet_pb2.Account:
        """Create or replace an account."""
        request = fleet_pb2.PutAccountRequest(account=account)
        return await self._answer(self._fleet.PutAccount(request, **self._options))

    async def processes(self, limit: int, statuses: list[str]) -> list[process_pb2.Process]:
        """Return the newest processes."""
        request = process_pb2.ListProcessesRequest(limit=limit, statuses=statuses)
        answer = await self._answer(self._processes.ListProcesses(request, **self._options))
        return list(answer.processes)

    async def process(self, process_id: str) -> process_pb2.Process:
        """Return one process."""
        request = process_pb2.GetProcessRequest(process_id=process_id)
        return await self._answer(self._processes.GetProcess(request, **self._options))

    async def cancel(
        self, request: process_pb2.CancelProcessRequest
    ) -> process_pb2.CancelProcessResponse:
        """Ask for a process to end."""
        return await self._answer(self._processes.CancelProcess(request, **self._options))

    async def _answer(self, call: Awaitable[_T]) -> _T:
        try:
            return await call
        except grpc.aio.AioRpcError as error:
            raise self._explained(error) from error

    def _explained(self, error: grpc.aio.AioRpcError) -> CommandError:
        reason, problems = _details(error)
        if error.code() in _SILENT and not reason:
            return UnreachableError(
                f"the controller at {self._target} does not answer; does the farm run?"
            )
        if error.code() is grpc.StatusCode.UNAUTHENTICATED:
            return CommandError(
                f"the controller at {self._target} does not know this key: give the one from "
                "up.json (--data), or --key, or PHONEFARM_KEY"
            )
        told = "".join(f"\n  {field}: {text}" for field, text in problems)
        return CommandError(f"{reason or error.code().name.lower()}: {error.details()}{told}")


def _details(error: grpc.aio.AioRpcError) -> tuple[str, list[tuple[str, str]]]:
    """Return the whole reason, and what is wrong with which field."""
    reason, problems = "", []
    # The stubs describe the synchronous API's metadata; this one has pairs.
    trailing: Any = error.trailing_metadata() or ()
    for name, value in trailing:
        if name != "grpc-status-details-bin" or not isinstance(value, bytes):
            continue
        for packed in status_pb2.Status.FromString(value).details:
            info, request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
            if packed.Unpack(info):
                reason = info.reason
            elif packed.Unpack(request):
                problems += [(v.field, v.description) for v in request.field_violations]
    return reason, problems
