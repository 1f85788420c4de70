"""Two controllers on one database and two hosts of phones, in virtual time, a message at a time.

The controllers are the real operations, sessions and reapers; an operation may be held between two
of its transactions while others go on. What each side hears is what `rpc/agent_service` and the
agent's link would let it hear: what was said on one stream keeps its order, and a stream may end at
any time, at one end before the other.
"""

import asyncio
import contextvars
import itertools
from collections.abc import AsyncIterator, Callable, Collection, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final, cast

from phonefarm_common.ids import PROTOCOL_VERSION
from phonefarm_common.reasons import FarmError
from phonefarm_common.timers import Timers
from phonefarm_controller.agents.handshake import AgentHello
from phonefarm_controller.agents.offers import offers_here
from phonefarm_controller.agents.sessions import Session, SupersededBy, SupersededError
from phonefarm_controller.model.retry_policy import RetryPolicy
from phonefarm_controller.model.run_reports import PhoneReleased, Report
from phonefarm_controller.model.states import LeaseState, RunState
from phonefarm_controller.runs.lease_reaper import LeaseReaper
from phonefarm_controller.scheduler import dispatcher
from phonefarm_controller.store.database import Database, Transaction
from support.lease_agents import LANES, Agent, Beat, BeatAck, End, Hello, Offer, Phase, Up, Wire
from support.snapshots import Snapshot, check, check_step, snapshot
from support.world import VirtualClock, World, seen_phone

HOSTS: Final = {"north": ("a", "c"), "south": ("b", "c")}
"""The phone `c` is within reach of both: it belongs to whoever is connected."""
SERIALS: Final = ("a", "b", "c")
TIMERS: Final = Timers()


class Held:
    """An operation that stops at its second transaction until it is let go."""

    def __init__(self) -> None:
        self.transactions = 0
        self.there = asyncio.Event()
        self.go = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
        self.hosts: Callable[[], None] = lambda: None

    async def turn(self) -> None:
        """Wait here when it is the second transaction's turn."""
        self.transactions += 1
        if self.transactions == 2:
            self.there.set()
            await self.go.wait()


_held: contextvars.ContextVar[Held | None] = contextvars.ContextVar("held", default=None)


class Gated:
    """A database that lets no transaction of a held operation through."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @asynccontextmanager
    async def writing(self, **options: Any) -> AsyncIterator[Transaction]:
        """Write, when it is this operation's turn."""
        if (held := _held.get()) is not None:
            await held.turn()
        async with self._database.writing(**options) as tx:
            yield tx

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Transaction]:
        """Read, when it is this operation's turn."""
        if (held := _held.get()) is not None:
            await held.turn()
        async with self._database.reading() as tx:
            yield tx


@dataclass
class Controller:
    """One controller: operations, sessions, and the loops a step at a time."""

    database: Database
    clock: VirtualClock
    profiles: dict[str, Any]
    world: World = field(init=False)

    def __post_init__(self) -> None:
        """Wire it."""
        gated = cast("Database", Gated(self.database))
        policy = RetryPolicy(retry_first=1, infra_attempts=3)
        self.world = World(
            database=gated, clock=self.clock, policy=policy, profiles=self.profiles, timers=TIMERS
        )
        self.reaper = LeaseReaper(
            database=gated, expiry=self.world.lease_expiry, timers=TIMERS, clock=self.clock
        )

    async def dispatch(self) -> None:
        """Claim once for what is offered here."""
        assignments = await self.world.claim(offers_here(self.world.sessions))
        dispatcher._push(assignments, self.world.sessions)


