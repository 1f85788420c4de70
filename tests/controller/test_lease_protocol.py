"""The lease protocol, explored: two controllers, two hosts, one database, virtual time.

Every message may be late, lost with its stream, or said again; every controller may stand still in
the middle of an operation while the other goes on; agents die and come back, phones change hosts.
The operations, sessions, reapers and the store are the real ones (support/lease_farm.py), the
agents are modelled after the real agent (support/lease_agents.py).

Seen to catch: a reaper that ends leases at a third of the TTL, agents that fence themselves only
behind it, a heartbeat that counts in an old term, a late record that counts. Not caught by this
many examples: a gate that never refuses, a claim voided without a look at its item, a record of an
old term; the tests of leases, sessions and frozen controllers hold those.
"""

import asyncio
import functools
import itertools
import os
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from phonefarm_common.reasons import FarmError
from phonefarm_common.wire_enums import DeliveryOutcome
from phonefarm_controller.app.controller import store_app_profiles
from phonefarm_controller.callbacks.delivery import DeliveryReport
from phonefarm_controller.model.items import CancelStrategy
from phonefarm_controller.model.requests import Routing, Target
from phonefarm_controller.model.states import PROCESS_TERMINAL, Health, LeaseState
from phonefarm_controller.processes.cancel import CancelRequest
from phonefarm_controller.store.database import open_database
from phonefarm_controller.store.migrate import migrate
from support.examples import ALL, settings
from support.lease_agents import LANES, HostRun, Wire
from support.lease_farm import HOSTS, SERIALS, TIMERS, LeaseFarm
from support.postgres_server import PostgresServer
from support.prepared import prepare_sqlite
from support.world import POST, VirtualClock, posting_allowed

QUIET_SECONDS = 200.0
"""Within which everything comes to an end once nothing goes wrong any more."""
DAY_SECONDS = 86_400.0
"""After which what has no deadline of its own ends."""
names = st.sampled_from(sorted(HOSTS))
controllers = st.integers(0, 1)
loops = st.sampled_from(["dispatcher", "dispatcher", "reaper", "ticker"])
choices = st.integers(0, 7)


