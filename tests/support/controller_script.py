"""A controller made for tests: a real gRPC server that says what the test tells it to.

Unless told otherwise it welcomes, acknowledges heartbeats and records, keeps evidence, and answers
`run_started` with `go`, as the comments in agent.proto promise.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import grpc
import grpc.aio
from gateway.support.refusing import refuse
from phonefarm.v1 import agent_pb2 as pb
from phonefarm.v1 import agent_pb2_grpc
from phonefarm_common.channel import server_options
from phonefarm_common.timers import Timers

T = TypeVar("T")

TOKEN = "token-of-a-test"
FARM = "farm-of-a-test"
EOF: object = grpc.aio.EOF  # type: ignore[attr-defined]  # missing in the stubs


@dataclass(kw_only=True)
class Manners:
    """How the controller behaves just now; a test may change it at any moment."""

    acknowledge_beats: bool = True
    acknowledge_records: bool = True
    answer_starts: bool = True
    welcome: bool = True
    take_evidence: bool = True
    has_of_evidence: int | None = None  # None: knows no AskEvidence, like release 0.1.0
    serve_screen: Callable[[Any], Awaitable[None]] = lambda context: refuse(
        context, grpc.StatusCode.NOT_FOUND, "unknown_ticket", "no such ticket"
    )
    refuse: str = ""  # FAILED_PRECONDITION with this reason
    lost: set[str] = field(default_factory=set)
    verdicts: Callable[[pb.Hello], list[pb.RunVerdict]] = lambda hello: go_on(hello)


def go_on(hello: pb.Hello) -> list[pb.RunVerdict]:
    """Let every held run continue."""
    verdicts = []
    for held in hello.held_runs:
        verdict = pb.RunVerdict(run=held.run)
        getattr(verdict, "continue").CopyFrom(pb.Continue())
        verdicts.append(verdict)
    return verdicts


@dataclass(kw_only=True)
class Evidence:
    """A file that arrived."""

    head: pb.EvidenceHead
    data: bytes


class Heard:
    """Everything the agent said, in order, with a way to wait for it."""

    def __init__(self) -> None:
        self.messages: list[pb.AgentMessage] = []
        self.records: dict[str, dict[int, pb.RunRecord]] = {}
        self.repeated = 0
        self.evidence: list[Evidence] = []
        self.uploads = 0
        self.hellos: list[pb.Hello] = []
        self._news = asyncio.Condition()

    async def add(self, message: pb.AgentMessage) -> None:
        """Keep one message."""
        self.messages.append(message)
        if message.WhichOneof("body") == "hello":
            self.hellos.append(message.hello)
        for record in message.run_records.records:
            of_run = self.records.setdefault(record.run.run_id, {})
            if record.sequence in of_run:
                self.repeated += 1
                assert of_run[record.sequence] == record, "a record changed between two sendings"
            of_run[record.sequence] = record
        await self.tell()

    async def tell(self) -> None:
        """Wake who waits."""
        async with self._news:
            self._news.notify_all()

    async def until(self, found: Callable[[], T | None], *, seconds: float = 180.0) -> T:
        """Return what *found* returns as soon as it is true; TimeoutError after *seconds*."""
        async with asyncio.timeout(seconds):
            async with self._news:
                while not (result := found()):
                    await self._news.wait()
                return result

    def offered(self) -> list[str]:
        """Return the newest offer."""
        for message in reversed(self.messages):
            if message.WhichOneof("body") == "offer":
                return list(message.offer.serialnos)
        return []

    def phones(self) -> dict[str, pb.PhoneReport]:
        """Return the newest inventory by what adb calls the phones."""
        for message in reversed(self.messages):
            match message.WhichOneof("body"):
                case "hello":
                    return {phone.adb_serial: phone for phone in message.hello.phones}
                case "inventory":
                    return {phone.adb_serial: phone for phone in message.inventory.phones}
                case _:
                    continue
        return {}

    def phone(self, adb_serial: str, *, reason: str) -> pb.PhoneReport | None:
        """Return the newest report of a phone if that is its reason."""
        report = self.phones().get(adb_serial)
        return report if report is not None and report.reason == reason else None

    def hands(self, adb_serial: str) -> str:
        """Return what a person must do at a phone, as it was told last."""
        report = self.phones().get(adb_serial)
        return "" if report is None else report.needs_hands

    def host(self) -> pb.HostReport:
        """Return the newest word about the host as a whole."""
        for message in reversed(self.messages):
            if message.WhichOneof("body") == "inventory":
                return message.inventory.host
        return pb.HostReport()

    def recovery(self) -> list[pb.RecoveryStep]:
        """Return the steps of recovery that were told last, by number."""
        return list(self.host().recovery)

    def starts(self, run_id: str) -> int:
        """Return how often the agent said that the run waits at the gate."""
        return sum(
            run.run.run_id == run_id
            for message in self.messages
            for run in message.runs_started.runs
        )

    def asked_at(self, run_id: str) -> float:
        """Return what the agent's clock was when it last said so."""
        runs = [run for message in self.messages for run in message.runs_started.runs]
        return [run.asked_at for run in runs if run.run.run_id == run_id][-1]

    def beats(self, run: pb.RunRef, *, since: int) -> int:
        """Return how many heartbeats from message *since* on name the run."""
        return sum(run in message.heartbeat.runs for message in self.messages[since:])

    def story(self, run_id: str) -> list[str]:
        """Return the kinds of the run's records; AssertionError unless 1, 2, 3 ... without gaps."""
        of_run = self.records.get(run_id, {})
        assert sorted(of_run) == list(range(1, len(of_run) + 1)), sorted(of_run)
        return [str(of_run[number].WhichOneof("body")) for number in sorted(of_run)]

    def ended(self, run_id: str) -> pb.RunEnded | None:
        """Return how the run ended, once the phone was released too."""
        found = None
        released = False
        for record in self.records.get(run_id, {}).values():
            if record.WhichOneof("body") == "run_ended":
                found = record.run_ended
            released = released or record.WhichOneof("body") == "phone_released"
        return found if released else None

    def releases(self, run_id: str) -> list[pb.PhoneReleased]:
        """Return what was said of the phone, in order."""
        records = sorted(self.records.get(run_id, {}).values(), key=lambda each: each.sequence)
        return [
            record.phone_released
            for record in records
            if record.WhichOneof("body") == "phone_released"
        ]

    def released(self, run_id: str) -> pb.PhoneReleased | None:
        """Return what was first said of the phone."""
        return next(iter(self.releases(run_id)), None)

    def refused(self, run_id: str) -> str:
        """Return why the run was refused, empty if it was not."""
        for record in self.records.get(run_id, {}).values():
            if record.WhichOneof("body") == "run_refused":
                return record.run_refused.reason
        return ""


