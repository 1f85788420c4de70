"""AgentService: the conversation with each agent, and its evidence."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final, TypeVar, assert_never

import structlog
from phonefarm.v1 import agent_pb2 as pb
from phonefarm.v1 import agent_pb2_grpc
from phonefarm_common.certificates import CertificateFacts
from phonefarm_common.ids import is_name
from phonefarm_common.reasons import FarmError, Reason
from phonefarm_common.timers import Timers

from phonefarm_controller.agents.handshake import AgentHello, Handshake
from phonefarm_controller.agents.inventory import Inventory, PhoneName, ReportedHost
from phonefarm_controller.agents.sessions import (
    Push,
    Session,
    Sessions,
    SupersededBy,
    SupersededError,
)
from phonefarm_controller.concurrency.batcher import Batcher
from phonefarm_controller.evidence.upload import EvidenceUpload
from phonefarm_controller.model.errors import DatabaseBusyError, invalid_field
from phonefarm_controller.model.phone_reports import HostReport
from phonefarm_controller.model.run_reports import Assignment, Report, RunRef, Stop
from phonefarm_controller.rpc import agent_convert as words
from phonefarm_controller.rpc import phone_report_convert
from phonefarm_controller.rpc.auth import peer_certificate
from phonefarm_controller.rpc.errors import Context
from phonefarm_controller.rpc.screen_links import ScreenLinks, serve_screen
from phonefarm_controller.runs.desired_state import DesiredStateReader
from phonefarm_controller.runs.lease_expiry import LeaseExpiry
from phonefarm_controller.runs.report import Ack
from phonefarm_controller.runs.start_gate import StartAnswer, StartRequest

_T = TypeVar("_T")
log = structlog.get_logger()

RenewLeases = Callable[[str, int, Sequence[RunRef]], Awaitable[list[RunRef] | None]]

UNTAKEN: Final = 256
"""When this many messages of one kind wait, the agent's stream is read no further."""


class _SessionOver(Exception):  # noqa: N818 - an ending, not an error
    """The session is over: superseded or closed, or the agent has left."""


class _Conversation:
    """One session's stream: many tasks write to it, one at a time."""

    def __init__(self, session: Session, context: Context) -> None:
        self.session = session
        self.context = context
        self.records: asyncio.Queue[tuple[Report, ...]] = asyncio.Queue(UNTAKEN)
        self.starts: asyncio.Queue[tuple[StartRequest, ...]] = asyncio.Queue(UNTAKEN)
        self._writing = asyncio.Lock()

    async def say(self, message: pb.ControllerMessage) -> None:
        """Write one message; waits while the agent does not read."""
        async with self._writing:
            await self.context.write(message)


