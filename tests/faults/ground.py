"""The farm that is broken: real processes, a wire for each link, small disks, people who mend."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from faults.clocks import DATABASE_CLOCK, Clocks
from faults.links import Link, link
from phonefarm.v1 import fleet_pb2
from phonefarm_agent.runtimes import image
from phonefarm_cli.client.client import ControllerClient
from phonefarm_cli.errors import CommandError
from phonefarm_simulator.control import Control
from phonefarm_simulator.personality import names
from support.components import COMPONENTS
from support.live_farm import LiveFarm
from support.postgres_server import PostgresServer, postgres_server
from support.private_engine import PrivateEngine, private_engine
from support.programs import Programs, programs
from support.stepped_program import set_off

SCALE: Final = 0.2
"""All timers of the farm times this: a lease lasts 18 s."""
PERSONALITIES: Final = tuple(name for name in names() if name != "old-android")
"""What kinds of phone there are, in turn; no agent offers the one left out."""
_DISK: Final = "2g"  # a program needs 1 GiB free to take new work
_MEND_SECONDS: Final = 1.0


@dataclass
class Ground:
    """A running farm and every handle on it that a fault takes."""

    folder: Path
    made: Programs
    farm: LiveFarm
    phones_of: Mapping[str, list[str]]  # serial numbers by agent
    personalities: Mapping[str, str]  # by serial number
    links: Mapping[str, list[Link]]  # by the program that dials
    database_links: Mapping[str, Link]  # by controller
    server: PostgresServer | None
    phones: Control
    disks: Mapping[str, Path]
    clocks: Clocks
    engine: PrivateEngine | None = None  # of the last agent, whose runs are in containers
    down: set[str] = field(default_factory=set)  # killed, and not to be started by anybody else

    @property
    def database(self) -> str:
        """Return the database's address, not by a wire."""
        if self.server is not None:
            return self.server.url("farm")
        return f"sqlite:///{self.folder / 'controller' / 'farm.db'}"

    @property
    def controllers(self) -> list[str]:
        """Return the controllers' names."""
        return list(self.made.controllers)

    @property
    def gateways(self) -> list[str]:
        """Return the gateways' names."""
        return list(self.made.gateways)

    @property
    def agents(self) -> list[str]:
        """Return the agents' names."""
        return list(self.phones_of)

    async def start(self, name: str) -> None:
        """Start a program again, as its supervisor would."""
        if name in self.phones_of:
            await self.made.agent(name, self.phones_of[name])
        elif name in self.made.gateways:
            await self.made.gateway(name)
        else:
            await self.made.controller(name)

    def adb_servers(self, agent: str) -> list[int]:
        """Return the processes of an agent's adb server."""
        parent = str(self.made.pid(agent))
        found = []
        for entry in Path("/proc").iterdir():
            with suppress(OSError, IndexError):
                stat = (entry / "stat").read_text(errors="replace") if entry.name.isdigit() else ""
                name, _, rest = stat.partition("(")[2].rpartition(")")
                if name == "adb" and rest.split()[1] == parent:
                    found.append(int(entry.name))
        return found

    async def mend(self) -> bool:
        """Do what people do after trouble; return whether nothing was left to do."""
        whole = True
        async with ControllerClient.opened(self.farm.grpc, self.farm.api_key) as controller:
            for phone in await controller.phones():
                whole &= phone.offered or phone.lease == "leased"
                if phone.health == "quarantined" and phone.lease in {"free", "dirty"}:
                    give_back = fleet_pb2.ReturnPhoneRequest(
                        phone_id=phone.phone_id, reason="looked at it"
                    )
                    await controller.call(controller.fleet.ReturnPhone, give_back)
            for account in await controller.accounts():
                if account.condition != "ok":
                    whole = False
                    clear = fleet_pb2.ClearAccountRequest(
                        account_id=account.account_id, reason="logged in again"
                    )
                    await controller.call(controller.fleet.ClearAccount, clear)
        return whole

    async def keep_mending(self) -> None:
        """Mend until cancelled; a farm that does not answer is asked again."""
        while True:
            with suppress(CommandError, TimeoutError):
                async with asyncio.timeout(10):
                    await self.mend()
            await asyncio.sleep(_MEND_SECONDS)

    async def stood_still(self) -> str:
        """Return what the farm says of itself, for a run that does not come to rest."""
        said: dict[str, Any] = {}
        with suppress(CommandError, TimeoutError):
            async with (
                asyncio.timeout(20),
                ControllerClient.opened(self.farm.grpc, self.farm.api_key) as controller,
            ):
                phones = await controller.phones()
                said["phones"] = [str(phone) for phone in phones]
                agents = await controller.call(
                    controller.fleet.ListAgents, fleet_pb2.ListAgentsRequest()
                )
                said["agents"] = [str(agent) for agent in agents.agents]
        return json.dumps(said, indent=1)


