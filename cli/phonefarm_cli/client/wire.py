"""One caller's line to the controllers: how a call is made, and its errors in words for people."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any, Final, TypeVar

import grpc
import grpc.aio
from phonefarm_common.channel import bearer
from phonefarm_common.rpc_errors import refusal

from phonefarm_cli.errors import CommandError

CALL_SECONDS: Final = 10.0
LONG_CALL_SECONDS: Final = 60.0
"""For calls that write a thousand rows."""

_SILENT: Final = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})

_T = TypeVar("_T")


class UnreachableError(CommandError):
    """The controller does not answer at all."""


class RefusedError(CommandError):
    """The controller answered no; `reason` is the whole reason, `unknown_process` for example.

    `problems` are the wrong fields, each with a sentence.
    """

    def __init__(self, summary: str, reason: str, problems: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__("".join([summary, *(f"\n  {field}: {text}" for field, text in problems)]))
        self.summary = summary
        self.reason = reason
        self.problems = tuple(problems)


class Wire:
    """What stubs take for a channel, and the key that is shown with every call."""

    def __init__(self, channel: Any, target: str, key: str) -> None:
        self.channel = channel
        self._target = target
        self._metadata = bearer(key)

    async def answer(
        self, call: Callable[..., Awaitable[_T]], request: Any, *, seconds: float = CALL_SECONDS
    ) -> _T:
        """Make one call; CommandError says why there is no answer."""
        try:
            return await call(request, metadata=self._metadata, timeout=seconds)
        except grpc.aio.AioRpcError as error:
            raise self._explained(error) from error

    async def stream(
        self, call: Callable[..., Any], request: Any, *, seconds: float | None = None
    ) -> AsyncIterator[Any]:
        """Yield what the call sends; without *seconds* for as long as it takes."""
        try:
            async with aclosing(call(request, metadata=self._metadata, timeout=seconds)) as parts:
                async for part in parts:
                    yield part
        except grpc.aio.AioRpcError as error:
            raise self._explained(error) from error

    def _explained(self, error: grpc.aio.AioRpcError) -> CommandError:
        told = refusal(error.trailing_metadata())
        reason = told.reason if told else ""
        match error.code():
            case code if code in _SILENT and not reason:
                return UnreachableError(
                    f"the controller at {self._target} does not answer; does the farm run?"
                )
            case grpc.StatusCode.UNAUTHENTICATED:
                return CommandError(
                    f"the controller at {self._target} does not know this key: give the one from "
                    "up.json (--data), or --key, or PHONEFARM_KEY"
                )
            case grpc.StatusCode.PERMISSION_DENIED:
                return RefusedError(
                    f"{reason}: this key may not do that; `phonefarm keys create` makes one with "
                    "the scope it needs",
                    reason,
                )
            case grpc.StatusCode.UNIMPLEMENTED:
                return CommandError(
                    f"the controller at {self._target} is older than this command and does not "
                    "know what it asks for"
                )
            case code:
                word = reason or code.name.lower()
                problems = told.problems if told else ()
                wrong = [(problem.field, problem.message) for problem in problems]
                return RefusedError(f"{word}: {error.details()}", reason, wrong)
