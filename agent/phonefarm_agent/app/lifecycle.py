"""Runs the agent: takes back earlier runs, works, and stops in good order."""

import asyncio
import shutil
from enum import IntEnum
from pathlib import Path

import structlog
from phonefarm_common.reasons import FailureCode

from phonefarm_agent.app.disk_guard import DiskGuard
from phonefarm_agent.app.runtime_choice import OUTLIVES_AGENT, RuntimeManager
from phonefarm_agent.app.settings import Settings
from phonefarm_agent.app.status import STOPPING
from phonefarm_agent.model.host import HostReport, Incidents
from phonefarm_agent.rpc.connection import ConnectionClosedError, ControllerConnection
from phonefarm_agent.runs.journal_schema import JournalContents, put_fact
from phonefarm_agent.runs.lifecycle import record_loss
from phonefarm_agent.runs.outcome import broken
from phonefarm_agent.runs.run import Run, RunContext
from phonefarm_agent.runs.run_directory import RunDirectory, run_ids_in
from phonefarm_agent.runs.supervisor import Supervisor
from phonefarm_agent.runtimes.interface import Handle, RuntimeFailedError

log = structlog.get_logger()

GOODBYE_SECONDS = 5.0


class ExitCode(IntEnum):
    """Exit codes of `phonefarm-agent run`; its --help documents them."""

    STOPPED = 0
    FAILED = 1
    MISCONFIGURED = 2
    STATE_BUSY = 4
    SUPERSEDED = 5
    REFUSED = 6