class ScriptedController(agent_pb2_grpc.AgentServiceServicer):
    """The service; `heard` is what came in, `say` what goes out."""

    def __init__(self, timers: Timers) -> None:
        self._timers = timers
        self._server: Any = None
        self.heard = Heard()
        self.manners = Manners()
        self.address = "127.0.0.1:0"
        self.farm = FARM
        self.tokens: list[str] = []
        self._term = 0
        self._stream: Any = None
        self._writing = asyncio.Lock()  # gRPC takes one write of a stream at a time

    async def start(self) -> None:
        """Serve, at the same address as before."""
        server = grpc.aio.server(options=server_options(self._timers))
        agent_pb2_grpc.add_AgentServiceServicer_to_server(self, server)
        port = server.add_insecure_port(self.address)
        self.address = f"127.0.0.1:{port}"
        await server.start()
        self._server = server

    async def stop_serving(self) -> None:
        """Cut every stream and serve no more."""
        if self._server is not None:
            await self._server.stop(grace=0)
            self._server = None

    async def Session(  # type: ignore[override]  # noqa: N802 - gRPC's name; it writes
        self, request_iterator: Any, context: Any
    ) -> None:
        """Hold one session."""
        self.tokens.append(dict(context.invocation_metadata()).get("authorization", ""))
        if self.manners.refuse:
            await refuse(
                context, grpc.StatusCode.FAILED_PRECONDITION, self.manners.refuse, "it says no"
            )
        self._stream = context
        while (message := await context.read()) is not EOF:
            await self._answer(message, context)
            await self.heard.add(message)

    async def UploadEvidence(  # noqa: N802 - gRPC's name
        self, request_iterator: Any, context: Any
    ) -> pb.EvidenceReceipt:
        """Take one file."""
        self.heard.uploads += 1
        if not self.manners.take_evidence:
            await self.heard.tell()
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        head, data = pb.EvidenceHead(), b""
        async for chunk in request_iterator:
            if chunk.WhichOneof("body") == "head":
                head = chunk.head
            data += chunk.data
        if len(data) != head.bytes:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "head.sha256")
        self.heard.evidence.append(Evidence(head=head, data=data))
        await self.heard.tell()
        return pb.EvidenceReceipt(evidence_id=f"e{len(self.heard.evidence)}")

    async def AskEvidence(  # noqa: N802 - gRPC's name
        self, request: pb.EvidenceHead, context: Any
    ) -> pb.EvidenceProgress:
        """Tell what is here of a file."""
        if self.manners.has_of_evidence is None:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "no such call")
        return pb.EvidenceProgress(received=self.manners.has_of_evidence or 0)

    async def ServeScreen(  # type: ignore[override] # noqa: N802 - gRPC's name
        self, request_iterator: AsyncIterator[pb.ScreenReport], context: Any
    ) -> None:
        """Let the test serve a screen."""
        await self.manners.serve_screen(context)

    async def say(self, message: pb.ControllerMessage) -> None:
        """Say *message* in the present session."""
        await self._write(self._stream, message)

    async def _write(self, stream: Any, message: pb.ControllerMessage) -> None:
        async with self._writing:
            await stream.write(message)

    async def assign(self, *assignments: pb.Assignment) -> None:
        """Give work."""
        await self.say(pb.ControllerMessage(assignments=pb.Assignments(assignments=assignments)))

    async def stop(
        self,
        run: pb.RunRef,
        *,
        strategy: pb.StopStrategy.ValueType = pb.STOP_STRATEGY_SOFT,
        after: float = 0.0,
    ) -> None:
        """Stop a run."""
        stop = pb.Stop(run=run, reason="cancelled", strategy=strategy, force_after_seconds=after)
        await self.say(pb.ControllerMessage(stops=pb.Stops(stops=[stop])))

    async def _answer(self, message: pb.AgentMessage, context: Any) -> None:
        match message.WhichOneof("body"):
            case "hello" if self.manners.welcome:
                self._term += 1
                welcome = pb.Welcome(
                    term=self._term,
                    farm_id=self.farm,
                    verdicts=self.manners.verdicts(message.hello),
                )
                await self._write(context, pb.ControllerMessage(welcome=welcome))
            case "heartbeat" if self.manners.acknowledge_beats:
                beat = message.heartbeat
                lost = [run for run in beat.runs if run.run_id in self.manners.lost]
                ack = pb.HeartbeatAck(number=beat.number, lost=lost)
                await self._write(context, pb.ControllerMessage(heartbeat_ack=ack))
            case "runs_started" if self.manners.answer_starts:
                verdicts = [
                    pb.StartVerdict(run=run.run, go=pb.Go(asked_at=run.asked_at, seconds_left=3600))
                    for run in message.runs_started.runs
                ]
                verdict = pb.StartVerdicts(verdicts=verdicts)
                await self._write(context, pb.ControllerMessage(start_verdicts=verdict))
            case "run_records" if self.manners.acknowledge_records:
                await self._write(
                    context, pb.ControllerMessage(record_acks=acks_of(message.run_records))
                )
            case _:
                pass


def acks_of(records: pb.RunRecords) -> pb.RecordAcks:
    """Return the acknowledgement of *records*: the highest number of each run."""
    highest: dict[tuple[str, int], int] = {}
    for record in records.records:
        key = (record.run.run_id, record.run.epoch)
        highest[key] = max(highest.get(key, 0), record.sequence)
    return pb.RecordAcks(
        acks=[
            pb.RecordAck(run_id=run_id, epoch=epoch, sequence=sequence)
            for (run_id, epoch), sequence in highest.items()
        ]
    )


@asynccontextmanager
async def scripted_controller(timers: Timers) -> AsyncIterator[ScriptedController]:
    """Serve on a free port of loopback until the block ends."""
    controller = ScriptedController(timers)
    await controller.start()
    try:
        yield controller
    finally:
        await controller.stop_serving()
