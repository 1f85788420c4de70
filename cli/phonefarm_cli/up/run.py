"""Runs one farm from start to stop."""

import asyncio
import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phonefarm_common.lifecycle import stop_signals

from phonefarm_cli.client.client import ControllerClient
from phonefarm_cli.client.console_link import console_link
from phonefarm_cli.errors import CommandError, ExitCode
from phonefarm_cli.terminal import echo, note, warn
from phonefarm_cli.up import programs
from phonefarm_cli.up.child_processes import ChildProcesses
from phonefarm_cli.up.image import build_image
from phonefarm_cli.up.onboarding import PhoneOnboarding, echo_phones
from phonefarm_cli.up.orphans import adopt_orphans, end_previous_programs, kill_orphans
from phonefarm_cli.up.secrets import (
    API_KEY,
    WEBHOOK_SECRET,
    Secrets,
    load_secrets,
    without_secrets,
)
from phonefarm_cli.up.settings import Settings
from phonefarm_cli.up_file import UpFile, remove_up_file, write_up_file

_ECHO_SECONDS = 0.5


class _StoppedError(Exception):
    """A signal asked the farm to stop."""


async def run_farm(settings: Settings) -> ExitCode:
    """Run a farm until SIGTERM or SIGINT; CommandError when it cannot start or a program ends."""
    programs.make_data_folder(settings.data)
    with exclusive_lock(settings.data):
        settings.check()
        remove_up_file(settings.data)
        if await end_previous_programs(settings.data):
            warn("an earlier `up` in this folder had left programs running; they have been killed")
        secrets = load_secrets(settings.data, settings.environment)
        adopt_orphans()
        async with stop_signals() as stop:
            children = ChildProcesses(settings.data)
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(_raise_when_stopped(stop), name="stop")
                    tasks.create_task(children.watch(), name="watch")
                    tasks.create_task(
                        _FarmLauncher(settings, secrets, children).run_until_cancelled(),
                        name="farm",
                    )
            except* _StoppedError:
                pass
            except* CommandError as group:
                raise _first_error(group) from None
            finally:
                remove_up_file(settings.data)
                await _stop(children, stop, _stop_order(settings))
    return ExitCode.OK


