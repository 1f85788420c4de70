"""A run on a simulated phone: the real executor, adb server and proxy; the test plays the agent."""

import asyncio
import base64
import contextlib
import json
import os
import sys
import tomllib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import phonefarm_controller
from phonefarm_agent.phones.adb.client import Adb
from phonefarm_agent.phones.proxy.proxy import Gate, run_proxy
from phonefarm_agent.phones.ui_server import UiServer, ui_server
from phonefarm_common.clock import SystemClock
from phonefarm_simulator.farm import SimulatedPhone, simulated_phones
from phonefarm_simulator.personality import DEFAULT
from support.adb import AdbServer, adb_server

RUN_ID = "0f3e0a4e-0000-4000-8000-000000000001"
FOLDER = f"/data/local/tmp/phonefarm/{RUN_ID}"
MEDIA_FOLDER = f"/sdcard/Movies/phonefarm-{RUN_ID}"
PROFILE = Path(phonefarm_controller.__file__).parent / "profiles" / "shortvideo.toml"


def profile_content() -> dict[str, Any]:
    """Return the packaged profile as a plan carries it."""
    content = tomllib.loads(PROFILE.read_text())
    return {**content, "name": "shortvideo", "version": "0" * 64}


def step(kind: str, *, limit: float = 30.0, repeat: str = "safe", **params: Any) -> dict[str, Any]:
    """Return one action of a plan, still without its index."""
    return {"kind": kind, "params": params, "limit_seconds": limit, "repeat": repeat}


@dataclass(kw_only=True)
class Control:
    """The agent's end of control.sock."""

    path: Path
    messages: list[dict[str, Any]] = field(default_factory=list)
    connections: int = 0
    ui_server: UiServer | None = None
    _writers: list[asyncio.StreamWriter] = field(default_factory=list)
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    _server: asyncio.Server | None = None

    async def listen(self) -> None:
        """Make the listener (anew)."""
        self.path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(
            self._serve, str(self.path), limit=1024 * 1024
        )

    async def hang_up(self) -> None:
        """Close the listener and every connection."""
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.close()
        self._writers.clear()
        self.path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        try:
            while line := await reader.readline():
                message = json.loads(line)
                async with self._changed:
                    self.messages.append(message)
                    self._changed.notify_all()
                if message["type"] == "ui_server":
                    await self._switch_ui_server(message)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _switch_ui_server(self, message: dict[str, Any]) -> None:
        """Start or end the UI server, as the agent does."""
        refused = ""
        if self.ui_server is None:
            refused = "ui_server_failed: this bench has none"
        elif message["up"]:
            refused = await self.ui_server.start()
        else:
            await self.ui_server.stop()
        self.say(type="ui_server", id=message["id"], refused=refused)

    async def until(self, kind: str, *, count: int = 1) -> dict[str, Any]:
        """Return the *count*-th message of a type, waiting for it."""
        async with asyncio.timeout(180), self._changed:
            await self._changed.wait_for(lambda: len(self.of(kind)) >= count)
        return self.of(kind)[count - 1]

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Return the messages of a type."""
        return [message for message in self.messages if message["type"] == kind]

    def say(self, **message: Any) -> None:
        """Send one line to the executor."""
        self._writers[-1].write(json.dumps(message).encode() + b"\n")

    def say_bytes(self, data: bytes) -> None:
        """Send whatever bytes to the executor."""
        self._writers[-1].write(data)

    def evidence(self, name: str) -> bytes:
        """Return the content of an evidence file that was sent."""
        [frame] = [frame for frame in self.of("evidence") if frame["name"] == name]
        return base64.b64decode(frame["data"])


@dataclass(kw_only=True)
class Story:
    """The executor's stdout as it comes."""

    process: asyncio.subprocess.Process
    lines: list[dict[str, Any]] = field(default_factory=list)
    logged: list[dict[str, Any]] = field(default_factory=list)
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def read(self) -> None:
        """Take in lines until the executor closes them."""
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            async with self._changed:
                self._take(json.loads(line))
                self._changed.notify_all()

    def _take(self, line: dict[str, Any]) -> None:
        (self.lines if "sequence" in line else self.logged).append(line)

    async def until(self, kind: str, *, index: int | None = None) -> dict[str, Any]:
        """Return the first line of a type (and action), waiting for it."""

        def found() -> list[dict[str, Any]]:
            return [
                line
                for line in self.lines
                if line["type"] == kind and index in {None, line.get("index")}
            ]

        async with asyncio.timeout(180), self._changed:
            await self._changed.wait_for(lambda: bool(found()))
        return found()[0]

    async def ending(self) -> tuple[int, dict[str, Any]]:
        """Return the exit code and the last line; the numbers of all lines have no gap."""
        async with asyncio.timeout(180):
            code = await self.process.wait()
            async with self._changed:
                await self._changed.wait_for(
                    lambda: bool(self.lines) and self.lines[-1]["type"] == "run_finished"
                )
        assert [line["sequence"] for line in self.lines] == list(range(1, len(self.lines) + 1))
        return code, self.lines[-1]

    def outputs(self) -> list[dict[str, Any]]:
        """Return what the finished actions handed out, in order."""
        return [line["outputs"] for line in self.lines if line["type"] == "action_done"]