class LeaseFarm:
    """Everything, and what must hold of it."""

    def __init__(
        self, databases: tuple[Database, Database], clock: VirtualClock, profiles: dict[str, Any]
    ) -> None:
        self.clock = clock
        self.controllers = [Controller(d, clock, profiles) for d in databases]
        self.epochs = dict.fromkeys(SERIALS, 0)
        self.taps: list[str] = []
        self.agents = {
            name: Agent(
                name,
                serials=serials,
                clock=clock,
                timers=TIMERS,
                epochs=self.epochs,
                taps=self.taps,
            )
            for name, serials in HOSTS.items()
        }
        self.wires: list[Wire] = []
        self.held: list[Held] = []
        self.processes: list[str] = []
        self.seen: Snapshot | None = None
        numbers = itertools.count(1)
        ids = lambda: f"{next(numbers):032d}"  # noqa: E731 - the operations take a callable
        for controller in self.controllers:
            controller.world.enqueue._ids = controller.world.claim._ids = ids

    @property
    def now(self) -> Snapshot:
        """Return the database as of the last judgement."""
        assert self.seen is not None
        return self.seen

    async def begin(self) -> None:
        """Furnish the farm: phones admitted, one account each."""
        for name in HOSTS:
            await self.connect(name, 0)
            await self.chat(name)
        world = self.controllers[0].world
        for serial in SERIALS:
            await world.phone_admin.admit(f"ph-{serial}", actor="test")
            await world.put_account(f"acc-{serial}", phone_id=f"ph-{serial}")
        await self.judge()

    # Streams

    async def connect(self, name: str, controller: int) -> None:
        """Let the agent turn to a controller."""
        self.wires.append(self.agents[name].connect(controller))

    async def take(self, wire: Wire, lane: str) -> None:
        """Let the controller take in the next message of a lane."""
        if not wire.serves or not wire.up[lane]:
            return
        if lane != "control" and wire.session is None:
            return  # before the hello nothing else is read
        message = wire.up[lane].popleft()
        world = self.controllers[wire.controller].world
        match message:
            case Hello():
                await self._greet(wire, message)
            case Beat(number=number, runs=runs) if wire.session is not None:
                # Its own task repeats the desired list; no heartbeat is answered long after it.
                if self._desire_due(wire):
                    await self.desire(wire)
                old = self._superseded(wire)
                lost = await world.renew(wire.agent.name, wire.session.term, runs)
                assert (lost is None) == old, "a heartbeat counts in the newest term alone"
                if lost is None:
                    self._end(wire)
                else:
                    wire.down.append(BeatAck(number=number, lost=tuple(lost)))
            case Offer(number=number, serials=serials) if wire.session is not None:
                ids = [wire.session.phone_ids.get(serial) for serial in serials]
                world.sessions.offer(wire.session, number, [i for i in ids if i])
            case tuple() if wire.session is not None:
                words = [replace(cast("Any", word), term=wire.session.term) for word in message]
                old = self._superseded(wire)
                before = await snapshot(self.controllers[0].database) if old else None
                answers = await (world.start if lane == "starts" else world.take)(words)
                superseded = [isinstance(answer, SupersededError) for answer in answers]
                assert all(each == old for each in superseded), "only the newest counts"
                if old:
                    assert await snapshot(self.controllers[0].database) == before
                    self._end(wire)
                else:
                    wire.down.extend(
                        each for each in answers if not isinstance(each, SupersededError)
                    )
            case _:
                raise AssertionError(message)
        self._push()

    async def take_alone(self, wire: Wire, lane: str) -> None:
        """Let the controller take in one message; a late word must change nothing."""
        message = wire.up[lane][0]
        late = _late(self.now, message)
        await self.take(wire, lane)
        if late:
            after = await snapshot(self.controllers[0].database)
            assert after.without_records() == self.now.without_records(), "a late word counted"

    async def _greet(self, wire: Wire, hello: Hello) -> None:
        world, name = self.controllers[wire.controller].world, wire.agent.name
        greeting = AgentHello(
            agent_id=name,
            boot_id=f"boot-{hello.incarnation}",
            incarnation=hello.incarnation,
            protocol_version=PROTOCOL_VERSION,
            version="0",
            runtime="process",
            time_scale=1.0,
            phones=tuple(seen_phone(s, epoch=e) for s, e in hello.epochs.items()),
            held=hello.held,
        )
        try:
            greeted = await world.handshake.connect(greeting)
        except FarmError:
            self._end(wire)
            return
        session = Session(agent_id=name, term=greeted.term, incarnation=hello.incarnation)
        session.phone_ids = {n.serialno: n.phone_id for n in greeted.phones if not n.refused}
        wire.session, wire.desired_at = session, self.clock.monotonic()
        wire.down.append(greeted)
        world.sessions.enter(session)
        if greeted.lost and wire.listens:  # else its Welcome could not be written
            await world.lease_expiry.forget(greeted.lost, agent_id=name, term=greeted.term)

    async def desire(self, wire: Wire) -> None:
        """Repeat the desired list."""
        if wire.serves and wire.session is not None:
            world = self.controllers[wire.controller].world
            wire.down.append(await world.desire(wire.agent.name))
            wire.desired_at = self.clock.monotonic()

    def _desire_due(self, wire: Wire) -> bool:
        return self.clock.monotonic() >= wire.desired_at + TIMERS.desired

    async def close(self, wire: Wire) -> None:
        """Let the controller notice that the stream is over."""
        if wire.serves:
            self._end(wire)
            if wire.session is not None:
                controller = self.controllers[wire.controller]
                await controller.world.handshake.disconnect(wire.agent.name, wire.session.term)

    def _end(self, wire: Wire) -> None:
        wire.serves = False
        for lane in wire.up.values():
            lane.clear()
        wire.down.append(End())
        if wire.session is not None:
            self.controllers[wire.controller].world.sessions.leave(wire.session)

    def _superseded(self, wire: Wire) -> bool:
        terms = [w.session.term for w in self.wires if w.agent is wire.agent and w.session]
        return wire.session is not None and wire.session.term < max(terms)

    def _push(self) -> None:
        """Write what waits for each agent on its stream."""
        for wire in self.wires:
            while wire.session is not None and not wire.session.outbox.empty():
                push = wire.session.outbox.get_nowait()
                if wire.serves:
                    wire.down.append(push)
                    if isinstance(push, SupersededBy):
                        self._end(wire)

    # Loops

    async def loop(self, controller: int, kind: str) -> None:
        """Let one loop of a controller take one turn."""
        await self._loops(controller)[kind]()
        self._push()

    def _loops(self, controller: int) -> dict[str, Callable[[], Coroutine[Any, Any, None]]]:
        here = self.controllers[controller]
        return {
            "dispatcher": here.dispatch,
            "reaper": here.reaper.check,
            "ticker": lambda: _run_due_items(here),
        }

    async def hold(self, controller: int, kind: str) -> None:
        """Let a loop begin its turn, and hold it at its second transaction."""
        held = Held()
        token = _held.set(held)
        held.task = asyncio.create_task(self._loops(controller)[kind]())
        _held.reset(token)
        reached = asyncio.create_task(held.there.wait())
        await asyncio.wait({held.task, reached}, return_when=asyncio.FIRST_COMPLETED)
        if held.there.is_set():
            self.held.append(held)
        else:
            reached.cancel()
            await held.task
        self._push()

    async def let_go(self, held: Held) -> None:
        """Let a held loop finish its turn."""
        self.held.remove(held)
        held.go.set()
        assert held.task is not None
        await held.task
        self._push()

    # What goes well

    async def chat(self, name: str) -> None:
        """Let an agent say all that is due, and both sides hear everything."""
        agent = self.agents[name]
        agent.speak()
        wire = agent.wire
        while wire is not None and wire is agent.wire and (wire.down or any(wire.up.values())):
            for lane in LANES:
                while wire.serves and wire.up[lane] and (lane == "control" or wire.session):
                    await self.take(wire, lane)
            while wire is agent.wire and wire.down:
                agent.hear()
            if wire.serves is False and not wire.down:
                break

    async def carry(self, name: str) -> None:
        """Let an agent come by work and begin it, as far as there is any for it."""
        agent = self.agents[name]
        if agent.wire is None or not agent.wire.serves:
            await self.connect(name, sorted(HOSTS).index(name))
        await self.chat(name)
        if agent.wire is not None:
            await self.loop(agent.wire.controller, "dispatcher")
        for _ in range(2):
            await self.chat(name)
            for run in list(agent.runs.values()):
                if run.phase is Phase.TAKEN:
                    agent.advance(run, well=True)

    async def pass_time(
        self, seconds: float, *, talkers: Collection[str] = (), loopers: Collection[int] = (0, 1)
    ) -> None:
        """Let time pass in which these agents and controllers do all they should.

        The other agents are silent, and the loops of the other controllers stand still.
        """
        step = TIMERS.desired if talkers else 15.0
        for _ in range(max(1, round(seconds / step))):
            self.advance(step)
            for name in talkers:
                await self.carry(name)
                agent = self.agents[name]
                if agent.wire is not None and self._desire_due(agent.wire):
                    await self.desire(agent.wire)
                for run in list(agent.runs.values()):
                    agent.advance(run, well=True)
                await self.chat(name)
            for number in loopers:
                for kind in ("reaper", "ticker", "dispatcher"):
                    await self.loop(number, kind)
            await self.judge()

    async def mend(self) -> None:
        """Let what is held go on, and controllers notice which streams are over."""
        for held in list(self.held):
            await self.let_go(held)
        for wire in self.wires:
            if not wire.listens:
                await self.close(wire)
        self.wires = [wire for wire in self.wires if wire.listens or wire.serves]

    def advance(self, seconds: float) -> None:
        """Let time pass; agents keep their rules at each moment of it."""
        self.clock.advance(seconds)
        for agent in self.agents.values():
            agent.keep_rules()

    # What must hold

    async def judge(self) -> None:
        """Assert every promise of what stands in the database and of who drives."""
        after = await snapshot(self.controllers[0].database)
        check(after)
        if self.seen is not None:
            check_step(self.seen, after)
        self.seen = after
        self.check_drivers()

    def check_drivers(self) -> None:
        """Assert that whoever drives has the lease, and is alone at its phone and account."""
        leases = self.now.leases
        driving = [run for agent in self.agents.values() for run in agent.driving()]
        phones = [run.assignment.phone_id for run in driving]
        accounts = [run.assignment.account_id for run in driving]
        assert len(set(phones)) == len(phones), "two runs drive one phone"
        assert len(set(accounts)) == len(accounts), "two runs act for one account"
        for run in driving:
            lease = leases[run.ref.lease_id]
            assert lease["state"] in {LeaseState.LIVE, LeaseState.RELEASING}, (
                f"a run drives with a lease that is {lease['state']}"
            )
            state = self.now.runs[run.ref.run_id]["state"]
            assert state != RunState.VOIDED, "a run drives whose claim was taken back"
        assert len(set(self.taps)) == len(self.taps), "an action was done twice"


def _late(now: Snapshot, message: Up) -> bool:
    """Tell whether nothing of this may count any more: the leases it names are not live."""
    if not isinstance(message, tuple):
        return False
    for word in message:
        lease = now.leases.get(word.run.lease_id)
        if lease is not None and lease["state"] == LeaseState.LIVE:
            return False
        if isinstance(word, Report) and isinstance(word.body, PhoneReleased):
            return False  # what it says of the phone counts while the lease keeps that
    return True


async def _run_due_items(controller: Controller) -> None:
    await controller.world.due_items.requeue()
    await controller.world.due_items.expire()
