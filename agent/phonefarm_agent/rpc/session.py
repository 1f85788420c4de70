"""Runs one session: Hello, Welcome, then messages both ways until either side ends it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import grpc
from phonefarm.v1 import agent_pb2 as pb
from phonefarm_common.call_status import CallStatus
from phonefarm_common.clock import Clock
from phonefarm_common.ids import PROTOCOL_VERSION
from phonefarm_common.rpc_errors import refusal
from phonefarm_common.timers import Timers

from phonefarm_agent.model import messages
from phonefarm_agent.model.messages import Host
from phonefarm_agent.model.phone import PhoneReport
from phonefarm_agent.rpc import convert
from phonefarm_agent.rpc.sender import Sender


class SessionLostError(Exception):
    """The stream ended or became silent; a new session may succeed."""


class SessionRefusedError(Exception):
    """The controller refused this agent; `reason` has its detail, the text is a sentence."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class SupersededError(Exception):
    """A newer session of this agent took over."""

    def __init__(self, by_incarnation: int) -> None:
        super().__init__(f"superseded by incarnation {by_incarnation}")
        self.by_incarnation = by_incarnation


@dataclass(frozen=True, kw_only=True)
class AgentIdentity:
    """The agent's identity in its Hello; it stays the same until the agent stops."""

    agent_id: str
    boot_id: str
    incarnation: int
    version: str
    time_scale: float
    runtime: str  # docker, process or dummy


class SessionStream(Protocol):
    """The part of a grpc.aio stream-stream call that a session needs."""

    async def read(self) -> pb.ControllerMessage | object:
        """Return the next message, or grpc.aio.EOF."""
        ...

    async def write(self, request: pb.AgentMessage) -> None:
        """Send a message, waiting for flow control."""
        ...

    async def done_writing(self) -> None:
        """Close our side of the stream."""
        ...

    def cancel(self) -> bool:
        """Cancel the call."""
        ...


class Session:
    """One session over one gRPC stream."""

    def __init__(
        self,
        *,
        stream: SessionStream,
        host: Host,
        identity: AgentIdentity,
        timers: Timers,
        clock: Clock,
        changed: asyncio.Event,
        opened: Callable[[messages.Welcome], None],
        screens_wanted: Callable[[tuple[str, ...]], None],
    ) -> None:
        """Use *stream*; call *opened* at the Welcome and *screens_wanted* with tickets."""
        self._stream = stream
        self._status = CallStatus(stream)
        self._host = host
        self._identity = identity
        self._timers = timers
        self._clock = clock
        self._changed = changed
        self._opened = opened
        self._screens_wanted = screens_wanted
        self._welcomed = asyncio.Event()
        self._hello_at = 0.0
        self._heard_at = 0.0
        self._sender: Sender | None = None
        self._superseded: int | None = None

    async def run(self, *, goodbye: asyncio.Event) -> None:
        """Send and receive until the stream ends, or until *goodbye* is set and sent.

        Raises SessionLostError, SessionRefusedError or SupersededError.
        """
        reader = asyncio.create_task(self._read(), name="session-reader")
        speaker = asyncio.create_task(self._send_until_goodbye(goodbye), name="session-speaker")
        try:
            await asyncio.wait({reader, speaker}, return_when=asyncio.FIRST_COMPLETED)
            if self._superseded is not None:
                raise SupersededError(self._superseded)
            if reader.done():
                reader.result()
            await speaker
            if self._superseded is not None:
                raise SupersededError(self._superseded)
        except grpc.aio.AioRpcError as error:
            raise _translated(await self._status.error(error) or error) from error
        except asyncio.InvalidStateError as error:
            # grpc.aio says this when writing to a call that is already over.
            raise SessionLostError("the stream has ended") from error
        finally:
            # In this order, or grpc.aio leaks the connection: tasks, then the call.
            for task in (speaker, reader):
                task.cancel()
            await asyncio.gather(speaker, reader, return_exceptions=True)
            self._stream.cancel()

    async def _read(self) -> None:
        """Read until the stream ends; never under a timeout (grpc/grpc#43360)."""
        while (message := await self._stream.read()) is not grpc.aio.EOF:  # type: ignore[attr-defined]  # missing in the stubs
            if not isinstance(message, pb.ControllerMessage):
                raise SessionLostError("the stream had an unexpected message")
            said = convert.message_from_wire(message)
            if said is not None and self._receive(said):
                return
        raise SessionLostError("the controller ended the stream")

    def _receive(self, said: messages.ControllerMessage) -> bool:
        """Handle one message; true when it ends the session."""
        match said:
            case messages.Superseded(by_incarnation=incarnation):
                self._superseded = incarnation
                return True
            case messages.Welcome():
                self._heard_at = self._clock.monotonic()
                self._host.connected(self._hello_at, said)
                self._welcomed.set()
                self._opened(said)
            case messages.HeartbeatAck(number=number, lost=lost):
                heartbeat = self._sender.acknowledged(number) if self._sender else None
                if heartbeat is not None:
                    self._heard_at = self._clock.monotonic()
                    self._host.renewed(heartbeat.sent_at, heartbeat.runs, lost)
            case messages.RecordAcks():
                if self._sender:
                    self._sender.records_acknowledged()
                self._host.receive(said)
            case messages.DesiredState():
                self._host.receive(said)
                self._screens_wanted(said.screens)
            case _:
                self._host.receive(said)
        return False

    async def _send_until_goodbye(self, goodbye: asyncio.Event) -> None:
        phones = self._host.phones()
        self._hello_at = self._clock.monotonic()
        await self._stream.write(self._hello(phones))
        await self._wait(self._welcomed, self._timers.suspect)
        if not self._welcomed.is_set():
            raise SessionLostError("the controller sent no Welcome")
        self._host.rewind()
        sender = self._sender = Sender(
            host=self._host,
            timers=self._timers,
            clock=self._clock,
            scale=self._identity.time_scale,
            sent_phones=phones,
        )
        while not goodbye.is_set():
            self._changed.clear()
            for message in sender.due():
                await self._stream.write(message)
            await self._wait(self._changed, sender.pause())
            if self._clock.monotonic() - self._heard_at > self._timers.suspect:
                raise SessionLostError(
                    "the controller has not acknowledged a heartbeat for too long"
                )
        for message in sender.due():
            await self._stream.write(message)
        await self._stream.write(
            pb.AgentMessage(goodbye=pb.Goodbye(reason="a signal stopped the agent"))
        )
        await self._stream.done_writing()

    @staticmethod
    async def _wait(event: asyncio.Event, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            return

    def _hello(self, phones: tuple[PhoneReport, ...]) -> pb.AgentMessage:
        return pb.AgentMessage(
            hello=pb.Hello(
                agent_id=self._identity.agent_id,
                boot_id=self._identity.boot_id,
                incarnation=self._identity.incarnation,
                protocol_version=PROTOCOL_VERSION,
                agent_version=self._identity.version,
                phones=[convert.phone_to_wire(phone) for phone in phones],
                held_runs=[convert.held_to_wire(run) for run in self._host.held()],
                time_scale=self._identity.time_scale,
                runtime=self._identity.runtime,
                runs_without_app=True,
            )
        )


def _translated(error: grpc.aio.AioRpcError) -> SessionLostError | SessionRefusedError:
    """Return the session's error for an RPC error."""
    text = error.details() or str(error.code())
    if error.code() is grpc.StatusCode.FAILED_PRECONDITION:
        told = refusal(error.trailing_metadata())
        return SessionRefusedError(told.reason if told else text, text)
    return SessionLostError(f"{error.code().name}: {text}")
