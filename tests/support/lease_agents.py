"""Agents as the lease protocol sees them: what they hold, when they may drive, what they say.

Modelled after the agent's `runs/supervisor`, `runs/enforcement` and `rpc/sender`: the fence is
counted from the sending of the last heartbeat that was acknowledged; nothing is queued but the
records of runs; a run taken over from an earlier life reaches its phone again only after `continue`
and a renewal.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from phonefarm_common.reasons import FailureClass, FailureCode
from phonefarm_common.timers import Timers
from phonefarm_common.wire_enums import RunOutcome
from phonefarm_controller.agents.handshake import HeldRun, Welcome
from phonefarm_controller.agents.sessions import Session, SupersededBy
from phonefarm_controller.model.failures import Failure
from phonefarm_controller.model.run_reports import (
    ActionDone,
    ActionStarted,
    Assignment,
    Body,
    PhoneReleased,
    Report,
    RunEnded,
    RunRef,
    RunRefused,
    Stop,
)
from phonefarm_controller.runs.desired_state import DesiredState
from phonefarm_controller.runs.report import Ack
from phonefarm_controller.runs.start_gate import StartAnswer, StartRequest
from support.world import POST, VirtualClock

CLEAN: Final = PhoneReleased(clean=True, reason="", residue=())
POSTS_AT: Final = 1
"""The index of the action of POST that must not happen twice."""
UNTOLD: Final = 0
"""Instead of a term: the controller fills in that of the session by which a word comes."""


@dataclass(frozen=True, kw_only=True)
class Hello:
    """An agent's first words on a wire."""

    incarnation: int
    held: tuple[HeldRun, ...]
    epochs: Mapping[str, int]  # by serial number


@dataclass(frozen=True, kw_only=True)
class Beat:
    """A heartbeat."""

    number: int
    sent_at: float
    runs: tuple[RunRef, ...]


@dataclass(frozen=True, kw_only=True)
class Offer:
    """The phones that are fit now."""

    number: int
    serials: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class BeatAck:
    """A heartbeat's acknowledgement."""

    number: int
    lost: tuple[RunRef, ...]


@dataclass(frozen=True, kw_only=True)
class End:
    """The controller has ended the session."""


Up = Hello | Beat | Offer | tuple[StartRequest, ...] | tuple[Report, ...]
Down = Welcome | BeatAck | StartAnswer | Ack | DesiredState | Assignment | Stop | SupersededBy | End
LANES: Final = ("control", "starts", "records")
"""What one controller takes in order; between them it may take anything first."""


@dataclass(kw_only=True, eq=False)
class Wire:
    """One stream. Each end may think that it is over before the other does."""

    agent: "Agent"
    controller: int
    up: dict[str, deque[Up]] = field(default_factory=lambda: {lane: deque() for lane in LANES})
    down: deque[Down] = field(default_factory=deque)
    listens: bool = True  # the agent has not left it
    serves: bool = True  # the controller has not left it
    session: Session | None = None
    desired_at: float = 0.0


class Phase(StrEnum):
    """How far a run has come on its host."""

    TAKEN = "taken"
    READY = "ready"
    GOING = "going"
    ENDED = "ended"
    RELEASED = "released"


@dataclass(kw_only=True, eq=False)
class HostRun:
    """A run as its agent knows it."""

    assignment: Assignment
    basis: float
    phase: Phase = Phase.TAKEN
    sequence: int = 0
    acknowledged: int = 0
    records: dict[int, Body] = field(default_factory=dict)  # not acknowledged, by number
    cut: bool = False  # its phone is out of its reach for good
    stopping: bool = False
    unclean: bool = False
    adopted: bool = False
    confirmed: bool = False
    renewed: bool = False
    left: int = 3  # steps until it has done everything
    tapped: bool = False  # the action that must not happen twice has begun

    @property
    def ref(self) -> RunRef:
        """Return what names the run."""
        return self.assignment.run

    def say(self, *bodies: Body) -> None:
        """Journal records."""
        for body in bodies:
            self.sequence += 1
            self.records[self.sequence] = body


