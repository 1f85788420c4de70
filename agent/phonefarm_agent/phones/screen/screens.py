"""The screens of this host: who may watch one now, and the one stream of each."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Protocol

import structlog
from phonefarm_common.clock import Clock

from phonefarm_agent.model.phone import PhoneNotFitError
from phonefarm_agent.model.screen import (
    Quality,
    ScreenRefusedError,
    ScreensPolicy,
    Still,
    ViewMode,
)
from phonefarm_agent.phones.screen.screen_session import (
    ScreenDevice,
    ScreenSession,
    WorkingSteps,
)
from phonefarm_agent.phones.screen.stills import take_still
from phonefarm_agent.phones.screen.thumbnails import RunPictures, Thumbnails
from phonefarm_agent.phones.screen.viewer import Viewer
from phonefarm_agent.phones.screen.viewer_input import HoldGates

LINGER_SECONDS: Final = 10.0
LOOK_SECONDS: Final = 0.25
"""A viewer's hold and permission are checked this often, and also at each message."""

log = structlog.get_logger()


class Runs(HoldGates, RunPictures, Protocol):
    """What screens need to know about the runs of this host."""


class Screens:
    """Shows screens; its tasks end with *tasks*."""

    def __init__(
        self,
        *,
        find: Callable[[str], ScreenDevice],
        runs: Runs,
        policy: ScreensPolicy,
        jar: Callable[[], Path],
        clock: Clock,
        scale: float,
        tasks: asyncio.TaskGroup,
    ) -> None:
        self._find = find
        self._runs = runs
        self._policy = policy
        self._jar = jar
        self._clock = clock
        self._linger = LINGER_SECONDS * scale
        self._tasks = tasks
        self._memory = WorkingSteps(clock)
        self._sessions: dict[tuple[str, ViewMode], tuple[ScreenSession, asyncio.Task[None]]] = {}
        self.thumbnails = Thumbnails(
            find=self._device, refused=self._refused, runs=runs, clock=clock
        )
        self._lingering: dict[ScreenSession, asyncio.TimerHandle] = {}

    @asynccontextmanager
    async def view(
        self, serialno: str, *, mode: ViewMode, quality: Quality
    ) -> AsyncIterator[Viewer]:
        """Yield a viewer of a phone until the block ends; ScreenRefusedError.

        Beside `Viewer.next`, it may be told to end by whoever takes the permission away.
        """
        self._check(serialno)
        session = self._join(serialno, mode, quality)
        viewer = Viewer(serialno=serialno, holds=self._runs, clock=self._clock, session=session)
        session.join(viewer)
        looking = self._tasks.create_task(self._look_after(viewer), name=f"viewer {serialno}")
        log.info("screen.view_began", serialno=serialno, mode=str(mode))
        try:
            yield viewer
        finally:
            looking.cancel()
            session.leave(viewer)
            viewer.input.log_counts()
            log.info("screen.view_ended", serialno=serialno, dropped=viewer.dropped)
            if not session.viewers:
                self._lingering[session] = asyncio.get_running_loop().call_later(
                    self._linger, self._end, session
                )

    async def still(self, serialno: str, *, png: bool, tree: bool) -> Still:
        """Return one picture of the screen now; ScreenRefusedError."""
        self._check(serialno)
        return await take_still(
            self._device(serialno),
            png=png,
            tree=tree,
            has_run=lambda: self._runs.at_work(serialno),
            clock=self._clock,
        )

    def _check(self, serialno: str) -> None:
        """Raise ScreenRefusedError unless the screen may be seen now, and the phone is here."""
        refused = self._refused(serialno)
        if refused is not None:
            raise refused
        self._device(serialno)

    def _refused(self, serialno: str) -> ScreenRefusedError | None:
        match self._policy:
            case ScreensPolicy.OFF:
                return ScreenRefusedError(
                    "screens_off", "the agent of this phone was started with --screens off"
                )
            case ScreensPolicy.IDLE if self._runs.at_work(serialno):
                return ScreenRefusedError(
                    "run_on_phone",
                    "a run is using the phone, and the phone's agent was started with --screens "
                    "idle",
                )
            case _:
                return None

    def _device(self, serialno: str) -> ScreenDevice:
        try:
            return self._find(serialno)
        except PhoneNotFitError as error:
            raise ScreenRefusedError(
                "phone_away", f"the agent cannot use the phone: {error}"
            ) from error

    def _join(self, serialno: str, mode: ViewMode, quality: Quality) -> ScreenSession:
        """Return the stream of the phone, begun if there is none."""
        key = (serialno, mode)
        running = self._sessions.get(key)
        if running is not None and not running[1].done():
            timer = self._lingering.pop(running[0], None)
            if timer is not None:
                timer.cancel()
            return running[0]
        session = ScreenSession(
            serialno=serialno,
            mode=mode,
            quality=quality,
            find=self._find,
            jar=self._jar,
            memory=self._memory,
            clock=self._clock,
        )
        task = self._tasks.create_task(session.run(), name=f"screen {serialno}")
        self._sessions[key] = (session, task)
        return session

    def _end(self, session: ScreenSession) -> None:
        """End a stream that nobody has watched for a while."""
        self._lingering.pop(session, None)
        key = (session.serialno, session.mode)
        running = self._sessions.get(key)
        if running is not None and running[0] is session:
            del self._sessions[key]
            running[1].cancel()

    async def _look_after(self, viewer: Viewer) -> None:
        """Say when the viewer's hold ends; end it when the screen may not be seen any more."""
        while True:
            viewer.input.check_hold()
            refused = self._refused(viewer.serialno)
            if refused is not None:
                viewer.end(refused.reason, refused.message)
                return
            await asyncio.sleep(LOOK_SECONDS)
