"""One agent from start to stop."""

import asyncio
import importlib.metadata
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from enum import IntEnum
from pathlib import Path

import structlog
from phonefarm_common.address_policy import AddressPolicy
from phonefarm_common.clock import SystemClock
from phonefarm_common.ids import boot_id
from phonefarm_common.lifecycle import announce
from phonefarm_common.reasons import FailureCode

from phonefarm_agent.app.disk_guard import PERIOD_SECONDS, Disk
from phonefarm_agent.app.runtime_choice import OUTLIVES_AGENT, Hosting, choose_runtime
from phonefarm_agent.app.settings import Settings
from phonefarm_agent.app.state_dir import only_agent, raise_incarnation
from phonefarm_agent.app.status import STOPPING, Supervise, Vitals, unsupervised
from phonefarm_agent.assets.store import AssetStore, asset_store
from phonefarm_agent.model.host import HostReport, Incidents
from phonefarm_agent.phones.adb_phones import AdbPhones, adb_phones
from phonefarm_agent.phones.dummy import DummyPhones
from phonefarm_agent.rpc.connection import Address, Line, LineClosedError
from phonefarm_agent.rpc.session import Identity
from phonefarm_agent.runs.evidence_spool import Shelf
from phonefarm_agent.runs.journal import Journal, open_journal
from phonefarm_agent.runs.journal_schema import Kept, put_fact
from phonefarm_agent.runs.lifecycle import lose
from phonefarm_agent.runs.outcome import broken
from phonefarm_agent.runs.record_queue import Outbox
from phonefarm_agent.runs.run import Run, Tools
from phonefarm_agent.runs.run_directory import RunDirectory, kept_in, leave_place, place_for_runs
from phonefarm_agent.runs.supervisor import Roster
from phonefarm_agent.runtimes.dummy import DummyRuntime
from phonefarm_agent.runtimes.interface import Handle, RuntimeFailedError

log = structlog.get_logger()

FAREWELL_SECONDS = 5.0


class ExitCode(IntEnum):
    """How `phonefarm-agent run` ends; cli documents them."""

    STOPPED = 0
    FAILED = 1
    MISCONFIGURED = 2
    STATE_BUSY = 4
    SUPERSEDED = 5
    REFUSED = 6


class _StoppedError(Exception):
    """All is said; the tasks may be cancelled."""


async def run_agent(
    settings: Settings, stop: asyncio.Event, supervise: Supervise = unsupervised
) -> ExitCode:
    """Work until *stop* is set, or until the controller will not have this agent again.

    *supervise* looks after the agent from when it is put together until it has ended. Raises
    ConfigError, StateBusyError, NoRoomError or sqlite3.Error when it cannot begin.
    """
    with only_agent(settings.state):
        kind = await choose_runtime(settings)
        identity = Identity(
            agent_id=settings.agent_id,
            boot_id=boot_id(),
            incarnation=raise_incarnation(settings.state),
            version=importlib.metadata.version("phonefarm"),
            time_scale=settings.time_scale,
            runtime=kind,
        )
        changed = asyncio.Event()
        async with (
            _place(settings) as place,
            open_journal(settings.state / "journal.sqlite") as (journal, kept),
            _phones(settings, changed, journal, kept) as (phones, incidents),
            _assets(settings, identity) as assets,
        ):
            evidence_changed = asyncio.Event()
            shelf = Shelf(
                place=settings.state / "evidence",
                journal=journal,
                changed=evidence_changed,
                kept=kept.evidence,
                manifests=kept.manifests,
            )
            await asyncio.to_thread(shelf.sweep)
            hosting = Hosting(
                kind,
                settings=settings,
                place=place,
                incidents=incidents,
                changed=changed.set,
            )
            disk = Disk(
                settings.state,
                least=settings.least_free,
                reserve=settings.reserve,
                period=PERIOD_SECONDS * settings.time_scale,
                incidents=incidents,
                changed=changed.set,
            )
            await disk.look()
            by_hand = DummyRuntime()
            await by_hand.check()
            tools = Tools(
                journal=journal,
                outbox=Outbox(),
                shelf=shelf,
                assets=assets,
                phones=phones,
                runtime=hosting.runtime,
                by_hand=by_hand,
                place=place,
                diaries=settings.state / "diaries",
                timers=settings.timers,
                scale=settings.time_scale,
                clock=SystemClock(),
                changed=changed,
            )
            work = _Work(
                settings=settings,
                hosting=hosting,
                disk=disk,
                incidents=incidents,
                tools=tools,
                kept=kept,
            )
            log.info(
                "agent.started",
                runtime=kind,
                incarnation=identity.incarnation,
                version=identity.version,
            )
            code = ExitCode.FAILED
            try:
                async with asyncio.TaskGroup() as tasks:
                    roster = work.begin(tasks)
                    if isinstance(phones, AdbPhones):
                        tasks.create_task(phones.keep(roster.is_free), name="phones")
                    line = Line(
                        address=Address(
                            targets=settings.controllers,
                            token=settings.token,
                            place=settings.state if settings.joined else None,
                        ),
                        identity=identity,
                        host=roster,
                        timers=settings.timers,
                        clock=tools.clock,
                        changed=changed,
                        evidence_changed=evidence_changed,
                    )
                    vitals = Vitals(
                        line=line,
                        roster=roster,
                        phones=phones,
                        journal=tools.journal,
                        clock=tools.clock,
                        withheld=work.withheld,
                        incidents=incidents,
                    )
                    announce(settings.ready_file, _facts(settings, kind, phones))
                    async with supervise(vitals):
                        code = await work.until_stopped(line, roster, stop)
                    raise _StoppedError  # noqa: TRY301 - how a TaskGroup is told to cancel its tasks
            except* _StoppedError:
                log.info("agent.stopped", exit_code=int(code))
            return code


