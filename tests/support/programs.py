"""The programs of a farm, each started, killed, frozen and started again by a test."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from phonefarm.v1 import fleet_pb2
from phonefarm_cli.client.client import ControllerClient
from support.controller import AGENT_TOKEN, GATEWAY_TOKEN, KEY
from support.live_farm import LiveFarm, LivePhone, bare_environment, eventually
from support.ports import free_port
from support.releases import code_of
from support.stepped_program import PROGRAM

READY_SECONDS = 90.0
STOP_SECONDS = 60.0
_SECRETS = {
    "INGEST_SECRET": KEY,
    "PHONEFARM_AGENT_TOKEN": AGENT_TOKEN,
    "PHONEFARM_GATEWAY_TOKEN": GATEWAY_TOKEN,
    "PHONE_FARM_WEBHOOK_SECRET": "a webhook secret",
}


class Programs:
    """A farm whose four kinds of programs a test handles itself; made by `programs`.

    With a *database* it has as many *controllers* as told: `controller`, `controller-2` and on.
    """

    def __init__(
        self,
        data: Path,
        *,
        scale: float,
        controllers: int,
        database: str | None,
        gateways: int,
        options: Mapping[str, Sequence[str]],
    ) -> None:
        self._data = data
        self._options = options  # more of them, by kind of program
        self.databases = dict.fromkeys(_names("controller", controllers), database)
        self._environment = bare_environment() | _SECRETS | {"PHONEFARM_TIME_SCALE": str(scale)}
        # Without USB and mDNS adb is up in a moment.
        self._environment |= {"ADB_USB": "0", "ADB_EMU": "0", "ADB_MDNS": "0"}
        self._running: dict[str, asyncio.subprocess.Process] = {}
        self.controllers = {
            name: f"127.0.0.1:{free_port()}" for name in _names("controller", controllers)
        }
        self.gateways = {name: f"127.0.0.1:{free_port()}" for name in _names("gateway", gateways)}
        self.grpc = ",".join(self.controllers.values())
        self.ways: dict[str, str] = {}  # to the controllers, where a program has one of its own
        self.releases: dict[str, str] = {}  # programs of today, but for those named here
        self.engines: dict[str, str] = {}  # DOCKER_HOST of the agents that run in containers
        self.clocks: dict[str, Path] = {}  # of programs whose wall clock is set (`set_off`)
        self._simulator: dict[str, Any] = {}

    async def simulator(self, phones: int, *options: str) -> None:
        """Start that many phones; *options* are more of the simulator's own."""
        arguments = ["--phones", str(phones), "--data", str(self._data / "simulator"), *options]
        self._simulator = await self._start("simulator", "phonefarm_simulator", *arguments)

    async def controller(self, name: str = "controller") -> None:
        """Start a controller, always on the same port; the data folder is everybody's."""
        arguments = ["--listen", self.controllers[name], "--data", str(self._data / "controller")]
        if (database := self.databases[name]) is not None:
            arguments += ["--database", database]
        arguments += self._options.get("controller", ())
        await self._start(name, "phonefarm_controller", *arguments)

    async def gateway(self, name: str = "gateway") -> None:
        """Start a gateway, always on the same port."""
        way = self.ways.get(name, self.grpc)
        arguments = ["--listen", self.gateways[name], "--controller", way]
        arguments += ["--allow-callback-cidr", "127.0.0.0/8", *self._options.get("gateway", ())]
        await self._start(name, "phonefarm_gateway", *arguments)

    async def agent(self, name: str, phones: Iterable[str]) -> None:
        """Start the agent of that name with these phones (serial numbers), always on its state."""
        addresses = {phone["serial"]: phone["address"] for phone in self._simulator["phones"]}
        connect = [word for serialno in phones for word in ("--connect", addresses[serialno])]
        way = self.ways.get(name, self.grpc)
        arguments = ["--controller", way, "--state", str(self._data / name)]
        runtime = "docker" if name in self.engines else "process"
        arguments += ["--name", name, "--runtime", runtime, *connect]
        arguments += self._options.get("agent", ())
        await self._start(name, "phonefarm_agent", "run", *arguments)

    def phone_addresses(self) -> list[str]:
        """Return where the simulated phones listen."""
        return [phone["address"] for phone in self._simulator["phones"]]

    async def kill(self, name: str) -> None:
        """Kill it with SIGKILL and wait until it is gone."""
        process = self._running.pop(name)
        process.kill()
        await process.wait()

    async def end(self, name: str) -> None:
        """End it as its supervisor would, and wait until it has; AssertionError if badly."""
        process = self._running.pop(name)
        process.terminate()
        async with asyncio.timeout(STOP_SECONDS):
            code = await process.wait()
        assert code == 0, f"{name} ended with {code}"

    def ended(self) -> list[str]:
        """Return the programs that ended by themselves."""
        return [name for name, process in self._running.items() if process.returncode is not None]

    def pid(self, name: str) -> int:
        """Return the process of a program that runs."""
        return self._running[name].pid

    def freeze(self, name: str) -> None:
        """Stop it where it is."""
        self._running[name].send_signal(signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        """Let it go on."""
        self._running[name].send_signal(signal.SIGCONT)

    def log(self, name: str) -> list[dict[str, Any]]:
        """Return the events a program has logged, over all its lives."""
        events = []
        for line in (self._data / f"{name}.log").read_text().splitlines():
            with suppress(ValueError):
                events.append(json.loads(line))
        return events

    async def live(self, serialnos: Iterable[str]) -> LiveFarm:
        """Admit the phones, give each an account, and return the farm."""
        wanted = set(serialnos)
        async with ControllerClient.opened(self.grpc, _SECRETS["INGEST_SECRET"]) as controller:

            async def known() -> list[fleet_pb2.Phone] | None:
                phones = [p for p in await controller.phones() if p.serialno in wanted]
                return phones if len(phones) == len(wanted) else None

            phones = []
            for phone in await eventually(known, what="the phones"):
                account_id = f"acc-{phone.serialno}"
                admit = fleet_pb2.AdmitPhoneRequest(phone_id=phone.phone_id)
                await controller.call(controller.fleet.AdmitPhone, admit)
                account = fleet_pb2.Account(
                    account_id=account_id,
                    phone_id=phone.phone_id,
                    app="shortvideo",
                    active=True,
                )
                put = fleet_pb2.PutAccountRequest(account=account)
                await controller.call(controller.fleet.PutAccount, put)
                phones.append(
                    LivePhone(
                        phone_id=phone.phone_id, serialno=phone.serialno, account_id=account_id
                    )
                )
        return LiveFarm(
            data=self._data,
            rest=next(iter(self.gateways.values())),
            grpc=self.grpc,
            control=self._simulator["control"],
            api_key=_SECRETS["INGEST_SECRET"],
            webhook_secret=_SECRETS["PHONE_FARM_WEBHOOK_SECRET"],
            phones=tuple(phones),
            runtime="process",
        )

    async def stop(self) -> None:
        """End everything: agents first, so that their runs end with them."""
        order = sorted(self._running, key=lambda name: not name.startswith("agent"))
        for name in order:
            process = self._running.pop(name)
            with suppress(ProcessLookupError):  # it ended by itself; `programs` says so
                process.send_signal(signal.SIGCONT)
                process.terminate()
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
        self._end_sessions()

    def _end_sessions(self) -> None:
        """Kill runs whose agent was killed and did not come back."""
        for note in self._data.glob("agent*/processes/*.json"):
            leader = int(json.loads(note.read_text())["token"].partition(":")[0])
            with suppress(ProcessLookupError):
                os.killpg(leader, signal.SIGKILL)

    async def _start(self, name: str, module: str, *arguments: str) -> dict[str, Any]:
        ready_file = self._data / f"{name}.ready.json"
        ready_file.unlink(missing_ok=True)
        environment = self._environment
        if name in self.engines:
            environment = environment | {"DOCKER_HOST": self.engines[name]}
        if name in self.releases:
            code = code_of(self.releases[name], self._data)
            environment = environment | {"PYTHONPATH": str(code)}  # before the packages of today
        run = ["-m"] if name not in self.clocks else ["-P", str(PROGRAM), str(self.clocks[name])]
        with (self._data / f"{name}.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *[sys.executable, *run, module, *arguments, "--ready-file", str(ready_file)],
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
        self._running[name] = process

        async def facts() -> dict[str, Any] | None:
            assert process.returncode is None, (self._data / f"{name}.log").read_text()
            return json.loads(ready_file.read_text()) if ready_file.exists() else None

        return await eventually(facts, within=READY_SECONDS, what=f"the {name}")


@asynccontextmanager
async def programs(
    data: Path,
    *,
    scale: float = 0.2,
    controllers: int = 1,
    database: str | None = None,
    gateways: int = 1,
    options: Mapping[str, Sequence[str]] | None = None,
) -> AsyncIterator[Programs]:
    """Yield what starts programs with *data*; nothing is left running."""
    made = Programs(
        data,
        scale=scale,
        controllers=controllers,
        database=database,
        gateways=gateways,
        options=options or {},
    )
    try:
        yield made
        assert not (ended := made.ended()), f"ended by themselves: {ended}"
    finally:
        await made.stop()


def _names(kind: str, count: int) -> list[str]:
    return [kind, *(f"{kind}-{number}" for number in range(2, count + 1))]