class AgentLifecycle:
    """Owns the agent's tasks from the first run it takes back to the last it ends."""

    def __init__(
        self,
        *,
        settings: Settings,
        runtime_manager: RuntimeManager,
        disk_guard: DiskGuard,
        incidents: Incidents,
        context: RunContext,
        kept: JournalContents,
    ) -> None:
        self._settings = settings
        self._runtime_manager = runtime_manager
        self._disk_guard = disk_guard
        self._incidents = incidents
        self._context = context
        self._kept = kept
        self._stopping = ""
        self._farm_changed = ""  # the farm is another one than the journal's

    def begin(self, tasks: asyncio.TaskGroup) -> Supervisor:
        """Take back the runs of the previous process and start the agent's tasks."""
        supervisor = Supervisor(
            context=self._context,
            tasks=tasks,
            withheld=self.withheld,
            condition=self.condition,
            farm=self._on_farm,
        )
        for records in self._kept.records.values():
            self._context.record_queue.put(records)
        kept_runs = supervisor.restore(self._kept.runs)
        if farm := self._kept.facts.get("farm_id"):
            self._runtime_manager.use_farm(farm)
        tasks.create_task(self._runtime_manager.run(), name="runtime")
        tasks.create_task(self._runtime_manager.keep_warm(self._workers), name="pool")
        tasks.create_task(self._disk_guard.run(), name="disk")
        tasks.create_task(self._reconcile(supervisor, kept_runs), name="reconcile")
        return supervisor

    async def until_stopped(
        self, connection: ControllerConnection, supervisor: Supervisor, stop: asyncio.Event
    ) -> ExitCode:
        """Stay connected until *stop* is set or the connection closes for good, then stop."""
        goodbye = asyncio.Event()
        running = asyncio.create_task(connection.run(goodbye=goodbye), name="controller")
        stopped = asyncio.create_task(stop.wait(), name="stop")
        try:
            await asyncio.wait({running, stopped}, return_when=asyncio.FIRST_COMPLETED)
            code = ExitCode.STOPPED
            if running.done():
                code = _closed(running)
            self._stopping = STOPPING
            self._context.changed.set()
            # Runs of an agent the controller will not hear again must not go on unseen.
            if (
                running.done()
                or self._settings.stop_runs_on_exit
                or self._runtime_manager.kind not in OUTLIVES_AGENT
            ):
                await self._end_runs(supervisor, heard=not running.done())
            goodbye.set()
            self._context.changed.set()
            await self._runtime_manager.empty_pool()
            await asyncio.wait({running}, timeout=GOODBYE_SECONDS * self._settings.time_scale)
        finally:
            for task in (running, stopped):
                task.cancel()
            await asyncio.gather(running, stopped, return_exceptions=True)
        return code

    async def _end_runs(self, supervisor: Supervisor, *, heard: bool) -> None:
        """End every run and clean up; wait for the controller to acknowledge it if connected."""
        timers = self._settings.timers
        supervisor.end_all(
            broken(
                FailureCode.AGENT_FENCED,
                f"the agent was stopped ({self._runtime_manager.kind} runtime)",
            )
        )
        waits = [asyncio.create_task(run.released.wait()) for run in supervisor.runs()]
        if waits:
            await asyncio.wait(waits, timeout=timers.kill + timers.clean_up)
        for wait in waits:
            wait.cancel()
        if heard:
            await supervisor.acknowledged(GOODBYE_SECONDS * self._settings.time_scale)

    def withheld(self) -> str:
        """Return why no new work may begin on this host, empty when it may."""
        return (
            self._stopping
            or self._farm_changed
            or self._disk_guard.problem
            or self._context.phones.problem
            or self._runtime_manager.problem
        )

    def condition(self) -> HostReport:
        """Return the host's incidents, recovery steps and why it withholds its phones."""
        failing = "journal_failing" if self._context.journal.failing else ""
        return HostReport(
            withheld=self.withheld() or failing,
            incidents=self._incidents.all(),
            recovery=self._context.phones.recovery(),
        )

    def _workers(self) -> int:
        """Return how many phones can work; 0 when no new work may begin."""
        return 0 if self.withheld() else len(self._context.phones.fit())

    def _on_farm(self, farm: str) -> None:
        known = self._kept.facts.get("farm_id")
        if known and known != farm:
            # Its runs, containers and records are the other farm's: nothing is mixed with them.
            log.error(
                "farm.changed",
                was=known,
                now=farm,
                remedy="start this agent with a new, empty state directory",
            )
            self._farm_changed = f"farm_changed:{known}"
            self._context.changed.set()
            return
        self._farm_changed = ""
        self._runtime_manager.use_farm(farm)
        self._context.journal.write_later(put_fact("farm_id", farm))

    async def _reconcile(self, supervisor: Supervisor, kept_runs: list[Run]) -> None:
        """Match the journal's runs with the runtime's: resume, end or remove each."""
        await self._runtime_manager.farm_known.wait()
        handles = {handle.run_id: handle for handle in await self._held()}
        for run in kept_runs:
            handle = handles.get(run.ref.run_id)
            await self._take_back(run, handle)
            supervisor.resume(run)
        unknown = supervisor.unknown_among(handles)
        for run_id in unknown:
            await self._remove(handles[run_id])
            log.warning("container.unknown_removed", run_id=run_id)
        # A lost journal leaves directories behind as well.
        for run_id in supervisor.unknown_among(run_ids_in(self._context.runs_folder)):
            RunDirectory(self._context.runs_folder, run_id).remove()
        for run_id in supervisor.unknown_among(
            await asyncio.to_thread(_names_in, self._context.run_logs)
        ):
            shutil.rmtree(self._context.run_logs / run_id, ignore_errors=True)
        supervisor.reconciled(unknown)

    async def _take_back(self, run: Run, handle: Handle | None) -> None:
        if handle is not None:
            run.adopt(handle)
            log.info("run.adopted", run_id=run.ref.run_id, phase=run.state.phase.value)
            return
        run.adopt(None)
        await record_loss(run)

    async def _held(self) -> list[Handle]:
        while True:
            try:
                return await self._runtime_manager.runtime().held()
            except RuntimeFailedError as error:
                log.warning("runtime.unavailable", error=str(error))
                await asyncio.sleep(self._settings.time_scale)

    async def _remove(self, handle: Handle) -> None:
        while True:
            try:
                await self._runtime_manager.runtime().remove(handle)
            except RuntimeFailedError as error:
                log.warning("container.not_removed", container=handle.name, error=str(error))
                await asyncio.sleep(self._settings.time_scale)
            else:
                return


def _names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()] if folder.is_dir() else []


def _closed(running: asyncio.Task[None]) -> ExitCode:
    """Return the exit code for a connection that is closed for good; raise other errors."""
    try:
        running.result()
    except ConnectionClosedError as error:
        log.warning("connection.closed", reason=error.reason, error=str(error))
        return ExitCode.SUPERSEDED if error.reason == "superseded" else ExitCode.REFUSED
    return ExitCode.STOPPED
