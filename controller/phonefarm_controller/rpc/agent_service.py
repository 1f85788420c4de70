"""AgentService: the conversation with each agent, and its evidence."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final, TypeVar, assert_never

import structlog
from phonefarm.v1 import agent_pb2 as pb
from phonefarm.v1 import agent_pb2_grpc
from phonefarm_common.ids import is_name
from phonefarm_common.reasons import FarmError, Reason
from phonefarm_common.timers import Timers

from phonefarm_controller.agents.handshake import Greeting, Handshake
from phonefarm_controller.agents.inventory import Inventory, PhoneName, SeenHost
from phonefarm_controller.agents.sessions import Parting, Push, Session, Sessions, SupersededError
from phonefarm_controller.concurrency.batcher import Batcher
from phonefarm_controller.evidence.upload import KeepEvidence
from phonefarm_controller.model.errors import DatabaseBusyError, invalid_field
from phonefarm_controller.model.phone_reports import HostLook
from phonefarm_controller.model.run_reports import Assignment, Report, RunRef, Stop
from phonefarm_controller.rpc import agent_convert as words
from phonefarm_controller.rpc import phone_report_convert
from phonefarm_controller.rpc.auth import Keys
from phonefarm_controller.rpc.errors import Context, translated
from phonefarm_controller.runs.desired_state import Desire
from phonefarm_controller.runs.lease_expiry import Reap
from phonefarm_controller.runs.report import Ack
from phonefarm_controller.runs.start_gate import StartAnswer, StartAsk

_T = TypeVar("_T")
log = structlog.get_logger()

RenewLeases = Callable[[str, int, Sequence[RunRef]], Awaitable[list[RunRef] | None]]

UNTAKEN: Final = 256
"""How many messages of one kind may wait before the agent's stream is not read further."""


class _Over(Exception):  # noqa: N818 - an ending, not an error
    """The session is over: superseded, closed, or the agent parted."""


class _Talk:
    """One session's stream: many tasks write to it, one at a time."""

    def __init__(self, session: Session, context: Context) -> None:
        self.session = session
        self.context = context
        self.records: asyncio.Queue[tuple[Report, ...]] = asyncio.Queue(UNTAKEN)
        self.starts: asyncio.Queue[tuple[StartAsk, ...]] = asyncio.Queue(UNTAKEN)
        self._writing = asyncio.Lock()

    async def say(self, message: pb.ControllerMessage) -> None:
        """Write one message; waits while the agent does not read."""
        async with self._writing:
            await self.context.write(message)


