"""Builds one agent from its settings and runs it."""

import asyncio
import importlib.metadata
import os
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import structlog
from phonefarm_common.address_policy import AddressPolicy
from phonefarm_common.clock import SystemClock
from phonefarm_common.ids import boot_id
from phonefarm_common.lifecycle import write_private_json

from phonefarm_agent.app.disk_guard import PERIOD_SECONDS, DiskGuard
from phonefarm_agent.app.lifecycle import AgentLifecycle, ExitCode
from phonefarm_agent.app.runtime_choice import RuntimeManager, choose_runtime
from phonefarm_agent.app.settings import Settings
from phonefarm_agent.app.state_dir import only_agent, raise_incarnation
from phonefarm_agent.app.status import AgentStatus, StatusReporter, no_reporter
from phonefarm_agent.assets.store import AssetStore, asset_store
from phonefarm_agent.judge.judge import opened_judge
from phonefarm_agent.model.host import Incidents
from phonefarm_agent.phones.adb_phones import AdbPhones, adb_phones
from phonefarm_agent.phones.dummy import DummyPhones
from phonefarm_agent.phones.screen.screens import Screens
from phonefarm_agent.phones.screen.server_jar import screen_server_jar
from phonefarm_agent.rpc.connection import ControllerAddress, ControllerConnection
from phonefarm_agent.rpc.screen_streams import ScreenStreams
from phonefarm_agent.rpc.session import AgentIdentity
from phonefarm_agent.runs.evidence_spool import EvidenceSpool
from phonefarm_agent.runs.journal import Journal, open_journal
from phonefarm_agent.runs.journal_schema import JournalContents, put_fact
from phonefarm_agent.runs.record_queue import RecordQueue
from phonefarm_agent.runs.run import RunContext
from phonefarm_agent.runs.run_directory import make_runs_folder, remove_runs_folder
from phonefarm_agent.runs.screen_runs import ScreenRuns
from phonefarm_agent.runtimes.dummy import DummyRuntime

log = structlog.get_logger()


class _StoppedError(Exception):
    """Cancels the agent's tasks once the goodbye is sent."""


