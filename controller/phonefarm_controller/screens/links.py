"""Links: a ticket brings an agent to this controller; queues connect it with a viewer."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Final, Generic, TypeVar

import structlog
from phonefarm_common.frame_queue import FrameQueue
from phonefarm_common.reasons import FarmError, Reason

from phonefarm_controller.agents.sessions import Sessions
from phonefarm_controller.concurrency.uninterrupted import uninterrupted
from phonefarm_controller.concurrency.wakeups import WakeUps
from phonefarm_controller.model.errors import DatabaseBusyError
from phonefarm_controller.store import screen_tickets
from phonefarm_controller.store.database import Database

ANSWER_SECONDS: Final = 10.0
MOST_ORDERS: Final = 64

log = structlog.get_logger()

_Order = TypeVar("_Order")
_Report = TypeVar("_Report")


def unavailable(reason: str, message: str) -> FarmError:
    """Return the error for a screen that cannot be shown, and why: a word and a sentence."""
    return FarmError(Reason.SCREEN_UNAVAILABLE, message, detail=reason)


class Places:
    """A limit on the viewers at one time."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.taken = 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """Take a place while the block runs; FarmError `too_many_screens`."""
        if self.taken >= self._most:
            raise FarmError(
                Reason.TOO_MANY_SCREENS,
                f"this controller already has {self._most} such viewers: close a viewer, or start "
                "the controller with a higher --screens",
                detail=str(self._most),
            )
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1


class Link(Generic[_Order, _Report]):
    """The queues between a viewer's call and its agent's call."""

    def __init__(self, agent_id: str) -> None:
        self.agent_id = agent_id
        self.orders: asyncio.Queue[_Order] = asyncio.Queue(MOST_ORDERS)
        self.reports: FrameQueue[_Report | None] = FrameQueue()
        """The agent's messages; None when the agent's call is over."""
        self.arrived = asyncio.Event()
        self.left = asyncio.Event()
        """Set when the viewer's call is over."""


class Links(Generic[_Order, _Report]):
    """The links of this controller."""

    def __init__(
        self,
        *,
        database: Database,
        sessions: Sessions,
        wakeups: WakeUps,
        make_ticket: Callable[[], str] = secrets.token_urlsafe,
    ) -> None:
        self._database = database
        self._sessions = sessions
        self._wakeups = wakeups
        self._make_ticket = make_ticket
        self._waiting: dict[str, Link[_Order, _Report]] = {}

    @asynccontextmanager
    async def open(self, agent_id: str) -> AsyncIterator[Link[_Order, _Report]]:
        """Yield the link once the agent has come; FarmError `screen_unavailable:no_answer`."""
        ticket = self._make_ticket()
        link: Link[_Order, _Report] = Link(agent_id)
        self._waiting[ticket] = link
        try:
            await self._ask(ticket, agent_id)
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    await link.arrived.wait()
            except TimeoutError:
                raise unavailable(
                    "no_answer",
                    f"the agent {agent_id} did not open the screen within {ANSWER_SECONDS:g} s; "
                    "agents older than 0.2.0 cannot show screens: if this agent is older, "
                    "upgrade it",
                ) from None
            yield link
        finally:
            self._waiting.pop(ticket, None)
            link.left.set()
            with suppress(DatabaseBusyError):  # it is over in 15 s anyway
                await self._forget(ticket)

    def take(self, ticket: str, *, agent_id: str | None) -> Link[_Order, _Report]:
        """Return the link of a ticket, which counts once; FarmError `unknown_ticket`.

        *agent_id* is whom the certificate names, None where there is none.
        """
        link = self._waiting.get(ticket)
        if link is None or agent_id not in {None, link.agent_id}:
            raise FarmError(
                Reason.UNKNOWN_TICKET,
                "this controller does not have this ticket, or no longer has it",
            )
        del self._waiting[ticket]
        link.arrived.set()
        return link

    @uninterrupted
    async def _ask(self, ticket: str, agent_id: str) -> None:
        async with self._database.writing() as tx:
            await screen_tickets.insert_new(tx, ticket, agent_id=agent_id)
        self._sessions.remind([agent_id])
        self._wakeups.orders_made([agent_id])

    @uninterrupted
    async def _forget(self, ticket: str) -> None:
        async with self._database.writing() as tx:
            await screen_tickets.remove(tx, ticket)