class AgentService(agent_pb2_grpc.AgentServiceServicer):
    """Serves agents."""

    def __init__(
        self,
        *,
        farm_id: str,
        timers: Timers,
        sessions: Sessions,
        handshake: Handshake,
        inventory: Inventory,
        renew: RenewLeases,
        expiry: LeaseExpiry,
        desired_state: DesiredStateReader,
        start: Batcher[StartRequest, StartAnswer],
        report: Batcher[Report, Ack],
        evidence: EvidenceUpload,
        screen_links: ScreenLinks,
    ) -> None:
        self._farm_id = farm_id
        self._timers = timers
        self._sessions = sessions
        self._handshake = handshake
        self._inventory = inventory
        self._renew = renew
        self._expiry = expiry
        self._desired_state = desired_state
        self._start = start
        self._report = report
        self._evidence = evidence
        self._screen_links = screen_links

    # The stubs only know generators; a coroutine gets its cancellation in the call's own task.
    async def Session(  # type: ignore[override] # noqa: N802 - the wire's name
        self, request_iterator: AsyncIterator[pb.AgentMessage], context: Context
    ) -> None:
        """Talk with one agent until it parts, is superseded or is cut off."""
        first = await context.read()
        if not isinstance(first, pb.AgentMessage):
            return
        hello = _own(words.hello_of(words.check_hello(first)), peer_certificate(context))
        if not is_name(hello.agent_id):
            raise invalid_field(
                "hello.agent_id", "must be 1 to 128 characters from A-Z a-z 0-9 . _ : -"
            )
        welcome = await self._handshake.connect(hello)
        session = Session(
            agent_id=hello.agent_id,
            term=welcome.term,
            incarnation=hello.incarnation,
            too_old=welcome.too_old,
        )
        _learn(session, welcome.phones)
        conversation = _Conversation(session, context)
        await conversation.say(words.welcome_to_wire(welcome, self._farm_id))
        self._sessions.enter(session)
        log.info("agent.connected", agent_id=session.agent_id, term=session.term)
        try:
            if welcome.lost:
                await self._expiry.forget(
                    welcome.lost, agent_id=session.agent_id, term=session.term
                )
            await self._converse(conversation)
        finally:
            self._sessions.leave(session)
            log.info("agent.disconnected", agent_id=session.agent_id, term=session.term)
            await asyncio.shield(self._parted(session.agent_id, session.term))

    async def UploadEvidence(  # noqa: N802
        self, request_iterator: AsyncIterator[pb.EvidenceChunk], context: Context
    ) -> pb.EvidenceReceipt:
        """Keep one file of a run."""
        first = await anext(aiter(request_iterator), None)
        if first is None or first.WhichOneof("body") != "head":
            raise invalid_field("head", "must be the first message")
        evidence_id = await self._evidence(words.head_of(first.head), _data(request_iterator))
        return pb.EvidenceReceipt(evidence_id=evidence_id)

    async def AskEvidence(  # noqa: N802
        self, request: pb.EvidenceHead, context: Context
    ) -> pb.EvidenceProgress:
        """Return how much of a file is here."""
        progress = await self._evidence.ask(words.head_of(request))
        return pb.EvidenceProgress(evidence_id=progress.evidence_id, received=progress.received)

    # As Session: a coroutine gets its cancellation in the call's own task.
    async def ServeScreen(  # type: ignore[override] # noqa: N802
        self, request_iterator: AsyncIterator[pb.ScreenReport], context: Context
    ) -> None:
        """Show a screen to whoever waits for it."""
        await serve_screen(self._screen_links, context)

    async def _parted(self, agent_id: str, term: int) -> None:
        """Note that the session is over; without a database its silence will show it."""
        try:
            await self._handshake.disconnect(agent_id, term)
        except DatabaseBusyError as error:
            log.warning("agent.disconnect_not_stored", agent_id=agent_id, error=str(error))

    async def _converse(self, conversation: _Conversation) -> None:
        """Talk until one of the tasks ends it; what ended it is raised, if it is for the agent."""
        told: list[BaseException] = []
        try:
            async with asyncio.TaskGroup() as tasks:
                name = conversation.session.agent_id
                tasks.create_task(self._push(conversation), name=f"push {name}")
                tasks.create_task(self._repeat_desired(conversation), name=f"desired {name}")
                tasks.create_task(self._answer_starts(conversation), name=f"starts {name}")
                tasks.create_task(self._take_records(conversation), name=f"records {name}")
                tasks.create_task(_end_when_closed(conversation.session), name=f"closed {name}")
                await self._read(conversation)
        except* _SessionOver:
            pass
        except* SupersededError:
            log.warning(
                "agent.superseded",
                agent_id=conversation.session.agent_id,
                term=conversation.session.term,
            )
        except* (FarmError, DatabaseBusyError) as group:
            told.extend(group.exceptions)
        if told:
            raise told[0]

    async def _read(self, conversation: _Conversation) -> None:
        """Read until the stream ends; that is not a goodbye, but nothing more can be said."""
        while True:
            message = await conversation.context.read()
            if not isinstance(message, pb.AgentMessage):
                raise _SessionOver
            await self._hear(conversation, message)

    async def _hear(self, conversation: _Conversation, message: pb.AgentMessage) -> None:
        session = conversation.session
        match message.WhichOneof("body"):
            case "heartbeat":
                await self._beat(conversation, message.heartbeat)
            case "offer" if session.too_old:
                pass  # it only finishes what it holds
            case "offer":
                ids = [session.phone_ids.get(serial) for serial in message.offer.serialnos]
                known = [phone_id for phone_id in ids if phone_id]
                self._sessions.offer(session, message.offer.number, known)
            case "inventory":
                names = await self._inventory(
                    session.agent_id,
                    session.term,
                    words.phones_of(message.inventory.phones),
                    unidentified=phone_report_convert.unidentified_devices_of(
                        message.inventory.phones
                    ),
                    host=_host(session, phone_report_convert.host_of(message.inventory)),
                )
                if names is None:
                    raise SupersededError
                _learn(session, names)
                wire = words.names_to_wire(names)
                await conversation.say(pb.ControllerMessage(phone_names=pb.PhoneNames(phones=wire)))
            case "runs_started":
                asks = tuple(
                    StartRequest(
                        agent_id=session.agent_id,
                        term=session.term,
                        run=words.ref_of(run.run),
                        container=run.container[:256],
                        asked_at=run.asked_at,
                    )
                    for run in message.runs_started.runs
                )
                await conversation.starts.put(asks)
            case "run_records":
                await conversation.records.put(_reports(session, message.run_records.records))
            case "goodbye":
                log.info(
                    "agent.said_goodbye", agent_id=session.agent_id, why=message.goodbye.reason
                )
                raise _SessionOver
            case "hello":
                raise invalid_field("hello", "must be sent once, at the beginning of a session")
            case None:
                pass  # from a newer agent
            case unknown:
                assert_never(unknown)

    async def _beat(self, conversation: _Conversation, heartbeat: pb.Heartbeat) -> None:
        held = [words.ref_of(run) for run in heartbeat.runs]
        lost = await self._renew(conversation.session.agent_id, conversation.session.term, held)
        if lost is None:
            raise SupersededError
        ack = pb.HeartbeatAck(
            number=heartbeat.number, lost=[words.ref_to_wire(run) for run in lost]
        )
        await conversation.say(pb.ControllerMessage(heartbeat_ack=ack))
        too_old = conversation.session.too_old
        if (
            too_old
            and not held
            and await self._handshake.is_done_with(conversation.session.agent_id)
        ):
            raise FarmError(Reason.AGENT_TOO_OLD, too_old)

    async def _push(self, conversation: _Conversation) -> None:
        """Send what others have for this agent; what came together goes together."""
        outbox = conversation.session.outbox
        while True:
            pushes = [await outbox.get()]
            while not outbox.empty():
                pushes.append(outbox.get_nowait())
            for message in _together(pushes):
                await conversation.say(message)
            if any(isinstance(push, SupersededBy) for push in pushes):
                raise _SessionOver

    async def _repeat_desired(self, conversation: _Conversation) -> None:
        while True:
            for message in words.desired_to_wire(
                await self._desired_state(conversation.session.agent_id)
            ):
                await conversation.say(message)
            await conversation.session.reminded.wait(within=self._timers.desired)

    async def _answer_starts(self, conversation: _Conversation) -> None:
        while True:
            asks = await _all_of(conversation.starts)
            await conversation.say(words.verdicts_to_wire(await self._start.do_all(asks)))

    async def _take_records(self, conversation: _Conversation) -> None:
        while True:
            reports = await _all_of(conversation.records)
            await conversation.say(words.acks_to_wire(await self._report.do_all(reports)))