def plan_of(actions: Sequence[dict[str, Any]], *, serial: str) -> dict[str, Any]:
    """Return the plan of these actions."""
    return {
        "run_id": RUN_ID,
        "item_id": "item-1",
        "process_id": "process-1",
        "attempt": 1,
        "epoch": 7,
        "serial": serial,
        "capability": "test",
        "cap_seconds": 120.0,
        "skip": [],
        "phone_folder": FOLDER,
        "media_folder": MEDIA_FOLDER,
        "account": {"account_id": "acc-1", "app": "shortvideo"},
        "profile": profile_content(),
        "actions": [{"index": place, **action} for place, action in enumerate(actions)],
        "dummy": {},
    }


@asynccontextmanager
async def executor(
    directory: Path, plan: str, *, scale: float = 0.1, environment: Mapping[str, str] | None = None
) -> AsyncIterator[Story]:
    """Start the executor on the text of a plan; it is dead afterwards."""
    await asyncio.to_thread((directory / "plan.json").write_text, plan)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "phonefarm_executor",
        stdout=asyncio.subprocess.PIPE,
        env={
            **os.environ,
            "PHONEFARM_RUN_DIR": str(directory),
            "PHONEFARM_TIME_SCALE": str(scale),
            **(environment or {}),
        },
    )
    story = Story(process=process)
    reading = asyncio.create_task(story.read())
    try:
        yield story
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await reading


@dataclass(kw_only=True)
class RunBench:
    """One phone, one run directory, and everything between them."""

    phone: SimulatedPhone
    adb: AdbServer
    directory: Path
    gate: Gate
    control: Control
    package: str
    urls: frozenset[str]
    installs: bool
    _proxies: contextlib.AsyncExitStack

    async def open_proxy(self) -> None:
        """Serve adb.sock."""
        await self._proxies.enter_async_context(
            run_proxy(
                path=self.directory / "adb.sock",
                upstream=("localhost", self.adb.port),
                serial=self.phone.address,
                phone_folder=FOLDER,
                media_folder=MEDIA_FOLDER,
                package=self.package,
                urls=self.urls,
                installs=self.installs,
                gate=self.gate,
                ui_port=lambda: self.control.ui_server.port if self.control.ui_server else 0,
            )
        )

    async def close_proxy(self) -> None:
        """End adb.sock and its connections, as an agent that dies does."""
        await self._proxies.aclose()

    @asynccontextmanager
    async def run(
        self,
        *actions: dict[str, Any],
        go: bool = True,
        scale: float = 0.1,
        change: Callable[[dict[str, Any]], None] | None = None,
    ) -> AsyncIterator[Story]:
        """Start the executor on a plan of these actions; with *go* the gate opens once it is ready.

        *change* may alter the plan before it is written.
        """
        plan = plan_of(actions, serial=self.phone.address)
        if change is not None:
            change(plan)
        opening = asyncio.create_task(self.open_gate()) if go else None
        try:
            async with executor(self.directory, json.dumps(plan), scale=scale) as story:
                yield story
        finally:
            if opening is not None:
                opening.cancel()
                await asyncio.wait([opening])

    async def open_gate(self) -> None:
        """Wait for `ready` and answer `go`, as the agent does."""
        await self.control.until("ready")
        self.gate.going = True
        self.control.say(type="go")

    def effects(self, kind: str) -> list[dict[str, Any]]:
        """Return the details of the phone's ledger entries of a kind."""
        return [dict(entry.detail) for entry in self.phone.ledger() if entry.kind == kind]


@asynccontextmanager
async def run_bench(
    tmp_path: Path,
    *,
    personality: str = DEFAULT,
    package: str = "com.example.shortvideo",
    urls: frozenset[str] = frozenset(),
    installs: bool = False,
) -> AsyncIterator[RunBench]:
    """Yield a bench with a connected simulated phone and an adb.sock for runs of *package*.

    *urls* are those that such a run may open; *installs* says whether it may install a file.
    """
    clock = SystemClock()
    directory = tmp_path / "run"
    directory.mkdir()
    control = Control(path=directory / "control.sock")
    async with (
        simulated_phones(1, tmp_path, personalities=[personality]) as farm,
        adb_server(tmp_path) as adb,
        contextlib.AsyncExitStack() as kept,
        contextlib.AsyncExitStack() as proxies,
    ):
        phone = farm.phones[0]
        await adb.connect(phone.address)
        control.ui_server = await kept.enter_async_context(
            ui_server(adb=Adb(host="127.0.0.1", port=adb.port), serial=phone.address, run_id=RUN_ID)
        )
        await control.listen()
        bench = RunBench(
            phone=phone,
            adb=adb,
            directory=directory,
            gate=Gate(deadline=clock.monotonic() + 600, clock=clock),
            control=control,
            package=package,
            urls=urls,
            installs=installs,
            _proxies=proxies,
        )
        await bench.open_proxy()
        try:
            yield bench
        finally:
            await control.hang_up()