class LeaseProtocol(RuleBasedStateMachine):
    """One farm per example, on the databases that *urls* names: one, or one per controller."""

    farm: LeaseFarm

    def __init__(self, urls: Callable[[], tuple[str, ...]]) -> None:
        super().__init__()
        self.urls = urls
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.sound = True

    def do(self, deed: Awaitable[None]) -> None:
        """Do it, and judge what came of it."""
        self.sound = False  # until it has gone well
        self.runner.run(self._judged(deed))
        self.sound = True

    async def _judged(self, deed: Awaitable[None]) -> None:
        await deed
        await self.farm.judge()

    @initialize()
    def furnish(self) -> None:
        """Open the databases and let both hosts say hello."""
        self.sound = False
        self.runner.run(self._furnish())
        self.sound = True

    async def _furnish(self) -> None:
        clock = VirtualClock()
        databases = []
        for url in self.urls():
            database = await self.stack.enter_async_context(open_database(url, clock))
            database._now = clock.now
            databases.append(database)
        await migrate(databases[0])
        profiles = await store_app_profiles(databases[0], Path("/nonexistent"))
        self.farm = LeaseFarm((databases[0], databases[-1]), clock, profiles)
        await self.farm.begin()
        for where in (None, *SERIALS):
            await self._enqueue(where, where == "a", None, 0)
        for name in HOSTS:
            await self.farm.carry(name)
        await self.farm.judge()

    # Callers and operators

    @precondition(lambda self: len(self.farm.processes) < 8)
    @rule(
        where=st.sampled_from([None, None, *SERIALS]),
        post=st.booleans(),
        limit=st.sampled_from([None, None, 40.0]),
        controller=controllers,
    )
    def enqueue(
        self, where: str | None, limit: float | None, controller: int, *, post: bool
    ) -> None:
        """Ask for work, for any phone or for one."""
        self.do(self._enqueue(where, post, limit, controller))

    async def _enqueue(
        self, where: str | None, post: bool, limit: float | None, controller: int
    ) -> None:
        farm, world = self.farm, self.farm.controllers[controller].world
        target = Target(routing=Routing.QUEUE)
        if where is not None:
            target = Target(routing=Routing.DIRECT, phone_id=f"ph-{where}")
        with suppress(FarmError):  # the phone has no account just now, or several
            accepted = await world.accept(
                target=target,
                request_id=f"r{len(farm.processes)}",
                capability=POST if post else "keyword_warmup",
                deadline=None if limit is None else farm.clock.now() + _seconds(limit),
            )
            farm.processes.append(accepted)

    @precondition(lambda self: self.farm.processes)
    @rule(which=choices, strategy=st.sampled_from(CancelStrategy), controller=controllers)
    def cancel(self, which: int, strategy: CancelStrategy, controller: int) -> None:
        """Cancel a process, perhaps an ended one."""
        farm = self.farm
        ask = CancelRequest(
            process_id=farm.processes[which % len(farm.processes)],
            reason="test",
            requested_by="tester",
            strategy=strategy,
            force_after_seconds=1,
        )
        self.do(self._cancel(controller, ask))

    async def _cancel(self, controller: int, ask: CancelRequest) -> None:
        await self.farm.controllers[controller].world.cancel(ask)
        self.farm._push()

    @rule(serial=st.sampled_from(SERIALS), controller=controllers)
    def give_back(self, serial: str, controller: int) -> None:
        """Let an operator return a phone."""
        self.do(self._give_back(serial, controller))

    async def _give_back(self, serial: str, controller: int) -> None:
        world = self.farm.controllers[controller].world
        await world.phone_admin.give_back(f"ph-{serial}", actor="test", reason="looked at it")

    @rule(of=st.sampled_from(SERIALS), to=st.sampled_from(SERIALS))
    def move_account(self, of: str, to: str) -> None:
        """Let an operator move an account to another phone, whatever it does just now."""
        world = self.farm.controllers[0].world
        self.do(world.put_account(f"acc-{of}", phone_id=f"ph-{to}"))

    # Streams

    @rule(name=names, controller=controllers, speaking=st.booleans())
    def connect(self, name: str, controller: int, *, speaking: bool) -> None:
        """Let an agent turn to a controller; its old stream may be served for a while.

        *speaking*: what it said last on the old one is still on its way.
        """
        if speaking:
            agent = self.farm.agents[name]
            agent.beat()
            agent.ask()
            agent.report()
        self.do(self.farm.connect(name, controller))

    @rule(name=names)
    def leave(self, name: str) -> None:
        """Let an agent lose its stream."""
        self.farm.agents[name].leave()

    @precondition(lambda self: self._served())
    @rule(which=choices)
    def close(self, which: int) -> None:
        """Let a controller notice that a stream is over, or lose it."""
        wires = self._served()
        self.do(self.farm.close(wires[which % len(wires)]))

    @rule(name=names, what=st.sampled_from(["beat", "offer", "ask", "report"]))
    def say(self, name: str, what: str) -> None:
        """Let an agent say something, perhaps again."""
        getattr(self.farm.agents[name], what)()

    @precondition(lambda self: self._waiting())
    @rule(which=choices)
    def take(self, which: int) -> None:
        """Let a controller take in a message, however old it is."""
        lanes = self._waiting()
        wire, lane = lanes[which % len(lanes)]
        self.do(self.farm.take_alone(wire, lane))

    @precondition(lambda self: any(a.wire and a.wire.down for a in self.farm.agents.values()))
    @rule(name=names)
    def hear(self, name: str) -> None:
        """Let an agent take in the next message."""
        self.farm.agents[name].hear()

    @rule(name=names)
    def chat(self, name: str) -> None:
        """Let an agent and its controller say and hear all that is due."""
        self.do(self.farm.chat(name))

    @precondition(lambda self: self._served())
    @rule(which=choices)
    def desire(self, which: int) -> None:
        """Let a controller repeat what an agent should do."""
        wires = self._served()
        self.do(self.farm.desire(wires[which % len(wires)]))

    # Hosts

    @precondition(lambda self: self._runs())
    @rule(which=choices, well=st.sampled_from([True, True, True, False]))
    def advance(self, which: int, *, well: bool) -> None:
        """Bring a run on its host one step on."""
        runs = self._runs()
        name, run = runs[which % len(runs)]
        self.farm.agents[name].advance(run, well=well)

    @rule(name=names, lost=st.sampled_from(["nothing", "nothing", "container", "journal"]))
    def restart(self, name: str, lost: str) -> None:
        """Let an agent die and come back."""
        self.farm.agents[name].restart(
            container_lost=lost == "container", journal_lost=lost == "journal"
        )

    # Loops and time

    @rule(controller=controllers, kind=loops)
    def loop(self, controller: int, kind: str) -> None:
        """Let a loop take a turn."""
        self.do(self.farm.loop(controller, kind))

    @precondition(lambda self: len(self.farm.held) < 2)
    @rule(controller=controllers, kind=loops)
    def hold(self, controller: int, kind: str) -> None:
        """Let a loop stand still between its look and its deed."""
        self.do(self.farm.hold(controller, kind))

    @precondition(lambda self: self.farm.held)
    @rule(which=choices)
    def let_go(self, which: int) -> None:
        """Let it go on."""
        self.do(self.farm.let_go(self.farm.held[which % len(self.farm.held)]))

    @rule(name=names, controller=controllers)
    def race_the_reaper(self, name: str, controller: int) -> None:
        """Let an agent be heard again between a reaper's look at its silence and its deed."""
        self.do(self._race_the_reaper(name, controller))

    async def _race_the_reaper(self, name: str, controller: int) -> None:
        await self.farm.loop(controller, "reaper")
        self.farm.advance(TIMERS.lease_ttl)
        await self.farm.hold(controller, "reaper")
        await self.farm.chat(name)
        await self.farm.judge()
        for held in list(self.farm.held):
            await self.farm.let_go(held)

    @rule(seconds=st.sampled_from([1.0, 9.0, 26.0, 31.0, 45.0, 61.0, 91.0]))
    def wait(self, seconds: float) -> None:
        """Let time pass in which nothing is said or done."""
        self.farm.advance(seconds)

    @rule(
        seconds=st.sampled_from([5.0, 10.0, 30.0, 45.0, 60.0, 75.0, 105.0]),
        talkers=st.sampled_from([(), (), ("north",), ("south",), ("north", "south")]),
        loopers=st.sampled_from([(0,), (1,), (0, 1)]),
    )
    def pass_time(self, seconds: float, talkers: tuple[str, ...], loopers: tuple[int, ...]) -> None:
        """Let time pass that some use well and in which others are silent."""
        self.do(self.farm.pass_time(seconds, talkers=talkers, loopers=loopers))

    @rule(name=names)
    def carry(self, name: str) -> None:
        """Let an agent come by work and begin it."""
        self.do(self.farm.carry(name))

    # Judgement

    @invariant()
    def nobody_drives_without_a_lease(self) -> None:
        """At every moment, not only when something is committed."""
        if self.sound:
            self.farm.check_drivers()

    def teardown(self) -> None:
        """Let all go well until everything has ended, unless something is broken already."""
        try:
            if self.sound and hasattr(self, "farm"):
                self.runner.run(self._end())
        finally:
            self.runner.run(self._close())
            self.runner.close()

    async def _end(self) -> None:
        farm = self.farm
        world = farm.controllers[0].world
        await self._calm()
        if not self._over() and all(self._parted(item) for item in self._unfinished()):
            # Only what asks for a phone and an account that are no longer together: its deadline.
            farm.advance(DAY_SECONDS)
            await self._calm()
        assert self._over(), f"something never ends: {self._left()}"
        while lent := await world.deliver.lease(limit=50):
            await world.deliver.settle([_settled(d.delivery_id, d.lease_token) for d in lent])
        await farm.judge()
        assert {d["state"] for d in farm.now.deliveries.values()} <= {"delivered"}

    async def _close(self) -> None:
        for held in list(self.farm.held) if hasattr(self, "farm") else []:
            assert held.task is not None
            held.task.cancel()
            await asyncio.gather(held.task, return_exceptions=True)
        await self.stack.aclose()

    def _over(self) -> bool:
        now = self.farm.now
        ended = all(p["state"] in PROCESS_TERMINAL for p in now.processes.values())
        return ended and all(le["state"] == LeaseState.ENDED for le in now.leases.values())

    async def _calm(self) -> None:
        """Let all go well for a while, with every phone and account as they were at first."""
        world = self.farm.controllers[0].world
        for serial in SERIALS:
            await world.put_account(f"acc-{serial}", phone_id=f"ph-{serial}")
        for _ in range(int(QUIET_SECONDS / 5)):
            for serial in SERIALS:
                if self._needs_somebody(f"ph-{serial}"):
                    await self._give_back(serial, 0)
            await self.farm.mend()
            await self.farm.pass_time(5, talkers=sorted(HOSTS))
            if self._over():
                break

    def _needs_somebody(self, phone_id: str) -> bool:
        """Tell whether the phone gets no work until an operator returns it."""
        now = self.farm.now
        dirty = {le["phone_id"] for le in now.leases.values() if le["state"] == LeaseState.DIRTY}
        return phone_id in dirty or now.phones[phone_id]["health"] != Health.GOOD

    @staticmethod
    def _parted(item: Mapping[str, Any]) -> bool:
        phone, account = item["want_phone_id"], item["want_account_id"]
        return bool(phone and account) and phone[len("ph-") :] != account[len("acc-") :]

    def _unfinished(self) -> list[Mapping[str, Any]]:
        return [item for item in self.farm.now.items.values() if item["finished_at"] is None]

    def _left(self) -> list[object]:
        leases = self.farm.now.leases.values()
        return [*self._unfinished(), *(le for le in leases if le["state"] != LeaseState.ENDED)]

    def _served(self) -> list[Wire]:
        return [wire for wire in self.farm.wires if wire.serves]

    def _waiting(self) -> list[tuple[Wire, str]]:
        return [(w, lane) for w in self._served() for lane in LANES if w.up[lane]]

    def _runs(self) -> list[tuple[str, HostRun]]:
        return [(name, run) for name, a in self.farm.agents.items() for run in a.runs.values()]


