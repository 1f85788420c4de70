"""A fault run from its start to its verdict: load, faults, rest, history, checker."""

import asyncio
import json
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aiohttp
from faults.breaking import (
    CLOCK,
    DATABASE,
    DISKS,
    ENGINE,
    HEAVY,
    LIGHT,
    Break,
    Fault,
    Site,
    drawn,
    name_of,
)
from faults.checker import violations
from faults.clocks import DATABASE_CLOCK
from faults.gathering import journal_of, kept, ledgers_of, rows_of, unrest
from faults.ground import Ground, ground, say
from faults.history import Arrival, History, Violation
from faults.load import ROUTES, STRATEGIES, Load
from faults.receiving import Receiver
from phonefarm_simulator.control import ControlError
from support.asset_server import asset_server, mp4

REST_SECONDS: Final = 300.0
RECOVERY_SECONDS: Final = 120.0
LEAST_COMPLETED: Final = 300
_LOOK_SECONDS: Final = 0.1
_DRAWN: Final = 2000


@dataclass
class Injected:
    """A fault as it went; times are seconds since 1970."""

    kind: str
    began: float
    ended: float = 0.0
    recovered: float | None = None  # seconds from its end to the first work done after it
    waits: bool = False


@dataclass(frozen=True, kw_only=True)
class PhoneRuns:
    """How the runs of one phone ended."""

    serialno: str
    personality: str
    outcomes: Mapping[str, int]


@dataclass
class Verdict:
    """What a run found."""

    engine: str
    seed: int
    seconds: float
    faults: list[Injected]
    requests: int
    statuses: Mapping[str, int]
    processes: Mapping[str, int]
    between: int  # processes completed while no fault was under way
    missing: list[str]  # of capabilities, routings and cancels: what never ended
    phones: list[PhoneRuns]
    rested: float  # seconds from the last fault to rest
    found: list[Violation] = field(default_factory=list)
    containers: bool = False

    @property
    def counts(self) -> bool:
        """Tell whether enough was done for the run to say anything."""
        return self.between >= LEAST_COMPLETED and not self.missing


class Run:
    """One run; made and run by `fault_run`."""

    def __init__(self, it: Ground, load: Load, receivers: tuple[Receiver, ...], seed: int) -> None:
        self._ground = it
        self._load = load
        self._site = Site(ground=it, receivers=receivers)
        self._seed = seed
        self._alone = asyncio.Lock()  # held while recovery is waited for: nothing else breaks
        self.injected: list[Injected] = []
        self.found: list[Violation] = []

    async def break_things(self, seconds: float) -> None:
        """Inject both streams of faults for so long; a fault under way is seen to its end."""
        until = time.monotonic() + seconds
        heavy = dict(HEAVY)
        if self._ground.server is not None:
            heavy |= DATABASE
        if DATABASE_CLOCK in self._ground.clocks.right:
            heavy |= CLOCK
        if self._ground.disks:
            heavy |= DISKS
        if self._ground.engine is not None:
            heavy |= ENGINE
        await asyncio.gather(
            self._stream("heavy", heavy, until), self._stream("light", LIGHT, until)
        )

    async def _stream(self, name: str, kinds: Mapping[str, Break], until: float) -> None:
        for fault in drawn(self._seed, name, list(kinds), _DRAWN):
            if time.monotonic() + fault.seconds > until:
                return
            async with self._alone if fault.waits else _nothing():
                await self._inject(kinds[fault.kind], fault)
            async with self._alone:  # a recovery that another one waits for is not disturbed
                pass
            await asyncio.sleep(fault.gap)

    async def _inject(self, breaks: Break, fault: Fault) -> None:
        told = Injected(kind=name_of(fault), began=time.time(), waits=fault.waits)
        say(f"  {told.kind}, target {fault.target}, for {fault.seconds:.1f} s")
        with suppress(ControlError):  # a phone that is away already takes no fault
            async with breaks(self._site, fault):
                self.injected.append(told)
                await asyncio.sleep(fault.seconds)
            told.ended = time.time()
        if fault.waits:
            await self._recover(told)

    async def _recover(self, told: Injected) -> None:
        begun = time.monotonic()
        try:
            async with asyncio.timeout(RECOVERY_SECONDS):
                while await self._ended(await self._load.probe()) != "completed":
                    pass
        except TimeoutError:
            shows = f"no work was done for {RECOVERY_SECONDS:.0f} s after {told.kind}"
            self.found.append(Violation(promise="recovers", subject=told.kind, shows=shows))
            say(f"  VIOLATION: {shows}")
            return
        told.recovered = time.monotonic() - begun
        say(f"  recovered in {told.recovered:.1f} s")

    async def _ended(self, process_id: str) -> str:
        """Return how a process ended."""
        headers = {"Authorization": f"Bearer {self._ground.farm.api_key}"}
        timeout = aiohttp.ClientTimeout(total=5)
        async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
            while True:
                for door in self._ground.made.gateways.values():
                    with suppress(aiohttp.ClientError, OSError, TimeoutError, ValueError):
                        async with session.get(f"http://{door}/processes/{process_id}") as got:
                            record = await got.json(content_type=None)
                        if got.status == 200 and record["timestamps"]["finished_at"]:
                            return str(record["status"])
                await asyncio.sleep(_LOOK_SECONDS)

    async def come_to_rest(self) -> float:
        """Return how long it took until nothing moved any more."""
        begun = time.monotonic()
        last = ""
        while time.monotonic() < begun + REST_SECONDS:
            moving = await asyncio.to_thread(unrest, self._ground)
            if not moving:
                return time.monotonic() - begun
            if moving != last:
                say(f"  still {moving}")
            last = moving
            await asyncio.sleep(1)
        shows = f"after {REST_SECONDS:.0f} s still {last}"
        self.found.append(Violation(promise="rests", subject="the farm", shows=shows))
        (self._ground.folder / "stood_still.json").write_text(await self._ground.stood_still())
        return REST_SECONDS