@asynccontextmanager
async def _place(settings: Settings) -> AsyncIterator[Path]:
    place = place_for_runs(settings.state)
    try:
        yield place
    finally:
        leave_place(place)


def _assets(settings: Settings, identity: Identity) -> AbstractAsyncContextManager[AssetStore]:
    return asset_store(
        place=settings.state / "assets",
        policy=AddressPolicy(allowed=settings.asset_networks),
        limits=settings.asset_limits,
        agent=f"phonefarm-agent/{identity.version}",
        scale=settings.time_scale,
    )


@asynccontextmanager
async def _phones(
    settings: Settings, changed: asyncio.Event, journal: Journal, kept: Kept
) -> AsyncIterator[tuple[AdbPhones | DummyPhones, Incidents]]:
    """Yield the phones of the host, and what hits the host as a whole."""
    clock = SystemClock()
    incidents = Incidents(
        clock=clock,
        kept=kept.facts.get("incidents", ""),
        keep=lambda text: journal.note(put_fact("incidents", text)),
        changed=changed.set,
    )
    if settings.dummy_phones:
        yield DummyPhones(settings.dummy_phones), incidents
        return
    opening: AbstractAsyncContextManager[AdbPhones] = adb_phones(
        state=settings.state,
        agent_id=settings.agent_id,
        port=settings.adb_port,
        addresses=settings.connect,
        timers=settings.timers,
        limits=settings.phone_limits,
        scale=settings.time_scale,
        clock=clock,
        incidents=incidents,
        kept=kept.facts.get("recovery", ""),
        keep=lambda text: journal.note(put_fact("recovery", text)),
        changed=changed.set,
    )
    async with opening as phones:
        yield phones, incidents


def _facts(settings: Settings, kind: str, phones: AdbPhones | DummyPhones) -> dict[str, object]:
    adb = f"{phones.upstream[0]}:{phones.upstream[1]}" if isinstance(phones, AdbPhones) else ""
    return {"adb": adb, "pid": os.getpid(), "runtime": kind, "agent_id": settings.agent_id}


