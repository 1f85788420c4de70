"""Runs the UI server of one run on its phone: pushes the jar, starts, watches and ends it.

It listens on all interfaces of the phone and asks for no password (u2.jar 0.4.1): so it has a port
of its own, and lives only while its run does (docs/adr/0027).
"""

import asyncio
import contextlib
import hashlib
import importlib.metadata
import json
import random
import shlex
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import h11
import structlog

from phonefarm_agent.phones.adb.client import Adb, AdbError
from phonefarm_agent.phones.ui_http import UiHttpError, read_answer, request_bytes

JAR_SHA256 = "87c8ac9505970d42aa5922baa90114808fda6f47f9e5fbd4caa0f621c2c8d30d"
"""The hash of u2.jar 0.4.1 of the package uiautomator2 3.7.1; no other jar is pushed."""
JAR = f"/data/local/tmp/phonefarm-ui-{JAR_SHA256[:8]}.jar"
JAR_MODE = 0o444
MAIN_CLASS = "com.wetest.uia2.Main"
PORTS = (10_000, 32_767)
START_SECONDS = 10.0
PUSH_SECONDS = 60.0
STOP_SECONDS = 2.0
CALL_SECONDS = 5.0
OUTPUT_KEPT = 4000
TAKEN = "ui_automation_taken"
FAILED = "ui_server_failed"

log = structlog.get_logger()


class UiServerCallError(Exception):
    """The UI server did not answer a call; the text says why."""


