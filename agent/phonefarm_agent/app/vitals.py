"""What whoever supervises the agent may ask it: whether it lives, and how it is."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext

from phonefarm_agent.link.line import Line
from phonefarm_agent.phones.contract import Phones
from phonefarm_agent.work.journal import Journal, JournalFailedError
from phonefarm_agent.work.roster import Roster
from phonefarm_agent.work.tables import Statement

_NOTHING = Statement(sql="SELECT 1", values=())


class Vitals:
    """Asked only in the agent's own loop."""

    def __init__(
        self,
        *,
        line: Line,
        roster: Roster,
        phones: Phones,
        journal: Journal,
        controller: str,
        withheld: Callable[[], str],
    ) -> None:
        self._line = line
        self._roster = roster
        self._phones = phones
        self._journal = journal
        self._controller = controller
        self._withheld = withheld

    @property
    def settled(self) -> asyncio.Event:
        """Set once the first try to reach the controller is over, well or badly."""
        return self._line.tried

    async def prove(self) -> None:
        """Return once the loop has gone round and the journal has taken a transaction's turn.

        A journal whose disk refuses has taken its turn: the agent knows and says so, and a new
        start would mend nothing.
        """
        try:
            await self._journal.try_keep(_NOTHING)
        except JournalFailedError:
            return

    def line(self) -> str:
        """Return one line for people: phones, runs, controller, what is wrong."""
        seen, fit = self._phones.reports(), len(self._phones.fit())
        runs = len(self._roster.live())
        told = [
            f"{len(seen)} phone{'s' * (len(seen) != 1)} ({fit} fit)",
            f"{runs} run{'s' * (runs != 1)}",
            f"controller {self._controller} {self._line.trouble or 'connected'}",
        ]
        told += [trouble for trouble in (self._withheld(), self._journal.failing) if trouble]
        return "; ".join(told)

    @property
    def stopping(self) -> bool:
        """Tell whether the agent was told to stop, or is no longer wanted."""
        return self._withheld() == STOPPING


STOPPING = "agent_stopping"
"""Why an agent that ends offers no phone."""

Supervise = Callable[[Vitals], AbstractAsyncContextManager[None]]
"""Looks after the agent while the block lasts."""


def unsupervised(vitals: Vitals) -> AbstractAsyncContextManager[None]:
    """Return what does nothing: nobody asked to be told."""
    return nullcontext()