class _Work:
    """The runs of this life: what an earlier one left, what the line brings, how it ends."""

    def __init__(
        self,
        *,
        settings: Settings,
        hosting: Hosting,
        disk: Disk,
        incidents: Incidents,
        tools: Tools,
        kept: Kept,
    ) -> None:
        self._settings = settings
        self._hosting = hosting
        self._disk = disk
        self._incidents = incidents
        self._tools = tools
        self._kept = kept
        self._stopping = ""
        self._moved = ""  # the farm is another one than the journal's

    def begin(self, tasks: asyncio.TaskGroup) -> Roster:
        """Take back the runs of an earlier life and begin to look after the host."""
        roster = Roster(
            tools=self._tools,
            tasks=tasks,
            withheld=self.withheld,
            condition=self.condition,
            farm=self._farm_known,
        )
        for records in self._kept.records.values():
            self._tools.outbox.put(records)
        kept_runs = roster.remember(self._kept.runs)
        if farm := self._kept.facts.get("farm_id"):
            self._hosting.set_farm(farm)
        tasks.create_task(self._hosting.look_after(), name="hosting")
        tasks.create_task(self._hosting.keep_warm(self._workers), name="pool")
        tasks.create_task(self._disk.look_after(), name="disk")
        tasks.create_task(self._settle(roster, kept_runs), name="settle")
        return roster

    async def until_stopped(self, line: Line, roster: Roster, stop: asyncio.Event) -> ExitCode:
        """Hold the line until *stop*, or until it is closed for good, and end in good order."""
        goodbye = asyncio.Event()
        holding = asyncio.create_task(line.hold(goodbye=goodbye), name="line")
        told = asyncio.create_task(stop.wait(), name="stop")
        try:
            await asyncio.wait({holding, told}, return_when=asyncio.FIRST_COMPLETED)
            code = ExitCode.STOPPED
            if holding.done():
                code = _closed(holding)
            self._stopping = STOPPING
            self._tools.changed.set()
            # Runs of an agent the controller will not hear again must not go on unseen.
            if (
                holding.done()
                or self._settings.stop_runs_on_exit
                or self._hosting.kind not in OUTLIVES_AGENT
            ):
                await self._end_runs(roster, heard=not holding.done())
            goodbye.set()
            self._tools.changed.set()
            await self._hosting.empty_pool()
            await asyncio.wait({holding}, timeout=FAREWELL_SECONDS * self._settings.time_scale)
        finally:
            for task in (holding, told):
                task.cancel()
            await asyncio.gather(holding, told, return_exceptions=True)
        return code

    async def _end_runs(self, roster: Roster, *, heard: bool) -> None:
        """End every run, clean up, and have the controller acknowledge it if it can."""
        timers = self._settings.timers
        roster.end_all(
            broken(
                FailureCode.AGENT_FENCED, f"the agent was stopped ({self._hosting.kind} runtime)"
            )
        )
        waits = [asyncio.create_task(run.released.wait()) for run in roster.runs()]
        if waits:
            await asyncio.wait(waits, timeout=timers.kill + timers.clean_up)
        for wait in waits:
            wait.cancel()
        if heard:
            await roster.acknowledged(FAREWELL_SECONDS * self._settings.time_scale)

    def withheld(self) -> str:
        """Return why nothing new may begin on this host; empty: it may."""
        return (
            self._stopping
            or self._moved
            or self._disk.trouble
            or self._tools.phones.trouble
            or self._hosting.trouble
        )

    def condition(self) -> HostReport:
        """Return what is known of the host as a whole."""
        failing = "journal_failing" if self._tools.journal.failing else ""
        return HostReport(
            withheld=self.withheld() or failing,
            incidents=self._incidents.all(),
            recovery=self._tools.phones.recovery(),
        )

    def _workers(self) -> int:
        """Return how many phones work or could; none where nothing may begin."""
        return 0 if self.withheld() else len(self._tools.phones.fit())

    def _farm_known(self, farm: str) -> None:
        known = self._kept.facts.get("farm_id")
        if known and known != farm:
            # Its runs, containers and records are the other farm's: nothing is mixed with them.
            log.error("farm.changed", was=known, now=farm, remedy="give it a state directory anew")
            self._moved = f"farm_changed:{known}"
            self._tools.changed.set()
            return
        self._moved = ""
        self._hosting.set_farm(farm)
        self._tools.journal.note(put_fact("farm_id", farm))

    async def _settle(self, roster: Roster, kept_runs: list[Run]) -> None:
        """Match what the journal holds with what the runtime holds."""
        await self._hosting.known.wait()
        handles = {handle.run_id: handle for handle in await self._held()}
        for run in kept_runs:
            handle = handles.get(run.ref.run_id)
            await self._take_back(run, handle)
            roster.resume(run)
        unknown = roster.sweep(handles)
        for run_id in unknown:
            await self._remove(handles[run_id])
            log.warning("container.unknown_removed", run_id=run_id)
        # A lost journal leaves directories behind as well.
        for run_id in roster.sweep(kept_in(self._tools.place)):
            RunDirectory(self._tools.place, run_id).remove()
        for run_id in roster.sweep(await asyncio.to_thread(_names_in, self._tools.diaries)):
            shutil.rmtree(self._tools.diaries / run_id, ignore_errors=True)
        roster.swept(unknown)

    async def _take_back(self, run: Run, handle: Handle | None) -> None:
        if handle is not None:
            run.adopt(handle)
            log.info("run.adopted", run_id=run.ref.run_id, phase=run.state.phase.value)
            return
        run.adopt(None)
        await lose(run)

    async def _held(self) -> list[Handle]:
        while True:
            try:
                return await self._hosting.runtime().held()
            except RuntimeFailedError as error:
                log.warning("runtime.away", error=str(error))
                await asyncio.sleep(self._settings.time_scale)

    async def _remove(self, handle: Handle) -> None:
        while True:
            try:
                await self._hosting.runtime().remove(handle)
            except RuntimeFailedError as error:
                log.warning("container.not_removed", container=handle.name, error=str(error))
                await asyncio.sleep(self._settings.time_scale)
            else:
                return


def _names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()] if folder.is_dir() else []


def _closed(holding: asyncio.Task[None]) -> ExitCode:
    """Return the exit code of a line that is closed for good; a fault of its own is raised."""
    try:
        holding.result()
    except LineClosedError as error:
        log.warning("line.closed", reason=error.reason, error=str(error))
        return ExitCode.SUPERSEDED if error.reason == "superseded" else ExitCode.REFUSED
    return ExitCode.STOPPED