class AgentEdge(agent_pb2_grpc.AgentServiceServicer):
    """Serves agents."""

    def __init__(
        self,
        *,
        keys: Keys,
        farm_id: str,
        timers: Timers,
        sessions: Sessions,
        handshake: Handshake,
        inventory: Inventory,
        renew: RenewLeases,
        reap: Reap,
        desire: Desire,
        start: Batcher[tuple[StartAsk, ...], tuple[StartAnswer, ...]],
        report: Batcher[tuple[Report, ...], tuple[Ack, ...]],
        keep_evidence: KeepEvidence,
    ) -> None:
        self._keys = keys
        self._farm_id = farm_id
        self._timers = timers
        self._sessions = sessions
        self._handshake = handshake
        self._inventory = inventory
        self._renew = renew
        self._reap = reap
        self._desire = desire
        self._start = start
        self._report = report
        self._keep_evidence = keep_evidence

    # The stubs only know generators; a coroutine gets its cancellation in the call's own task.
    async def Session(  # type: ignore[override] # noqa: N802 - the wire's name
        self, request_iterator: AsyncIterator[pb.AgentMessage], context: Context
    ) -> None:
        """Talk with one agent until it parts, is superseded or is cut off."""
        async with translated(context):
            own_id = await self._keys.check_agent(context)
            first = await context.read()
            if not isinstance(first, pb.AgentMessage):
                return
            greeting = _own(words.greeting_of(words.check_hello(first)), own_id)
            if not is_name(greeting.agent_id):
                raise invalid_field("hello.agent_id", "must be 1 to 128 of A-Z a-z 0-9 . _ : -")
            greeted = await self._handshake.connect(greeting)
            session = Session(
                agent_id=greeting.agent_id,
                term=greeted.term,
                incarnation=greeting.incarnation,
                too_old=greeted.too_old,
            )
            _learn(session, greeted.phones)
            talk = _Talk(session, context)
            await talk.say(words.welcome_to_wire(greeted, self._farm_id))
            self._sessions.enter(session)
            log.info("agent.entered", agent_id=session.agent_id, term=session.term)
            try:
                if greeted.lost:
                    await self._reap.forget(
                        greeted.lost, agent_id=session.agent_id, term=session.term
                    )
                await self._converse(talk)
            finally:
                self._sessions.leave(session)
                log.info("agent.left", agent_id=session.agent_id, term=session.term)
                await asyncio.shield(self._parted(session.agent_id, session.term))

    async def UploadEvidence(  # noqa: N802
        self, request_iterator: AsyncIterator[pb.EvidenceChunk], context: Context
    ) -> pb.EvidenceReceipt:
        """Keep one file of a run."""
        async with translated(context):
            await self._keys.check_agent(context)
            first = await anext(aiter(request_iterator), None)
            if first is None or first.WhichOneof("body") != "head":
                raise invalid_field("head", "must come first")
            evidence_id = await self._keep_evidence(
                words.head_of(first.head), _data(request_iterator)
            )
        return pb.EvidenceReceipt(evidence_id=evidence_id)

    async def AskEvidence(  # noqa: N802
        self, request: pb.EvidenceHead, context: Context
    ) -> pb.EvidenceProgress:
        """Tell what is here of a file."""
        async with translated(context):
            await self._keys.check_agent(context)
            progress = await self._keep_evidence.ask(words.head_of(request))
        return pb.EvidenceProgress(evidence_id=progress.evidence_id, received=progress.received)

    async def _parted(self, agent_id: str, term: int) -> None:
        """Note that the session is over; without a database its silence will tell."""
        try:
            await self._handshake.disconnect(agent_id, term)
        except DatabaseBusyError as error:
            log.warning("agent.not_parted", agent_id=agent_id, error=str(error))

    async def _converse(self, talk: _Talk) -> None:
        """Talk until one of the tasks ends it; what ended it is raised, if it is for the agent."""
        told: list[BaseException] = []
        try:
            async with asyncio.TaskGroup() as tasks:
                name = talk.session.agent_id
                tasks.create_task(self._push(talk), name=f"push {name}")
                tasks.create_task(self._repeat_desired(talk), name=f"desired {name}")
                tasks.create_task(self._answer_starts(talk), name=f"starts {name}")
                tasks.create_task(self._take_records(talk), name=f"records {name}")
                tasks.create_task(_end_when_closed(talk.session), name=f"closed {name}")
                await self._read(talk)
        except* _Over:
            pass
        except* SupersededError:
            log.warning("agent.superseded", agent_id=talk.session.agent_id, term=talk.session.term)
        except* (FarmError, DatabaseBusyError) as group:
            told.extend(group.exceptions)
        if told:
            raise told[0]

    async def _read(self, talk: _Talk) -> None:
        """Read until the stream ends; that is not a goodbye, but nothing more can be said."""
        while True:
            message = await talk.context.read()
            if not isinstance(message, pb.AgentMessage):
                raise _Over
            await self._hear(talk, message)

    async def _hear(self, talk: _Talk, message: pb.AgentMessage) -> None:
        session = talk.session
        match message.WhichOneof("body"):
            case "heartbeat":
                await self._beat(talk, message.heartbeat)
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
                    strangers=phone_report_convert.strangers_of(message.inventory.phones),
                    host=_host(session, phone_report_convert.host_of(message.inventory)),
                )
                if names is None:
                    raise SupersededError
                _learn(session, names)
                wire = words.names_to_wire(names)
                await talk.say(pb.ControllerMessage(phone_names=pb.PhoneNames(phones=wire)))
            case "runs_started":
                asks = tuple(
                    StartAsk(
                        agent_id=session.agent_id,
                        term=session.term,
                        run=words.ref_of(run.run),
                        container=run.container[:256],
                        asked_at=run.asked_at,
                    )
                    for run in message.runs_started.runs
                )
                await talk.starts.put(asks)
            case "run_records":
                await talk.records.put(_reports(session, message.run_records.records))
            case "goodbye":
                log.info("agent.parted", agent_id=session.agent_id, why=message.goodbye.reason)
                raise _Over
            case "hello":
                raise invalid_field("hello", "must come once, at the begin of a session")
            case None:
                pass  # from a newer agent
            case unknown:
                assert_never(unknown)

    async def _beat(self, talk: _Talk, heartbeat: pb.Heartbeat) -> None:
        held = [words.ref_of(run) for run in heartbeat.runs]
        lost = await self._renew(talk.session.agent_id, talk.session.term, held)
        if lost is None:
            raise SupersededError
        ack = pb.HeartbeatAck(
            number=heartbeat.number, lost=[words.ref_to_wire(run) for run in lost]
        )
        await talk.say(pb.ControllerMessage(heartbeat_ack=ack))
        too_old = talk.session.too_old
        if too_old and not held and await self._handshake.is_done_with(talk.session.agent_id):
            raise FarmError(Reason.AGENT_TOO_OLD, too_old)

    async def _push(self, talk: _Talk) -> None:
        """Send what others have for this agent; what came together goes together."""
        outbox = talk.session.outbox
        while True:
            pushes = [await outbox.get()]
            while not outbox.empty():
                pushes.append(outbox.get_nowait())
            for message in _together(pushes):
                await talk.say(message)
            if any(isinstance(push, Parting) for push in pushes):
                raise _Over

    async def _repeat_desired(self, talk: _Talk) -> None:
        while True:
            for message in words.desired_to_wire(await self._desire(talk.session.agent_id)):
                await talk.say(message)
            await talk.session.reminded.taken(within=self._timers.desired)

    async def _answer_starts(self, talk: _Talk) -> None:
        while True:
            asks = await _all_of(talk.starts)
            await talk.say(words.verdicts_to_wire(await self._start.do(asks)))

    async def _take_records(self, talk: _Talk) -> None:
        while True:
            reports = await _all_of(talk.records)
            await talk.say(words.acks_to_wire(await self._report.do(reports)))


