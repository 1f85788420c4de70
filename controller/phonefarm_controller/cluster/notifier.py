"""The notifier: sends notifications to the other controllers by NOTIFY, and receives theirs.

One notification is under way at a time; what gathers meanwhile becomes the next. Each comes back to
its sender: when one does not, or the server is away, the notifier opens its connection again.
Losing one costs a poll, never correctness.
"""

import asyncio
import json
import time
from typing import Any, Final

import structlog
from phonefarm_common.backoff import backoff
from phonefarm_common.ids import new_id

from phonefarm_controller.agents.sessions import Sessions
from phonefarm_controller.alarms import AlarmName, Alarms, Limits, Liveness
from phonefarm_controller.concurrency.loop import logged_errors
from phonefarm_controller.concurrency.wakeups import Notification, WakeUps
from phonefarm_controller.store import notify

log = structlog.get_logger()

QUIET_SECONDS: Final = 10.0
"""The notifier tests an idle connection this often."""
ECHO_SECONDS: Final = 5.0
"""A notification must come back to its sender within this time."""


class NotificationLostError(Exception):
    """A notification did not come back."""


class Notifier:
    """Keeps one connection to the other controllers."""

    def __init__(
        self, *, url: str, wakeups: WakeUps, sessions: Sessions, alarms: Alarms, limits: Limits
    ) -> None:
        self._url = url
        self._alarms = alarms
        self._limits = limits
        self._echoed_at = time.monotonic()
        self._wakeups = wakeups
        self._sessions = sessions
        self._own = new_id()
        self._told = 0
        self._came_back = 0
        self._echo = asyncio.Event()

    async def run(self, liveness: Liveness) -> None:
        """Send and receive until cancelled."""
        failures = 0
        while True:
            liveness.beat()
            opened_at = time.monotonic()
            try:
                broken = self._wakeups.outgoing.set  # sending on it finds out why
                async with notify.listening(self._url, self._receive, broken=broken) as line:
                    log.info("notifier.connected")
                    self._receive_everything()
                    await self._send(line, liveness)
            except (NotificationLostError, *notify.ERRORS) as error:
                failures = 1 if time.monotonic() - opened_at > QUIET_SECONDS else failures + 1
                log.warning("notifier.interrupted", error=str(error) or type(error).__name__)
                self._report_silence(str(error) or type(error).__name__)
                await asyncio.sleep(backoff(failures, first=0.2, factor=2, most=10))
                self._wakeups.take_notification()  # the next connection begins with `everything`

    def _report_silence(self, why: str) -> None:
        silent = time.monotonic() - self._echoed_at
        wrong = f"this controller has not received its own notifications for {silent:.0f} s: {why}"
        self._alarms.tell(
            AlarmName.NOTIFIER_SILENT, silent, wrong if silent >= self._limits.notifier else ""
        )

    async def _send(self, line: notify.NotifyConnection, liveness: Liveness) -> None:
        everything = True
        while True:
            liveness.beat()
            self._told += 1
            notification = self._wakeups.take_notification()
            await line.tell(_text(self._own, self._told, notification, everything=everything))
            try:
                async with asyncio.timeout(ECHO_SECONDS):
                    while self._came_back < self._told:
                        await self._echo.wait()
                        self._echo.clear()
            except TimeoutError as error:
                raise NotificationLostError(
                    "this controller did not receive the notification that it sent to itself"
                ) from error
            self._echoed_at = time.monotonic()
            self._alarms.tell(AlarmName.NOTIFIER_SILENT, 0.0, "")
            everything = False
            await self._wakeups.outgoing.wait(within=QUIET_SECONDS)

    def _receive(self, text: str) -> None:
        with logged_errors("notifier"):
            told = json.loads(text)
            if told["by"] == self._own:
                self._came_back = told["number"]
                self._echo.set()
            elif told.get("everything"):
                self._receive_everything()
            else:
                self._wakeups.receive(_notification(told))
                self._sessions.remind(told.get("agents", ()))

    def _receive_everything(self) -> None:
        self._wakeups.receive_all()
        self._sessions.remind([session.agent_id for session in self._sessions.all()])


def _text(own: str, number: int, notification: Notification, *, everything: bool) -> str:
    told: dict[str, Any] = {"by": own, "number": number}
    flags = ("work", "ticker", "fleet", "deliveries")
    parts: dict[str, Any] = {flag: True for flag in flags if getattr(notification, flag)}
    parts |= {"moved": sorted(notification.moved), "agents": sorted(notification.agents)}
    text = json.dumps(told | parts, separators=(",", ":"))
    if everything or len(text) > notify.MOST_BYTES:
        return json.dumps(told | {"everything": True})
    return text


def _notification(told: dict[str, Any]) -> Notification:
    """Return the notification of another controller; a newer release may send more keys."""
    return Notification(
        work=bool(told.get("work")),
        ticker=bool(told.get("ticker")),
        fleet=bool(told.get("fleet")),
        deliveries=bool(told.get("deliveries")),
        moved=set(told.get("moved", ())),
    )