class UiServer:
    """The UI server of a run, which the run can start and end; `port` is 0 while it is down."""

    def __init__(self, *, adb: Adb, serial: str, run_id: str) -> None:
        self.port = 0
        self._adb = adb
        self._serial = serial
        self._run_id = run_id
        self._stream: asyncio.Task[None] | None = None
        self._output = ""
        self._listening = asyncio.Event()
        self._turn = asyncio.Lock()

    async def start(self) -> str:
        """Start it; one that runs is ended first. Return "", or a failure code and why."""
        async with self._turn:
            await self._end()
            try:
                await self._kill_others()
                await self._push_jar()
                why = await self._try_start()
                if why and ("already registered" in why or "EADDRINUSE" in why):
                    # Whoever had the UiAutomation or the port may just be ending.
                    await asyncio.sleep(STOP_SECONDS)
                    why = await self._try_start()
            except (AdbError, OSError) as error:
                await self._end()
                return f"{FAILED}: {str(error) or 'no answer in time'}"
            if not why:
                log.info("ui_server.started", run_id=self._run_id, port=self.port)
                return ""
            reason = TAKEN if "already registered" in why else FAILED
            log.warning("ui_server.not_started", run_id=self._run_id, reason=reason, said=why)
            return f"{reason}: {why}"

    async def stop(self) -> None:
        """End it and see that it is gone; nothing is raised when the phone is."""
        async with self._turn:
            await self._end()

    async def call(self, method: str, params: list[object]) -> str:
        """Return the text that a method of the running server returns; UiServerCallError."""
        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        try:
            async with asyncio.timeout(START_SECONDS):
                body = json.dumps(request).encode()
                answer = json.loads(await self._ask(self.port, "POST", "/jsonrpc/0", body))
        except (AdbError, UiHttpError, OSError, ValueError, RecursionError) as error:
            why = str(error) or "no answer in time"
            raise UiServerCallError(f"{method}: {why}") from error
        result = answer.get("result") if isinstance(answer, dict) else None
        if not isinstance(result, str):
            raise UiServerCallError(f"{method}: {str(answer)[:300]}")
        return result

    async def _end(self) -> None:
        if self._stream is None:
            return
        self.port = 0
        self._stream.cancel()
        await asyncio.wait([self._stream])
        self._stream = None
        # The closed stream ends it (adbd sends SIGHUP); a dump right after needs it to be gone.
        with contextlib.suppress(AdbError, TimeoutError):
            async with asyncio.timeout(2 * STOP_SECONDS):
                await self._kill("-15")
                await self._kill("-9")

    async def _kill(self, signal: str) -> None:
        """Signal what is left of the server until nothing is, for at most 2 s."""
        end = asyncio.get_running_loop().time() + STOP_SECONDS
        while asyncio.get_running_loop().time() < end:
            answer = await self._adb.shell(
                self._serial, f"pkill {signal} -f {pattern(self._run_id)}"
            )
            if answer.code:
                return  # no such process
            await asyncio.sleep(0.1)

    async def _kill_others(self) -> None:
        """End the server of a run whose agent is frozen: the lease is this run's by now."""
        async with asyncio.timeout(CALL_SECONDS):
            answer = await self._adb.shell(self._serial, f"pkill -9 -f {pattern('')}")
        if not answer.code:
            log.warning("ui_server.other_killed", run_id=self._run_id, serial=self._serial)

    async def _push_jar(self) -> None:
        async with asyncio.timeout(CALL_SECONDS):
            answer = await self._adb.shell(self._serial, f"sha256sum {JAR}")
            if answer.out.split(" ")[0] == JAR_SHA256:
                return
            await self._adb.shell(self._serial, f"rm -f {JAR}")
        data = await asyncio.to_thread(jar)
        async with asyncio.timeout(PUSH_SECONDS):
            await self._adb.push(self._serial, data, JAR, mode=JAR_MODE)

    async def _try_start(self) -> str:
        """Start the server once; return "" once it answers, else what it printed or did."""
        port = random.randint(*PORTS)
        command = (
            f"CLASSPATH={JAR} exec app_process / --nice-name={name(self._run_id)} "
            f"{MAIN_CLASS} -p {port}"
        )
        self._output = ""
        self._listening.clear()
        self._stream = asyncio.create_task(self._follow(command, port), name="ui-server")
        listening = asyncio.create_task(self._listening.wait())
        try:
            await asyncio.wait(
                {self._stream, listening},
                timeout=START_SECONDS,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            listening.cancel()
        if not self._listening.is_set():
            said = self._output.strip()[-OUTPUT_KEPT:]
            late = "" if self._stream.done() else f"not listening within {START_SECONDS:g} s; "
            await self._end()
            return f"{late}{said or 'it printed nothing'}"
        problem = await self._check(port)
        if problem:
            await self._end()
            return problem
        self.port = port
        return ""

    async def _follow(self, command: str, port: int) -> None:
        """Read what the server prints to its end; nothing of it is logged: it tells typed texts."""
        try:
            async for chunk in self._adb.stream(self._serial, command, errors=True):
                if not self._listening.is_set():
                    self._output = (self._output + chunk.decode(errors="replace"))[-OUTPUT_KEPT:]
                    if f"listening on *:{port}" in self._output:
                        self._listening.set()
        except AdbError as error:
            self._output += f"\n{error}"

    async def _check(self, port: int) -> str:
        """Return why what listens is no server of ours that never waits for rest; "" when it is."""
        try:
            async with asyncio.timeout(CALL_SECONDS):
                if await self._ask(port, "GET", "/ping", b"") != b"pong":
                    return "it does not answer /ping"
                call = {"jsonrpc": "2.0", "id": 1, "method": "getConfigurator", "params": []}
                answer = json.loads(
                    await self._ask(port, "POST", "/jsonrpc/0", json.dumps(call).encode())
                )
        except (AdbError, UiHttpError, OSError, ValueError, RecursionError) as error:
            return f"it does not answer: {str(error) or 'no answer in time'}"
        result = answer.get("result") if isinstance(answer, dict) else None
        if not isinstance(result, Mapping) or result.get("waitForIdleTimeout") != 0:
            return f"it answers only when nothing moves on the screen: {str(answer)[:300]}"
        return ""

    async def _ask(self, port: int, method: str, path: str, body: bytes) -> bytes:
        connection = h11.Connection(h11.CLIENT)
        async with self._adb.connected_to(self._serial, f"tcp:{port}") as (reader, writer):
            writer.write(request_bytes(connection, method, path, body))
            answer = await read_answer(connection, lambda: reader.read(65536))
            return answer.body


@asynccontextmanager
async def ui_server(*, adb: Adb, serial: str, run_id: str) -> AsyncIterator[UiServer]:
    """Yield the run's UI server, not yet started; the block ends it."""
    server = UiServer(adb=adb, serial=serial, run_id=run_id)
    try:
        yield server
    finally:
        await server.stop()


def name(run_id: str) -> str:
    """Return what `ps` calls the run's UI server."""
    return f"phonefarm-ui-{run_id}"


def pattern(run_id: str) -> str:
    """Return the quoted pattern of the run's UI server ("": of any run), not of who asks."""
    return shlex.quote(f"phonefarm-u[i]-{run_id}")


def jar() -> bytes:
    """Return the content of u2.jar; OSError when the file is missing or of another version."""
    # Found by its distribution: importing the package would load lxml and more into the agent.
    try:
        distribution = importlib.metadata.distribution("uiautomator2")
    except importlib.metadata.PackageNotFoundError as error:
        raise OSError("uiautomator2 is not installed: pip install 'phonefarm[agent]'") from error
    data = Path(str(distribution.locate_file("uiautomator2/assets/u2.jar"))).read_bytes()
    if hashlib.sha256(data).hexdigest() != JAR_SHA256:
        raise OSError("u2.jar of uiautomator2 is not the u2.jar of release 3.7.1")
    return data