class _nothing:  # noqa: N801 - reads as the word it is
    """A lock that is none."""

    async def __aenter__(self) -> None: ...

    async def __aexit__(self, *_: object) -> None: ...


async def fault_run(
    folder: Path, *, engine: str, seed: int, seconds: float, containers: bool = False
) -> Verdict:
    """Run a farm in *folder* under load and faults for so long, and judge what it left."""
    loads: list[Load] = []
    arrivals: list[Arrival] = []

    def heard(arrival: Arrival) -> None:
        arrivals.append(arrival)
        for load in loads:
            load.hear(arrival)

    began = time.time()
    async with AsyncExitStack() as stack:
        it = await stack.enter_async_context(ground(folder, engine, containers=containers))
        web = await stack.enter_async_context(asset_server())
        web.put("/v.mp4", mp4(60_000, seed=seed))
        receivers = tuple(
            [
                await stack.enter_async_context(Receiver.serving(it.farm.webhook_secret, heard))
                for _ in range(3)
            ]
        )
        load = Load(
            farm=it.farm,
            gateways=tuple(it.made.gateways.values()),
            seed=seed,
            callbacks=tuple(receiver.url for receiver in receivers),
            video=web.url("/v.mp4"),
            ahead=lambda: it.clocks.right.get(DATABASE_CLOCK, 0),
        )
        loads.append(load)
        run = Run(it, load, receivers, seed)
        over = asyncio.Event()
        mending = asyncio.create_task(it.keep_mending())
        asking = asyncio.create_task(load.run(over))
        await asyncio.sleep(5)
        await run.break_things(seconds)
        over.set()
        await asking
        rested = await run.come_to_rest()
        mending.cancel()
        await asyncio.gather(mending, return_exceptions=True)
        ended = it.made.ended()
        for name in ended:
            shows = "it ended by itself"
            run.found.append(Violation(promise="lives", subject=name, shows=shows))
        await it.made.stop()
        history = History(
            asks=tuple(load.asks),
            rows=await rows_of(it.database),
            ledgers=ledgers_of(folder),
            arrivals=tuple(arrivals),
            journal=tuple(one for agent in it.agents for one in journal_of(folder, agent)),
            settings=tuple(it.clocks.settings),
            began=began,
            ended=time.time(),
        )
    (folder / "history.json").write_text(json.dumps(kept(history), default=str))
    verdict = _verdict(history, run.injected, load, it.personalities)
    verdict.engine, verdict.seed, verdict.seconds, verdict.rested = engine, seed, seconds, rested
    verdict.containers = containers
    verdict.found = [*run.found, *violations(history)]
    return verdict


def _verdict(
    history: History, faults: list[Injected], load: Load, personalities: Mapping[str, str]
) -> Verdict:
    processes = history.rows.processes
    under_way = [(fault.began * 1e6, fault.ended * 1e6) for fault in faults]
    between = sum(
        row["state"] == "DONE"
        and not any(
            began <= at <= ended
            for at in history.database_clock.times(row["finished_at"])
            for began, ended in under_way
        )
        for row in processes.values()
    )
    states = Counter(row["state"] for row in processes.values())
    return Verdict(
        engine="",
        seed=0,
        seconds=0,
        rested=0,
        faults=faults,
        requests=len(history.asks),
        statuses=dict(sorted(Counter(str(ask.status) for ask in history.asks).items())),
        processes=dict(states),
        between=between,
        missing=_missing(history, load),
        phones=[
            PhoneRuns(serialno=serialno, personality=kind, outcomes=_outcomes(history, serialno))
            for serialno, kind in sorted(personalities.items())
        ],
    )


def _outcomes(history: History, serialno: str) -> Mapping[str, int]:
    """Return how many runs of a phone ended in which way; a voided one has no outcome."""
    phones = history.rows.phones
    ends = Counter(
        str(run["outcome"] or run["state"].lower()).partition(":")[0]
        for run in history.rows.runs.values()
        if phones[run["phone_id"]]["serialno"] == serialno
    )
    return dict(ends)


def _missing(history: History, load: Load) -> list[str]:
    """Return each capability with a routing that never completed, and idle kinds of cancel."""
    ended: dict[str, set[str]] = defaultdict(set)
    for row in history.rows.processes.values():
        ended[row["state"]].add(row["process_id"])
    owners = {key: row["process_id"] for key, row in history.rows.items.items()}
    done = {
        route for named, route in load.routes.items() if owners.get(named, named) in ended["DONE"]
    }
    stopped = {how for key, how in load.strategies.items() if key in ended["CANCELLED"]}
    missing = [" ".join(route) for route in ROUTES if route not in done]
    return missing + [f"cancel {how}" for how in STRATEGIES if how not in stopped]