async def run_agent(
    settings: Settings, stop: asyncio.Event, report_status: StatusReporter = no_reporter
) -> ExitCode:
    """Run the agent until *stop* is set, or until no controller will ever accept it.

    *report_status* looks after the agent from when it is put together until it has ended. Raises
    ConfigError, StateBusyError, NoRoomError or sqlite3.Error when it cannot begin.
    """
    with only_agent(settings.state):
        kind = await choose_runtime(settings)
        identity = AgentIdentity(
            agent_id=settings.agent_id,
            boot_id=boot_id(),
            incarnation=raise_incarnation(settings.state),
            version=importlib.metadata.version("phonefarm"),
            time_scale=settings.time_scale,
            runtime=kind,
        )
        changed = asyncio.Event()
        async with (
            _runs_folder(settings) as runs_folder,
            open_journal(settings.state / "journal.sqlite") as (journal, kept),
            _phones(settings, changed, journal, kept) as (phones, incidents),
            _assets(settings, identity) as assets,
            opened_judge(settings.judge, SystemClock()) as judge,
        ):
            evidence_changed = asyncio.Event()
            spool = EvidenceSpool(
                folder=settings.state / "evidence",
                journal=journal,
                changed=evidence_changed,
                kept=kept.evidence,
                manifests=kept.manifests,
            )
            await asyncio.to_thread(spool.sweep)
            runtime_manager = RuntimeManager(
                kind,
                settings=settings,
                runs_folder=runs_folder,
                incidents=incidents,
                changed=changed.set,
            )
            disk_guard = DiskGuard(
                settings.state,
                required=settings.least_free,
                reserve=settings.reserve,
                period=PERIOD_SECONDS * settings.time_scale,
                incidents=incidents,
                changed=changed.set,
            )
            await disk_guard.check()
            hold_runtime = DummyRuntime()
            await hold_runtime.check()
            context = RunContext(
                journal=journal,
                record_queue=RecordQueue(),
                spool=spool,
                assets=assets,
                judge=judge,
                phones=phones,
                runtime=runtime_manager.runtime,
                hold_runtime=hold_runtime,
                runs_folder=runs_folder,
                run_logs=settings.state / "diaries",
                timers=settings.timers,
                scale=settings.time_scale,
                clock=SystemClock(),
                changed=changed,
            )
            lifecycle = AgentLifecycle(
                settings=settings,
                runtime_manager=runtime_manager,
                disk_guard=disk_guard,
                incidents=incidents,
                context=context,
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
                    supervisor = lifecycle.begin(tasks)
                    if isinstance(phones, AdbPhones):
                        tasks.create_task(phones.keep(supervisor.is_free), name="phones")
                    screens = Screens(
                        find=phones.screen_device,
                        runs=ScreenRuns(supervisor),
                        policy=settings.screens,
                        jar=screen_server_jar,
                        clock=context.clock,
                        scale=settings.time_scale,
                        tasks=tasks,
                    )
                    connection = ControllerConnection(
                        address=ControllerAddress(
                            targets=settings.controllers,
                            token=settings.token,
                            member_folder=settings.state if settings.joined else None,
                        ),
                        identity=identity,
                        host=supervisor,
                        timers=settings.timers,
                        clock=context.clock,
                        changed=changed,
                        evidence_changed=evidence_changed,
                        screens=ScreenStreams(screens=screens, timers=settings.timers, tasks=tasks),
                    )
                    status = AgentStatus(
                        connection=connection,
                        supervisor=supervisor,
                        phones=phones,
                        journal=context.journal,
                        clock=context.clock,
                        withheld=lifecycle.withheld,
                        incidents=incidents,
                        judge=judge,
                    )
                    write_private_json(settings.ready_file, _facts(settings, kind, phones))
                    async with report_status(status):
                        code = await lifecycle.until_stopped(connection, supervisor, stop)
                    raise _StoppedError  # noqa: TRY301 - how a TaskGroup is told to cancel its tasks
            except* _StoppedError:
                log.info("agent.stopped", exit_code=int(code))
            return code


@asynccontextmanager
async def _runs_folder(settings: Settings) -> AsyncIterator[Path]:
    runs_folder = make_runs_folder(settings.state)
    try:
        yield runs_folder
    finally:
        remove_runs_folder(runs_folder)


def _assets(settings: Settings, identity: AgentIdentity) -> AbstractAsyncContextManager[AssetStore]:
    return asset_store(
        folder=settings.state / "assets",
        policy=AddressPolicy(allowed=settings.asset_networks),
        limits=settings.asset_limits,
        agent=f"phonefarm-agent/{identity.version}",
        scale=settings.time_scale,
    )


@asynccontextmanager
async def _phones(
    settings: Settings, changed: asyncio.Event, journal: Journal, kept: JournalContents
) -> AsyncIterator[tuple[AdbPhones | DummyPhones, Incidents]]:
    """Yield the phones of the host and its incidents."""
    clock = SystemClock()
    incidents = Incidents(
        clock=clock,
        kept=kept.facts.get("incidents", ""),
        keep=lambda text: journal.write_later(put_fact("incidents", text)),
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
        keep=lambda text: journal.write_later(put_fact("recovery", text)),
        changed=changed.set,
    )
    async with opening as phones:
        yield phones, incidents


def _facts(settings: Settings, kind: str, phones: AdbPhones | DummyPhones) -> dict[str, object]:
    adb = f"{phones.upstream[0]}:{phones.upstream[1]}" if isinstance(phones, AdbPhones) else ""
    return {"adb": adb, "pid": os.getpid(), "runtime": kind, "agent_id": settings.agent_id}