@asynccontextmanager
async def ground(folder: Path, engine: str, *, containers: bool = False) -> AsyncIterator[Ground]:
    """Start a farm of twelve phones in *folder* on the *engine* and yield it.

    With *containers* the last agent's runs are in those of an engine of its own.
    """
    several = engine == "postgres"
    controllers = 2 if several else 1
    agents = {f"agent-{n}": [f"SIM{4 * n - 3 + k:04d}" for k in range(4)] for n in (1, 2, 3)}
    async with AsyncExitStack() as stack:
        missing = COMPONENTS["faketime"]() if several else None
        if missing:
            say(f"the database's clock is not set: {missing}")
        settable = postgres_server(settable=not missing)
        server = stack.enter_context(settable) if several else None
        disks = stack.enter_context(_small_disks(folder, ["controller", *agents]))
        database = None
        if server is not None:
            database = stack.enter_context(server.database("farm"))
        options = dict.fromkeys(("gateway", "agent"), ("--allow-asset-cidr", "127.0.0.0/8"))
        made = await stack.enter_async_context(
            programs(folder, scale=SCALE, controllers=controllers, gateways=2, options=options)
        )
        for name in (*made.controllers, *made.gateways, *agents):
            made.clocks[name] = folder / f"{name}.clock"
            set_off(made.clocks[name], 0)
        database_links = {}
        if database is not None and server is not None:
            plain = database.replace("+asyncpg", "")
            for name in made.controllers:
                wire = await stack.enter_async_context(link(f"127.0.0.1:{server.port}"))
                database_links[name] = wire
                made.databases[name] = plain.replace(f"127.0.0.1:{server.port}", wire.address)
        own_engine = None
        if containers:
            image.build(progress=say)
            own_engine = await stack.enter_async_context(private_engine())
            await own_engine.copy_image(image.default_name())
            made.engines["agent-3"] = own_engine.address
        links: dict[str, list[Link]] = {}
        for name in (*made.gateways, *agents):
            links[name] = [
                await stack.enter_async_context(link(target))
                for target in made.controllers.values()
            ]
            made.ways[name] = ",".join(wire.address for wire in links[name])
        kinds = [word for name in PERSONALITIES for word in ("--personality", name)]
        await made.simulator(12, *kinds)
        await asyncio.gather(*(made.controller(name) for name in made.controllers))
        await asyncio.gather(
            *(made.gateway(name) for name in made.gateways),
            *(made.agent(name, phones) for name, phones in agents.items()),
        )
        farm = await made.live({serial for phones in agents.values() for serial in phones})
        phones = await stack.enter_async_context(Control.connected(farm.control))
        states = [await phones.state(phone.serialno) for phone in farm.phones]
        yield Ground(
            folder=folder,
            made=made,
            farm=farm,
            phones_of=agents,
            personalities={state["serial"]: state["personality"] for state in states},
            links=links,
            database_links=database_links,
            server=server,
            phones=phones,
            disks=disks,
            clocks=Clocks(_clock_files(made, server)),
            engine=own_engine,
        )


def _clock_files(made: Programs, server: PostgresServer | None) -> dict[str, Path]:
    """Return what sets each clock; on SQLite the controller's is the database's."""
    files = dict(made.clocks)
    if server is None:
        files[DATABASE_CLOCK] = files.pop("controller")
    elif server.clock is not None:
        files[DATABASE_CLOCK] = server.clock
    return files


@contextmanager
def _small_disks(folder: Path, names: list[str]) -> Iterator[dict[str, Path]]:
    """Give each of the data folders a disk of its own that can be filled; none when not root."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        yield {}
        return
    with ExitStack() as stack:
        disks = {}
        for name in names:
            place = folder / name
            place.mkdir(parents=True)
            options = ["-t", "tmpfs", "-o", f"size={_DISK},mode=0700", "tmpfs", str(place)]
            subprocess.run(["mount", *options], check=True)
            stack.callback(_take_away, place)
            disks[name] = place
        yield disks


def _take_away(place: Path) -> None:
    """Unmount the disk and leave what was on it in the folder: it may be looked at."""
    kept = place.with_name(f"{place.name}.kept")
    shutil.copytree(place, kept, ignore=shutil.ignore_patterns("filler", "reserve", "*.sock"))
    subprocess.run(["umount", "--lazy", str(place)], check=True)
    place.rmdir()
    kept.rename(place)


def kill(pid: int) -> None:
    """Kill a process that may be gone."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def say(text: str) -> None:
    """Tell who watches the run."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
