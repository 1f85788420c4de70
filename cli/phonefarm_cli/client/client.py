"""The command's client of the controllers: a stub per service, one way to call them."""

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import grpc
import grpc.aio
from phonefarm.v1 import (
    access_pb2_grpc,
    doctor_pb2_grpc,
    fleet_pb2,
    fleet_pb2_grpc,
    inspect_pb2,
    inspect_pb2_grpc,
    operator_pb2_grpc,
    process_pb2_grpc,
    schedule_pb2_grpc,
    verification_pb2_grpc,
)
from phonefarm_common.channel import ClientTls, bearer, check_plaintext, open_channel
from phonefarm_common.clock import SystemClock
from phonefarm_common.endpoints import EndpointSelector, parse_controllers
from phonefarm_common.failover import FailoverChannel
from phonefarm_common.rpc_errors import refusal
from phonefarm_common.timers import Timers

from phonefarm_cli.errors import CommandError, ExitCode

CALL_SECONDS: Final = 10.0
LONG_CALL_SECONDS: Final = 60.0
"""The limit for calls that write a thousand rows or send a file."""

_READS: Final = ("Get", "List", "Find", "Explain", "Watch", "Read")
_SILENT: Final = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})

_Request = TypeVar("_Request")
_Answer = TypeVar("_Answer")


class UnreachableError(CommandError):
    """The controller does not answer."""


class RefusedError(CommandError):
    """The controller refused a call; `reason` is the whole reason, `unknown_process` for example.

    `problems` are the wrong fields, each with a sentence.
    """

    def __init__(self, summary: str, reason: str, problems: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__("".join([summary, *(f"\n  {field}: {text}" for field, text in problems)]))
        self.summary = summary
        self.reason = reason
        self.problems = tuple(problems)


class ControllerClient:
    """Calls the controllers with one key: `call(controller.fleet.AdmitPhone, request)`."""

    def __init__(self, channel: FailoverChannel, target: str, key: str, *, is_plain: bool) -> None:
        stubs = cast("grpc.aio.Channel", channel)
        self.access = access_pb2_grpc.AccessServiceStub(stubs)
        self.doctor = doctor_pb2_grpc.DoctorServiceStub(stubs)
        self.fleet = fleet_pb2_grpc.FleetServiceStub(stubs)
        self.inspection = inspect_pb2_grpc.InspectServiceStub(stubs)
        self.operator = operator_pb2_grpc.OperatorServiceStub(stubs)
        self.processes = process_pb2_grpc.ProcessServiceStub(stubs)
        self.schedules = schedule_pb2_grpc.ScheduleServiceStub(stubs)
        self.verification = verification_pb2_grpc.VerificationServiceStub(stubs)
        self._target = target
        self._is_plain = is_plain
        self._metadata = bearer(key)

    @classmethod
    @asynccontextmanager
    async def opened(
        cls, target: str, key: str, ca: Path | None = None
    ) -> "AsyncIterator[ControllerClient]":
        """Yield a client of the controller at HOST:PORT, or of several with commas.

        It connects with the first call. With *ca*, the farm's authority as PEM, it uses TLS.
        """
        targets = parse_controllers([target], name="--grpc")
        if not key or not all("!" <= char <= "~" for char in key):
            raise CommandError(
                "--key: a key contains only ASCII characters, and no spaces or line breaks",
                ExitCode.MISUSED,
            )
        try:
            secured = _trusting(ca) if ca else None
            for one in targets:
                check_plaintext(one, secured)
        except ValueError as error:
            raise CommandError(
                f"--grpc: {error}; to call a controller on another host, give --ca",
                ExitCode.MISUSED,
            ) from error
        except OSError as error:
            raise CommandError(f"--ca: {error}", ExitCode.MISUSED) from error
        channel = FailoverChannel(
            EndpointSelector(targets, monotonic=SystemClock().monotonic),
            dial=partial(open_channel, timers=Timers(), secured=secured),
            repeatable=_repeatable,
        )
        try:
            yield cls(channel, target, key, is_plain=secured is None)
        finally:
            await channel.close()

    async def call(
        self,
        method: "grpc.aio.UnaryUnaryMultiCallable[_Request, _Answer]",
        request: _Request,
        *,
        seconds: float = CALL_SECONDS,
    ) -> _Answer:
        """Call one method of a stub; CommandError says why there is no answer."""
        try:
            return await method(request, metadata=self._metadata, timeout=seconds)
        except grpc.aio.AioRpcError as error:
            raise self._explained(error) from error

    async def stream(
        self,
        method: "grpc.aio.UnaryStreamMultiCallable[_Request, _Answer]",
        request: _Request,
        *,
        seconds: float | None = None,
    ) -> AsyncIterator[_Answer]:
        """Yield what one method of a stub sends, for as long as it takes or for *seconds*."""
        sent: Any = method(request, metadata=self._metadata, timeout=seconds)
        try:
            async with aclosing(sent) as parts:
                async for part in parts:
                    yield part
        except grpc.aio.AioRpcError as error:
            raise self._explained(error) from error

    async def phones(self) -> list[fleet_pb2.Phone]:
        """Return every phone, by id."""
        return list((await self.call(self.fleet.ListPhones, fleet_pb2.ListPhonesRequest())).phones)

    async def accounts(self) -> list[fleet_pb2.Account]:
        """Return every account, by id."""
        request = fleet_pb2.ListAccountsRequest()
        return list((await self.call(self.fleet.ListAccounts, request)).accounts)

    async def capabilities(self) -> list[inspect_pb2.Capability]:
        """Return every capability, with its verifications."""
        request = inspect_pb2.ListCapabilitiesRequest()
        return list((await self.call(self.inspection.ListCapabilities, request)).capabilities)

    def _explained(self, error: grpc.aio.AioRpcError) -> CommandError:
        told = refusal(error.trailing_metadata())
        reason = told.reason if told else ""
        match error.code():
            case code if code in _SILENT and not reason:
                tls = "; if this is the controller's TLS port, give --ca" if self._is_plain else ""
                return UnreachableError(
                    f"the controller at {self._target} does not answer: check that the farm is "
                    f"running{tls}"
                )
            case grpc.StatusCode.UNAUTHENTICATED:
                return CommandError(
                    f"the controller at {self._target} does not know this key: give a key of this "
                    "farm with --key or PHONEFARM_KEY, or the farm's folder with --data"
                )
            case grpc.StatusCode.PERMISSION_DENIED:
                return RefusedError(
                    f"{reason}: this key lacks the scope; `phonefarm keys create NAME --scope "
                    "SCOPE` creates a key with it",
                    reason,
                )
            case grpc.StatusCode.UNIMPLEMENTED:
                return CommandError(
                    f"the controller at {self._target} is older than this command and "
                    "does not support it"
                )
            case code:
                word = reason or code.name.lower()
                problems = told.problems if told else ()
                wrong = [(problem.field, problem.message) for problem in problems]
                return RefusedError(f"{word}: {error.details()}", reason, wrong)


def _trusting(ca: Path) -> ClientTls:
    return ClientTls(authority=ca.read_bytes())


def _repeatable(path: str) -> bool:
    """Tell whether a call without an answer may be repeated at another controller."""
    return path.rpartition("/")[2].startswith(_READS)