def _own(greeting: Greeting, own_id: str | None) -> Greeting:
    """Return the greeting under the id in the certificate, where one is shown."""
    if own_id is None:
        return greeting
    if greeting.agent_id not in {"", own_id}:
        raise FarmError(
            Reason.AGENT_ID_NOT_YOURS,
            f"the certificate is {own_id}'s, the hello {greeting.agent_id[:128]}'s",
            detail=own_id,
        )
    return replace(greeting, agent_id=own_id)


def _host(session: Session, look: HostLook | None) -> SeenHost | None:
    return None if look is None else SeenHost(incarnation=session.incarnation, look=look)


async def _all_of(queue: asyncio.Queue[tuple[_T, ...]]) -> tuple[_T, ...]:
    taken = list(await queue.get())
    while not queue.empty():
        taken.extend(queue.get_nowait())
    return tuple(taken)


async def _end_when_closed(session: Session) -> None:
    await session.closed.wait()
    raise _Over


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
    partings = [p for p in pushes if isinstance(p, Parting)]
    if stops:
        messages.append(pb.ControllerMessage(stops=pb.Stops(stops=stops)))
    for parting in partings:
        gone = pb.Superseded(by_incarnation=parting.by_incarnation)
        messages.append(pb.ControllerMessage(superseded=gone))
    return messages
