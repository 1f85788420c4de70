"""The agent as a process of its own, to be killed and started again."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from phonefarm_simulator.farm import Farm
from support.agents import PHONE_SCALE
from support.controller_script import TOKEN, ScriptedController


def driving(farm: Farm, runtime: str) -> tuple[str, ...]:
    """Return the options of an agent that drives the farm under *runtime*."""
    return (
        "--runtime",
        runtime,
        *(word for phone in farm for word in ("--connect", phone.address)),
    )


@asynccontextmanager
async def agents(
    controller: ScriptedController, folder: Path, *options: str, scale: float = PHONE_SCALE
) -> AsyncIterator["Agents"]:
    """Start agent processes with one state directory, one at a time; the last one is stopped."""
    made = Agents(controller, folder, options, scale)
    try:
        yield made
    finally:
        await made.end()


class Agents:
    """One agent process after another."""

    def __init__(
        self,
        controller: ScriptedController,
        folder: Path,
        options: tuple[str, ...],
        scale: float,
    ) -> None:
        self._controller = controller
        self._folder = folder
        self._options = options
        self._scale = scale
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, *program: str) -> None:
        """Start one, or the *program* that stands for one; return once it has said hello."""
        before = len(self._controller.heard.hellos)
        environment = {
            **os.environ,
            "PHONEFARM_AGENT_TOKEN": TOKEN,
            "PHONEFARM_TIME_SCALE": str(self._scale),
            "PYTHONPATH": str(Path(__file__).parents[1]),  # for a program of the tests
        }
        with (self._folder / "agent.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                *(program or ("phonefarm_agent",)),
                "run",
                "--controller",
                self._controller.address,
                "--state",
                str(self._folder / "state"),
                "--name",
                "agent-1",
                *self._options,
                stdout=log,
                stderr=log,
                env=environment,
            )
        await self._controller.heard.until(lambda: len(self._controller.heard.hellos) > before)

    async def prepared(self) -> None:
        """Return once it holds the gate of a container that it made ahead of its run."""
        assert self._process is not None
        descriptors = Path(f"/proc/{self._process.pid}/fd")
        async with asyncio.timeout(180):
            while not any("/warm-" in one for one in _open_files(descriptors)):  # noqa: ASYNC110 - /proc raises no event
                await asyncio.sleep(0.05)

    async def died(self, *, seconds: float = 180.0) -> int:
        """Return how it ended by itself; TimeoutError if it does not within *seconds*."""
        assert self._process is not None
        async with asyncio.timeout(seconds):
            return await self._process.wait()

    async def kill(self) -> None:
        """Kill it with SIGKILL."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        await self._process.wait()

    async def stop(self) -> int:
        """Stop it with SIGTERM and return its exit code."""
        assert self._process is not None
        self._process.terminate()
        async with asyncio.timeout(180):
            return await self._process.wait()

    async def end(self) -> None:
        """Stop what still runs, with what it holds."""
        if self._process is not None and self._process.returncode is None:
            await self.stop()


def _open_files(descriptors: Path) -> list[str]:
    found = []
    for path in descriptors.iterdir():
        with suppress(OSError):  # closed meanwhile
            found.append(str(path.readlink()))
    return found


@asynccontextmanager
async def agent_process(
    address: str,
    token: str,
    folder: Path,
    *options: str,
    scale: float,
    program: tuple[str, ...] = (),
    prefix: tuple[str, ...] = (),
    name: str = "agent-1",
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run an agent of the controller at *address* until the block ends; it may be killed before.

    *program* stands for the agent's own module; *prefix* is what runs the command.
    """
    environment = {
        **os.environ,
        "PHONEFARM_AGENT_TOKEN": token,
        "PHONEFARM_TIME_SCALE": str(scale),
        "PYTHONPATH": str(Path(__file__).parents[1]),  # for a program of the tests
    }
    where = ("--controller", address, "--state", str(folder / "state"), "--name", name)
    module = program or ("phonefarm_agent",)
    command = (*prefix, sys.executable, "-m", *module, "run", *where, *options)
    with (folder / "agent.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *command, stdout=log, stderr=log, env=environment
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            async with asyncio.timeout(180):
                await process.wait()
