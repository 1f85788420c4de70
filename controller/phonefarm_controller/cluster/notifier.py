"""The herald: tells the other controllers what was hinted at here, and hears them.

One notice is under way at a time; what gathers meanwhile becomes the next one. Every notice comes
back to its sender: one that does not, or a server that is away, makes the herald open its line
anew. Meanwhile and always, polling is the truth.
"""

import asyncio
import json
import time
from typing import Any, Final

import structlog
from phonefarm_common.backoff import backoff
from phonefarm_common.ids import new_id

from phonefarm_controller.agents.sessions import Sessions
from phonefarm_controller.alarms import Limits, Pulse, Sign, Vitals
from phonefarm_controller.concurrency.loop import enduring
from phonefarm_controller.concurrency.wakeups import Hints, Notice
from phonefarm_controller.store import notify

log = structlog.get_logger()

QUIET_SECONDS: Final = 10.0
"""How often an idle line is tried."""
ECHO_SECONDS: Final = 5.0
"""How long a notice may take to come back."""


class DeafError(Exception):
    """What was told did not come back."""


class Herald:
    """Keeps one line to the other controllers."""

    def __init__(
        self, *, url: str, hints: Hints, sessions: Sessions, vitals: Vitals, limits: Limits
    ) -> None:
        self._url = url
        self._vitals = vitals
        self._limits = limits
        self._heard_at = time.monotonic()
        self._hints = hints
        self._sessions = sessions
        self._own = new_id()
        self._told = 0
        self._came_back = 0
        self._echo = asyncio.Event()

    async def run(self, pulse: Pulse) -> None:
        """Tell and hear until cancelled."""
        failures = 0
        while True:
            pulse.beat()
            opened_at = time.monotonic()
            try:
                broken = self._hints.outgoing.give  # the next word on it finds out why
                async with notify.listening(self._url, self._hear, broken=broken) as line:
                    log.info("herald.listening")
                    self._hear_everything()
                    await self._tell(line, pulse)
            except (DeafError, *notify.ERRORS) as error:
                failures = 1 if time.monotonic() - opened_at > QUIET_SECONDS else failures + 1
                log.warning("herald.interrupted", error=str(error) or type(error).__name__)
                self._tell_of_silence(str(error) or type(error).__name__)
                await asyncio.sleep(backoff(failures, first=0.2, factor=2, most=10))
                self._hints.take_notice()  # the first words on the next line are `everything`

    def _tell_of_silence(self, why: str) -> None:
        silent = time.monotonic() - self._heard_at
        wrong = f"no notice came back for {silent:.0f} s: {why}"
        self._vitals.tell(Sign.HERALD_DEAF, silent, wrong if silent >= self._limits.deaf else "")

    async def _tell(self, line: notify.Line, pulse: Pulse) -> None:
        everything = True
        while True:
            pulse.beat()
            self._told += 1
            notice = self._hints.take_notice()
            await line.tell(_text(self._own, self._told, notice, everything=everything))
            try:
                async with asyncio.timeout(ECHO_SECONDS):
                    while self._came_back < self._told:
                        await self._echo.wait()
                        self._echo.clear()
            except TimeoutError as error:
                raise DeafError("a notice did not come back") from error
            self._heard_at = time.monotonic()
            self._vitals.tell(Sign.HERALD_DEAF, 0.0, "")
            everything = False
            await self._hints.outgoing.taken(within=QUIET_SECONDS)

    def _hear(self, text: str) -> None:
        with enduring("notifier"):
            told = json.loads(text)
            if told["by"] == self._own:
                self._came_back = told["number"]
                self._echo.set()
            elif told.get("everything"):
                self._hear_everything()
            else:
                self._hints.hear(_notice(told))
                self._sessions.remind(told.get("agents", ()))

    def _hear_everything(self) -> None:
        self._hints.hear_all()
        self._sessions.remind([session.agent_id for session in self._sessions.all()])


def _text(own: str, number: int, notice: Notice, *, everything: bool) -> str:
    told: dict[str, Any] = {"by": own, "number": number}
    flags = ("work", "clockwork", "fleet", "deliveries")
    parts: dict[str, Any] = {flag: True for flag in flags if getattr(notice, flag)}
    parts |= {"moved": sorted(notice.moved), "agents": sorted(notice.agents)}
    text = json.dumps(told | parts, separators=(",", ":"))
    if everything or len(text) > notify.MOST_BYTES:
        return json.dumps(told | {"everything": True})
    return text


def _notice(told: dict[str, Any]) -> Notice:
    """Return what another controller told; a newer one may tell more than we know."""
    return Notice(
        work=bool(told.get("work")),
        clockwork=bool(told.get("clockwork")),
        fleet=bool(told.get("fleet")),
        deliveries=bool(told.get("deliveries")),
        moved=set(told.get("moved", ())),
    )