@contextmanager
def exclusive_lock(data: Path) -> Iterator[None]:
    """Hold the folder's lock; CommandError names the process that has it."""
    descriptor = os.open(data / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
            raise CommandError(
                f"a farm is already running with the data folder {data} (process {owner or '?'}): "
                "stop it, or give another folder with --data",
                ExitCode.BUSY,
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


@dataclass(frozen=True, kw_only=True)
class _Started:
    """Where each program listens."""

    rest: str
    grpc: str
    adb: str
    control: str
    runtime: str
    simulated: dict[str, str]


class _FarmLauncher:
    """Starts the programs in order and takes the phones into service."""

    def __init__(self, settings: Settings, secrets: Secrets, children: ChildProcesses) -> None:
        self._settings = settings
        self._secrets = secrets
        self._children = children

    async def run_until_cancelled(self) -> None:
        """Start all programs, report that they are ready, admit phones until cancelled."""
        started = await self._start()
        key = self._secrets[API_KEY]
        async with ControllerClient.opened(started.grpc, key) as controller:
            onboarding = PhoneOnboarding(
                controller=controller,
                agent_id=programs.AGENT_ID,
                simulated=started.simulated,
                connected=self._settings.connect,
            )
            await onboarding.wait_until_settled()
            self._write_up_file(started, onboarding)
            await self._echo_ready(started, onboarding)
            known = onboarding.phones
            async for _ in onboarding.refreshes():
                if onboarding.phones != known:
                    known = onboarding.phones
                    self._write_up_file(started, onboarding)

    async def _start(self) -> _Started:
        """Start the programs in two waves: those that need no other, then those that do."""
        settings, secrets = self._settings, self._secrets
        async with asyncio.TaskGroup() as wave:
            image = wave.create_task(self._image())
            simulator = wave.create_task(self._simulator())
            controllers = [
                wave.create_task(self._children.start(program))
                for program in programs.controllers(settings, secrets)
            ]
        simulated = simulator.result()
        target = ",".join(str(controller.result()["grpc"]) for controller in controllers)
        for each in target.split(","):
            echo(f"  controller   gRPC {each}")
        phones: dict[str, str] = {p["serial"]: p["address"] for p in simulated.get("phones", ())}
        addresses = (*phones.values(), *settings.connect)
        async with asyncio.TaskGroup() as wave:
            agent = wave.create_task(
                self._children.start(
                    programs.agent(settings, secrets, target=target, phones=addresses)
                )
            )
            gateway = wave.create_task(
                self._children.start(programs.gateway(settings, secrets, target=target))
            )
        runtime = str(agent.result()["runtime"])
        echo(f"  agent        adb server {agent.result()['adb']}, runs in {runtime}")
        _warn_of_runtime(runtime, image.result())
        echo(f"  gateway      REST http://{gateway.result()['rest']}")
        return _Started(
            rest=str(gateway.result()["rest"]),
            grpc=target,
            adb=str(agent.result()["adb"]),
            control=str(simulated.get("control", "")),
            runtime=runtime,
            simulated=phones,
        )

    async def _simulator(self) -> dict[str, Any]:
        if not self._settings.simulate:
            return {}
        facts = await self._children.start(programs.simulator(self._settings))
        echo(f"  simulator    {len(facts['phones'])} phones, control {facts['control']}")
        return facts

    async def _image(self) -> str:
        """Build the image; return why there is none, or ''."""
        if self._settings.runtime not in {"auto", "docker"}:
            return ""
        why = await build_image(without_secrets(self._settings.environment))
        if why and self._settings.runtime == "docker":
            raise CommandError(f"--runtime docker does not work: {why}")
        return why

    def _write_up_file(self, started: _Started, onboarding: PhoneOnboarding) -> None:
        write_up_file(
            self._settings.data,
            UpFile(
                rest=started.rest,
                grpc=started.grpc,
                adb=started.adb,
                api_key=self._secrets[API_KEY],
                webhook_secret=self._secrets[WEBHOOK_SECRET],
                runtime=started.runtime,
                phones=onboarding.phones,
                pids={**self._children.pids, "up": os.getpid()},
                simulator_control=started.control,
            ),
        )

    async def _echo_ready(self, started: _Started, onboarding: PhoneOnboarding) -> None:
        echo_phones(onboarding.phones)
        note(
            "  callbacks    receivers on this machine are allowed too "
            f"({', '.join(programs.LOOPBACK)})"
        )
        key = "from INGEST_SECRET" if API_KEY in self._secrets.given else "created here"
        note(f"  API key      {key}, in {self._settings.data / 'up.json'} with everything else")
        note(f"  logs         {self._settings.data / 'logs'}")
        try:
            link = await console_link(started.rest, self._secrets[API_KEY])
            echo(f"  console      {link}")
            note(
                "               the link works once, within 5 minutes; `phonefarm console` "
                "creates another one"
            )
        except CommandError:
            echo(f"  console      http://{started.rest}/console - log in with the API key")
        echo(f"ready: http://{started.rest} - Ctrl-C stops everything")


async def _raise_when_stopped(stop: asyncio.Event) -> None:
    await stop.wait()
    raise _StoppedError


def _stop_order(settings: Settings) -> list[str]:
    """Return the programs in the order of their stop: runs end while a controller still hears."""
    return ["agent", "gateway", *programs.controller_names(settings), "simulator"]


async def _stop(children: ChildProcesses, stop: asyncio.Event, order: Iterable[str]) -> None:
    """Stop every program in order; a second signal kills them."""
    hurry = asyncio.Event()
    impatience = asyncio.create_task(_watch_second_signal(stop, hurry))
    if children.pids:
        echo("stopping")
    for name in order:
        if not await children.stop(name, hurry=hurry):
            warn(f"the {name} had to be killed; the next start cleans up after it")
    impatience.cancel()
    if left := kill_orphans():
        warn(f"killed {left} processes that were still running")


async def _watch_second_signal(stop: asyncio.Event, hurry: asyncio.Event) -> None:
    """Set *hurry* at the second signal, unless it is an echo of the first.

    When our parent is killed, the kernel may signal its death once for each of its threads.
    """
    await asyncio.sleep(_ECHO_SECONDS)
    stop.clear()
    await stop.wait()
    hurry.set()


def _warn_of_runtime(runtime: str, why: str) -> None:
    if runtime == "process":
        reason = f" ({why})" if why else ""
        warn(
            f"runs are NOT isolated{reason}: in the process runtime, a run has your permissions "
            "and can access your files and your network; the agent checks only the run's access "
            "to the phone"
        )
    elif runtime == "dummy":
        warn("the dummy runtime does not touch any phones: every run is simulated")


def _first_error(group: BaseExceptionGroup[CommandError]) -> CommandError:
    """Return the first error in the group; the others follow from it."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            with suppress(LookupError):
                return _first_error(error)
        else:
            return error
    raise LookupError