def _own(hello: AgentHello, shown: CertificateFacts | None) -> AgentHello:
    """Return the hello under the id in the certificate, where one is shown."""
    if shown is None:
        return hello
    own_id = shown.member_id
    if hello.agent_id not in {"", own_id}:
        raise FarmError(
            Reason.AGENT_ID_NOT_YOURS,
            f"the certificate is for {own_id}, but the hello names the agent "
            f"{hello.agent_id[:128]}",
            detail=own_id,
        )
    return replace(hello, agent_id=own_id)


def _host(session: Session, report: HostReport | None) -> ReportedHost | None:
    return None if report is None else ReportedHost(incarnation=session.incarnation, report=report)


async def _all_of(queue: asyncio.Queue[tuple[_T, ...]]) -> tuple[_T, ...]:
    taken = list(await queue.get())
    while not queue.empty():
        taken.extend(queue.get_nowait())
    return tuple(taken)


async def _end_when_closed(session: Session) -> None:
    await session.closed.wait()
    raise _SessionOver


async def _data(chunks: AsyncIterator[pb.EvidenceChunk]) -> AsyncIterator[bytes]:
    async for chunk in chunks:
        yield chunk.data


def _learn(session: Session, names: Iterable[PhoneName]) -> None:
    session.phone_ids = {name.serialno: name.phone_id for name in names if not name.refused}


def _reports(session: Session, records: Iterable[pb.RunRecord]) -> tuple[Report, ...]:
    agent_id, term = session.agent_id, session.term
    read = (words.report_of(record, agent_id=agent_id, term=term) for record in records)
    return tuple(report for report in read if report is not None)


def _together(pushes: Sequence[Push]) -> list[pb.ControllerMessage]:
    messages = words.assignments_to_wire(p for p in pushes if isinstance(p, Assignment))
    stops = [words.stop_to_wire(p) for p in pushes if isinstance(p, Stop)]
    partings = [p for p in pushes if isinstance(p, SupersededBy)]
    if stops:
        messages.append(pb.ControllerMessage(stops=pb.Stops(stops=stops)))
    for parting in partings:
        gone = pb.Superseded(by_incarnation=parting.by_incarnation)
        messages.append(pb.ControllerMessage(superseded=gone))
    return messages