def _seconds(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


def _settled(delivery_id: str, token: str | None) -> DeliveryReport:
    return DeliveryReport(
        delivery_id=delivery_id,
        lease_token=token or "",
        outcome=DeliveryOutcome.DELIVERED,
        http_status=200,
        error="",
        retry_after_seconds=0,
    )


async def _made(url: str) -> None:
    async with open_database(url, VirtualClock()) as database:
        await migrate(database)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder in memory, where there is one: thousands of commits."""
    memory = Path("/dev/shm")  # noqa: S108 - a folder of our own in it
    place = Path(tempfile.mkdtemp(prefix="pf-lease-", dir=memory if memory.is_dir() else None))
    yield place
    shutil.rmtree(place)


def _on_sqlite(folder: Path) -> Callable[[], tuple[str, ...]]:
    numbers = itertools.count(1)

    def fresh() -> tuple[str, ...]:
        url = f"sqlite:///{folder / f'{next(numbers)}.db'}"
        prepare_sqlite(url)
        return (url,)

    return fresh


def _explore(urls: Callable[[], tuple[str, ...]], *, examples: int, steps: int) -> None:
    with posting_allowed():
        run_state_machine_as_test(
            functools.partial(LeaseProtocol, urls),  # type: ignore[arg-type]  # it is only called
            settings=settings(
                max_examples=examples,
                stateful_step_count=steps,
                derandomize=True,
                database=None,
                phases=[Phase.generate],  # a failure is told as it came: shrinking takes minutes
            ),
        )


def test_no_interleaving_breaks_the_lease_protocol(folder: Path) -> None:
    """One driver per phone at every moment, one current run per item, and everything ends."""
    _explore(_on_sqlite(folder), examples=8 if ALL else 3, steps=50)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_no_interleaving_of_many_breaks_the_lease_protocol(folder: Path) -> None:
    """Said again of more examples, and longer ones."""
    _explore(_on_sqlite(folder), examples=40, steps=70)


@pytest.mark.long
@pytest.mark.postgres
@pytest.mark.timeout(900)
def test_no_interleaving_on_postgresql_breaks_the_lease_protocol(
    postgres: PostgresServer, postgres_template: str
) -> None:
    """Two controllers, each with connections of its own, on a database for each example."""
    numbers = itertools.count(1)
    with ExitStack() as stack:

        def fresh() -> tuple[str, ...]:
            name = f"lease_{os.getpid()}_{next(numbers)}"
            url = stack.enter_context(postgres.database(name, template=postgres_template))
            return (url, url)

        _explore(fresh, examples=10, steps=50)