class Agent:
    """One host. Phones may be within reach of two hosts, as network phones are."""

    def __init__(
        self,
        name: str,
        *,
        serials: Sequence[str],
        clock: VirtualClock,
        timers: Timers,
        epochs: dict[str, int],
        taps: list[str],
    ) -> None:
        """Take what all agents share: *epochs*, the lease file of each phone, and *taps*."""
        self.name = name
        self.serials = serials
        self.clock = clock
        self.timers = timers
        self.epochs = epochs
        self.taps = taps
        self.incarnation = 1
        self.runs: dict[str, HostRun] = {}
        self.forgotten: dict[str, HostRun] = {}
        self.wire: Wire | None = None
        self.welcomed = False
        self._named: frozenset[str] = frozenset()
        self._basis = -float("inf")
        self._hello_at = 0.0
        self._beats: dict[int, Beat] = {}
        self._beat_at = self._offer_at = -float("inf")
        self._beaten: frozenset[RunRef] = frozenset()
        self._offered: frozenset[str] = frozenset()
        self._numbers = 0

    # What the promises are about.

    def driving(self) -> list[HostRun]:
        """Return the runs whose phone would hear them now."""
        return [run for run in self.runs.values() if self.drives(run)]

    def drives(self, run: HostRun) -> bool:
        """Tell whether the run's proxy would pass a byte now."""
        open_ = not run.adopted or (run.confirmed and run.renewed)
        fenced = self.clock.monotonic() >= run.basis + self.timers.self_fence
        return run.phase is Phase.GOING and open_ and not run.cut and not fenced

    # What it says.

    def connect(self, controller: int) -> Wire:
        """Open a new stream and say hello."""
        self.leave()
        self.wire = Wire(agent=self, controller=controller)
        self.welcomed = False
        self._hello_at = self.clock.monotonic()
        self._beats.clear()
        self._beat_at = self._offer_at = -float("inf")
        held = tuple(
            HeldRun(run=run.ref, ended=run.phase in {Phase.ENDED, Phase.RELEASED})
            for run in self.runs.values()
        )
        epochs = {serial: self.epochs[serial] for serial in self.serials}
        hello = Hello(incarnation=self.incarnation, held=held, epochs=epochs)
        self.wire.up["control"].append(hello)
        return self.wire

    def leave(self) -> None:
        """Give the stream up; what is under way to the controller may still arrive."""
        if self.wire is not None:
            self.wire.listens = False
            self.wire.down.clear()
            self.wire = None
            self.welcomed = False

    def speak(self) -> None:
        """Say what is due, as a link that works does."""
        now = self.clock.monotonic()
        live = {run.ref for run in self.runs.values() if run.phase is not Phase.RELEASED}
        if now - self._beat_at >= self.timers.heartbeat or live - self._beaten:
            self.beat()
        self.ask()
        self.report()
        free = self._named - self._busy()
        if free != self._offered or now - self._offer_at >= self.timers.offer_fresh:
            self.offer()

    def beat(self) -> None:
        """Send a heartbeat that names the runs whose phone is not released."""
        if self.wire is not None and self.welcomed:
            self._numbers += 1
            live = tuple(r.ref for r in self.runs.values() if r.phase is not Phase.RELEASED)
            beat = Beat(number=self._numbers, sent_at=self.clock.monotonic(), runs=live)
            self._beats[beat.number] = beat
            self._beat_at, self._beaten = beat.sent_at, frozenset(live)
            self.wire.up["control"].append(beat)

    def offer(self) -> None:
        """Offer what is free."""
        if self.wire is not None and self.welcomed:
            self._numbers += 1
            self._offered = self._named - self._busy()
            self._offer_at = self.clock.monotonic()
            free = tuple(sorted(self._offered))
            self.wire.up["control"].append(Offer(number=self._numbers, serials=free))

    def ask(self) -> None:
        """Ask at the start gate for all that wait there."""
        asks = tuple(
            StartRequest(agent_id=self.name, term=UNTOLD, run=run.ref, container="box")
            for run in self.runs.values()
            if run.phase is Phase.READY and not run.stopping and not run.cut
        )
        if self.wire is not None and self.welcomed and asks:
            self.wire.up["starts"].append(asks)

    def report(self) -> None:
        """Send every record that is not acknowledged, again or for the first time."""
        reports = tuple(
            Report(agent_id=self.name, term=UNTOLD, run=run.ref, sequence=number, body=body)
            for run in (*self.runs.values(), *self.forgotten.values())
            for number, body in run.records.items()
        )
        if self.wire is not None and self.welcomed and reports:
            self.wire.up["records"].append(reports)

    # What it hears.

    def hear(self) -> None:
        """Take in the next message of its stream."""
        if self.wire is None or not self.wire.down:
            return
        match self.wire.down.popleft():
            case Welcome(verdicts=verdicts, phones=phones):
                self.welcomed = True
                self._basis = max(self._basis, self._hello_at)
                self._named = frozenset(p.serialno for p in phones if not p.refused)
                for ref, stop in verdicts:
                    if (run := self._find(ref)) is not None and stop is None:
                        run.confirmed = True
                    elif stop is not None:
                        self._stop(ref, hard=True)
            case BeatAck(number=number, lost=lost):
                self._renewed(self._beats.pop(number, None), lost)
            case StartAnswer(run=ref, stop=None):
                run = self._find(ref)
                if run is not None and run.phase is Phase.READY and not run.stopping:
                    fenced = self.clock.monotonic() >= run.basis + self.timers.self_fence
                    run.phase = Phase.READY if fenced else Phase.GOING
            case StartAnswer(run=ref, stop=stop, strategy=strategy):
                run = self._find(ref)
                going = run is not None and run.phase is Phase.GOING
                if stop != FailureCode.DEADLINE_PASSED or not going:  # else its `go` was under way
                    self._stop(ref, hard=strategy == "hard")
            case Ack(run_id=run_id, epoch=epoch, sequence=sequence):
                self._acknowledged(run_id, epoch, sequence)
            case DesiredState(claimed=claimed, stops=stops):
                for order in stops:
                    self._stop(order.run, hard=order.strategy == "hard")
                for assignment in claimed:
                    self._assign(assignment)
            case Assignment() as assignment:
                self._assign(assignment)
            case Stop(run=ref, strategy=strategy):
                self._stop(ref, hard=strategy == "hard")
            case SupersededBy() | End():
                self.leave()

    # What it does.

    def keep_rules(self) -> None:
        """Fence what must be fenced by now."""
        for run in self.runs.values():
            if self.clock.monotonic() >= run.basis + self.timers.self_fence:
                run.cut = True

    def advance(self, run: HostRun, *, well: bool) -> None:
        """Bring the run one step on; not *well*: whatever may go wrong with this step does."""
        match run.phase:
            case Phase.TAKEN | Phase.READY if run.cut or run.stopping:
                run.phase = Phase.ENDED
                run.say(_ended(RunOutcome.STOPPED if run.stopping else RunOutcome.FAILED))
            case Phase.TAKEN:
                serial = run.assignment.serialno
                if not well or self.epochs[serial] > run.ref.epoch:
                    run.phase = Phase.RELEASED
                    run.say(RunRefused(reason="not fit"), CLEAN)
                    return
                self.epochs[serial] = run.ref.epoch
                run.phase = Phase.READY
            case Phase.READY:
                pass  # it waits for the controller
            case Phase.GOING:
                self._act(run, well=well)
            case Phase.ENDED:
                run.phase = Phase.RELEASED
                run.unclean = not well
                run.say(CLEAN if well else _unclean())
            case Phase.RELEASED:
                pass  # it waits for the last acknowledgement

    def restart(self, *, container_lost: bool, journal_lost: bool) -> None:
        """Die and come back: what has a container is adopted, nothing else has begun."""
        self.leave()
        self.incarnation += 1
        self._basis = -float("inf")
        if journal_lost:
            self.runs.clear()
            self.forgotten.clear()
        for run in self.runs.values():
            if run.phase is Phase.TAKEN:
                run.phase = Phase.RELEASED
                run.say(RunRefused(reason="agent_restarted"), CLEAN)
            elif run.phase in {Phase.READY, Phase.GOING} and container_lost:
                run.phase = Phase.ENDED
                run.say(_ended(RunOutcome.FAILED, FailureCode.RUN_CRASHED))
            run.adopted, run.confirmed, run.renewed = True, False, False
            run.basis = self.clock.monotonic()

    def _act(self, run: HostRun, *, well: bool) -> None:
        if run.cut or run.stopping or not well:
            run.phase = Phase.ENDED
            run.say(_ended(RunOutcome.STOPPED if run.stopping else RunOutcome.FAILED))
        elif run.left:
            run.left -= 1
        elif run.assignment.capability != POST or f'"skip": [{POSTS_AT}]' in run.assignment.plan:
            run.phase = Phase.ENDED
            run.say(_ended(RunOutcome.DONE))
        elif not run.tapped:
            run.tapped = True
            run.say(ActionStarted(index=POSTS_AT, kind="post"))
        elif run.acknowledged >= run.sequence and self.drives(run):
            self.taps.append(run.ref.item_id)
            run.phase = Phase.ENDED
            done = ActionDone(index=POSTS_AT, kind="post", outputs="{}", seconds=1.0)
            run.say(done, _ended(RunOutcome.DONE))

    def _assign(self, assignment: Assignment) -> None:
        run_id = assignment.run.run_id
        if run_id in self.runs or run_id in self.forgotten:
            return
        run = self.runs[run_id] = HostRun(assignment=assignment, basis=self._basis)
        if assignment.serialno in self._busy(but=run):
            run.phase = Phase.RELEASED
            run.say(RunRefused(reason="phone_busy"), CLEAN)

    def _stop(self, ref: RunRef, *, hard: bool) -> None:
        run = self.runs.get(ref.run_id)
        if run is None:
            self._answer_unknown(ref)
        elif run.ref == ref:
            run.stopping = True
            run.cut = run.cut or hard or run.phase is not Phase.GOING

    def _answer_unknown(self, ref: RunRef) -> None:
        known = self.forgotten.pop(ref.run_id, None)
        if known is None or known.ref != ref:
            names = ("process_id", "phone_id", "serialno", "account_id", "capability", "plan")
            empty = Assignment(
                agent_id=self.name, run=ref, cap_seconds=0.0, **dict.fromkeys(names, "")
            )
            known = HostRun(assignment=empty, basis=self._basis)
        known.phase = Phase.RELEASED
        known.say(_ended(RunOutcome.STOPPED), _unclean() if known.unclean else CLEAN)
        self.runs[ref.run_id] = known

    def _renewed(self, beat: Beat | None, lost: Iterable[RunRef]) -> None:
        if beat is None:
            return
        self._basis = max(self._basis, beat.sent_at)
        for ref in beat.runs:
            run = self._find(ref)
            if run is not None and ref in lost:
                run.cut = True
            elif run is not None:
                run.basis = max(run.basis, beat.sent_at)
                run.renewed = True
                if run.adopted and run.confirmed:
                    # It looks once more at what the phone has seen.
                    run.cut = run.cut or self.epochs[run.assignment.serialno] > ref.epoch

    def _acknowledged(self, run_id: str, epoch: int, sequence: int) -> None:
        run = self.runs.get(run_id)
        if run is None or run.ref.epoch != epoch:
            return
        run.acknowledged = max(run.acknowledged, sequence)
        for number in [number for number in run.records if number <= sequence]:
            del run.records[number]
        if run.phase is Phase.RELEASED and not run.records:
            self.forgotten[run_id] = self.runs.pop(run_id)

    def _find(self, ref: RunRef) -> HostRun | None:
        run = self.runs.get(ref.run_id)
        return run if run is not None and run.ref == ref else None

    def _busy(self, *, but: HostRun | None = None) -> set[str]:
        return {
            run.assignment.serialno
            for run in self.runs.values()
            if run.phase is not Phase.RELEASED and run is not but
        }


def _ended(outcome: RunOutcome, code: str = "broken") -> RunEnded:
    if outcome is not RunOutcome.FAILED:
        return RunEnded(outcome=outcome, failure=None, exit_code=None)
    failure = Failure(code=code, message="", failure_class=FailureClass.INFRA)
    return RunEnded(outcome=outcome, failure=failure, exit_code=1)


def _unclean() -> PhoneReleased:
    return PhoneReleased(clean=False, reason="left over", residue=())
