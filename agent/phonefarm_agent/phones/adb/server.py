"""Runs the agent's own adb server, and restarts it when it dies or hangs.

Its end is an incident of the host, once: every phone is withheld until it is back, none is blamed.
"""

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import adbutils
import structlog
from phonefarm_common.backoff import backoff
from phonefarm_common.clock import Clock

from phonefarm_agent.phones.adb.client import Adb, AdbError

log = structlog.get_logger()

START_SECONDS = 15.0
STOP_SECONDS = 3.0
LOOK_SECONDS = 5.0
LOOKS_MISSED = 4
_USB = Path("/dev/bus/usb")

# The server must not outlive an agent that was killed: it would hold the phones against the next.
_BOUND = (
    "import ctypes,os,signal,sys\n"
    "ctypes.CDLL(None).prctl(1, signal.SIGKILL)\n"  # PR_SET_PDEATHSIG, prctl(2)
    "parent=int(sys.argv[1])\n"
    "os.getppid()==parent and os.execv(sys.argv[2], sys.argv[2:])\n"
)


def adb_binary() -> str:
    """Return the path of the adb that the agent starts: the one in the adbutils wheel."""
    path: str = adbutils.adb_path()
    return path


class AdbStartError(Exception):
    """The adb server does not start; the text has its output."""


class AdbServer:
    """The agent's adb server; `down` is set while it cannot be used, else empty.

    `why` says it in words. `restarts` counts how often it was started again. `changed` is called
    when it is lost and when it is back.
    """

    def __init__(self, *, home: Path, port: int, clock: Clock) -> None:
        self.adb = Adb(host="localhost", port=port)
        self.down = "adb_server_down"
        self.why = ""
        self.restarts = 0
        self.changed: Callable[[], None] = lambda: None
        self._home = home
        self._clock = clock
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start the server and return once it answers; AdbStartError."""
        self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
        binary = await asyncio.to_thread(adb_binary)
        log_path = self._home / "adb-server.log"
        with log_path.open("wb") as server_log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-ISc",
                _BOUND,
                str(os.getpid()),
                binary,
                "-L",
                f"tcp:localhost:{self.adb.port}",  # An IP literal aborts adb.
                "server",
                "nodaemon",
                stdin=asyncio.subprocess.DEVNULL,
                stdout=server_log,
                stderr=server_log,
                env=self._environment(),
                start_new_session=True,
            )
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._answers(self._process)
        except (TimeoutError, AdbStartError) as error:
            await self.stop()
            said = log_path.read_text(errors="replace")[-2000:]
            raise AdbStartError(f"the adb server did not start: {said}") from error
        self.down = self.why = ""
        self.changed()
        log.info("adb_server.started", port=self.adb.port, pid=self._process.pid)

    async def keep(self) -> None:
        """Restart the server whenever it ends or hangs, until cancelled."""
        failures = 0
        while True:
            began = self._clock.monotonic()
            why = await self._until_gone() if not self.down else self.down
            if not self.down:
                self.down, self.why = "adb_server_down", why
                log.error("adb_server.lost", why=why)
                self.changed()
            await self.stop()
            failures = 1 if self._clock.monotonic() - began > START_SECONDS else failures + 1
            if failures > 1:
                await asyncio.sleep(backoff(failures, first=0.2, factor=2, most=10))
            try:
                await self.start()
            except AdbStartError as error:
                log.warning("adb_server.not_started", error=str(error))
            else:
                self.restarts += 1

    async def stop(self) -> None:
        """End the server's process, if there is one."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    async def _until_gone(self) -> str:
        """Wait until the server has ended or hangs, and return which."""
        process = self._process
        if process is None:
            return "was never started"
        missed = 0
        ending = asyncio.create_task(process.wait())
        try:
            while missed < LOOKS_MISSED:
                done, _ = await asyncio.wait({ending}, timeout=LOOK_SECONDS)
                if done:
                    return f"exited with code {process.returncode}"
                try:
                    async with asyncio.timeout(LOOK_SECONDS):
                        await self.adb.version()
                    missed = 0
                except (TimeoutError, AdbError):
                    missed += 1
            return "does not answer"
        finally:
            ending.cancel()
            await asyncio.gather(ending, return_exceptions=True)

    async def _answers(self, process: asyncio.subprocess.Process) -> None:
        """Return once this server answers; AdbStartError when it ends before."""
        answer = asyncio.create_task(self._answer())
        end = asyncio.create_task(process.wait())
        try:
            await asyncio.wait({answer, end}, return_when=asyncio.FIRST_COMPLETED)
            if process.returncode is not None:  # whoever answered there, it was another program
                raise AdbStartError("it exited at once")
            await answer
        finally:
            answer.cancel()
            end.cancel()
            await asyncio.gather(answer, end, return_exceptions=True)

    async def _answer(self) -> None:
        while True:
            try:
                await self.adb.version()
            except AdbError:
                await asyncio.sleep(0.02)  # The server has no way to say that it is ready.
            else:
                return

    def _environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("ANDROID_", "PHONEFARM_"))}
        return kept | {
            "HOME": str(self._home),
            "TMPDIR": str(self._home),
            # A farm connects only to phones it was told of.
            "ADB_MDNS": "0",
            "ADB_MDNS_AUTO_CONNECT": "0",
            "ADB_EMU": "0",
            # Only this agent ends its server, by a signal.
            "ADB_REJECT_KILL_SERVER": "1",
            # Without any USB adb would wait 3 s for the first look at it.
            "ADB_USB": "1" if _USB.exists() else "0",
        }


@asynccontextmanager
async def adb_server(*, home: Path, port: int, clock: Clock) -> AsyncIterator[AdbServer]:
    """Run an adb server on *port* (0: any but 5037) until the block ends.

    Raises AdbStartError. Somebody must run `keep` for it to be started again when it dies.
    """
    server = await _started(home, port, clock)
    try:
        yield server
    finally:
        await server.stop()


async def _started(home: Path, port: int, clock: Clock) -> AdbServer:
    while True:
        server = AdbServer(home=home, port=port or _free_port(), clock=clock)
        try:
            await server.start()
        except AdbStartError as error:
            if port or "Address already in use" not in str(error):
                raise
            log.info("adb_server.port_was_taken", port=server.adb.port)
        else:
            return server


def _free_port() -> int:
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        if port != 5037:
            return port
