"""What the agent tells systemd: a real socket, a real loop, a real agent."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import pytest
from phonefarm_agent.app.agent import run_agent
from phonefarm_agent.app.lifecycle import ExitCode
from phonefarm_agent.app.settings import Settings
from phonefarm_agent.host.sd_notify import SystemdNotifier, systemd_notifier, watchdog_seconds
from phonefarm_agent.host.systemd import reporting_to_systemd
from phonefarm_agent.host.watchdog import watchdog
from phonefarm_common.timers import Timers
from support.agents import SCALE
from support.controller_script import TOKEN, ScriptedController, scripted_controller
from support.live_farm import eventually

PATIENCE_SECONDS = 180.0


class Systemd:
    """The other end of NOTIFY_SOCKET."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.said: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)

    def hear(self) -> list[str]:
        """Return all that was said so far."""
        while True:
            try:
                self.said.append(self._socket.recv(65536).decode())
            except BlockingIOError:
                return self.said

    async def until(self, wanted: str) -> None:
        """Return once a line that begins so has been said; AssertionError."""

        async def look() -> bool:
            return any(line.startswith(wanted) for line in self.hear())

        await eventually(look, within=PATIENCE_SECONDS, what=wanted)

    def meals(self) -> int:
        """Return how often the watchdog was fed."""
        return self.hear().count("WATCHDOG=1")

    async def fed(self, *, beyond: int) -> None:
        """Return once it was fed more often than that; AssertionError."""

        async def look() -> bool:
            return self.meals() > beyond

        await eventually(look, within=PATIENCE_SECONDS, what="food")

    def close(self) -> None:
        """Hear no more."""
        self._socket.close()


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    """Listen where a service would be told to speak."""
    it = Systemd(tmp_path / "notify")
    yield it
    it.close()


@pytest.fixture
def notifier(systemd: Systemd) -> Iterator[SystemdNotifier]:
    """Return the service's end."""
    it = systemd_notifier({"NOTIFY_SOCKET": str(systemd.path)})
    assert it is not None
    yield it
    it.close()


@pytest.fixture
async def controller() -> AsyncIterator[ScriptedController]:
    """Serve as a controller."""
    async with scripted_controller(Timers().scaled(SCALE)) as it:
        yield it


def settings(state: Path, controller: str) -> Settings:
    """Describe a dummy agent of two phones."""
    return Settings(
        controllers=(controller,),
        token=TOKEN,
        agent_id="agent-1",
        state=state,
        runtime="dummy",
        image="unused",
        connect=(),
        adb_port=0,
        dummy_phones=2,
        ready_file=None,
        stop_runs_on_exit=False,
        production=False,
        time_scale=SCALE,
        timers=Timers().scaled(SCALE),
    )


async def test_ready_comes_with_the_session_and_the_line_says_how_it_is(
    systemd: Systemd, notifier: SystemdNotifier, controller: ScriptedController, tmp_path: Path
) -> None:
    """READY follows a status that has the controller connected; the stop is told."""
    stop = asyncio.Event()
    report_status = partial(reporting_to_systemd, notifier=notifier, period=30.0)

    running = asyncio.create_task(
        run_agent(settings(tmp_path / "s", controller.address), stop, report_status)
    )
    await systemd.until("READY=1")
    ready = systemd.said.index("READY=1")
    await systemd.until("STATUS=2 phones (2 fit)")
    stop.set()
    async with asyncio.timeout(PATIENCE_SECONDS):
        code = await running

    assert code is ExitCode.STOPPED
    assert systemd.said[ready - 1].startswith("STATUS=2 phones")
    assert f"controller {controller.address} connected" in systemd.said[ready - 1]
    assert "WATCHDOG=1" in systemd.said
    assert systemd.hear()[-1] == "STOPPING=1"


async def test_an_agent_without_controller_is_ready_once_that_is_known(
    systemd: Systemd, notifier: SystemdNotifier, tmp_path: Path
) -> None:
    """The unit must come up without a controller: it keeps the runs of the host."""
    stop = asyncio.Event()
    report_status = partial(reporting_to_systemd, notifier=notifier, period=None)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{nobody.getsockname()[1]}"

        running = asyncio.create_task(
            run_agent(settings(tmp_path / "s", address), stop, report_status)
        )
        await systemd.until("READY=1")
        said = systemd.said[systemd.said.index("READY=1") - 1]
        stop.set()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await running

    assert "not connected: UNAVAILABLE" in said
    assert "WATCHDOG=1" not in systemd.hear()


async def test_a_blocked_loop_feeds_no_watchdog(
    systemd: Systemd, notifier: SystemdNotifier
) -> None:
    """While the loop does not go round there is no food, however long; afterwards there is."""

    async def alive() -> None:
        return

    with watchdog(proof=alive, keep_alive=notifier.keep_alive, period=0.4):
        await systemd.fed(beyond=2)

        time.sleep(0.2)  # noqa: ASYNC251 - this is the fault; a proof under way may end it late
        before = systemd.meals()
        time.sleep(1.2)  # noqa: ASYNC251 - three periods of the watchdog
        during = systemd.meals()

        await systemd.fed(beyond=during)

    assert during == before


async def test_a_journal_that_never_answers_feeds_no_watchdog(
    systemd: Systemd, notifier: SystemdNotifier
) -> None:
    """A loop that goes round is not enough."""
    asked = asyncio.Event()
    answers = asyncio.Event()

    async def journal() -> None:
        asked.set()
        await answers.wait()

    with watchdog(proof=journal, keep_alive=notifier.keep_alive, period=0.4):
        async with asyncio.timeout(PATIENCE_SECONDS):
            await asked.wait()
            first = systemd.meals()
            for _ in range(3):
                asked.clear()
                await asked.wait()
        hungry = systemd.meals()
        answers.set()
        await systemd.fed(beyond=hungry)

    assert first == hungry == 1, "the first is given before any proof"


def test_the_watchdog_of_another_process_is_not_ours() -> None:
    """WATCHDOG_PID names who is meant."""
    assert watchdog_seconds({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}) is None
    assert watchdog_seconds({"WATCHDOG_USEC": "30000000"}) == 30.0
    assert watchdog_seconds({"WATCHDOG_USEC": "soon"}) is None
    assert systemd_notifier({}) is None
    assert systemd_notifier({"NOTIFY_SOCKET": "vsock:2:1"}) is None


def test_a_supervisor_that_is_gone_disturbs_nobody(tmp_path: Path) -> None:
    """What cannot be sent is dropped."""
    notifier = SystemdNotifier(str(tmp_path / "none"))

    notifier.ready()
    notifier.status("a\nb")
    notifier.close()
