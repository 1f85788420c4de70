"""Finds the phone that a viewer wants to see, checks its agent and its hold, and audits."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from phonefarm_common.ids import new_id

from phonefarm_controller.agents.sessions import Sessions
from phonefarm_controller.concurrency.uninterrupted import uninterrupted
from phonefarm_controller.model.errors import unknown_phone
from phonefarm_controller.model.states import ItemState
from phonefarm_controller.model.transitions import by_operator
from phonefarm_controller.screens.links import unavailable
from phonefarm_controller.store import agents, audit, items, phones, processes, queue
from phonefarm_controller.store.database import Database, Transaction


@dataclass(frozen=True, kw_only=True)
class ScreenPhone:
    """A phone whose screen somebody may watch."""

    phone_id: str
    serialno: str
    agent_id: str


@dataclass(frozen=True, kw_only=True)
class HoldRun:
    """The run of a current hold; the agent checks its lease."""

    run_id: str
    epoch: int


class ScreenAccess:
    """Reads what screens need, and writes their audit."""

    def __init__(
        self, *, database: Database, sessions: Sessions, ids: Callable[[], str] = new_id
    ) -> None:
        self._database = database
        self._sessions = sessions
        self._ids = ids

    @uninterrupted
    async def find(self, phone_id: str) -> ScreenPhone:
        """Return the phone; FarmError `unknown_phone`, `screen_unavailable:agent_away`."""
        async with self._database.reading() as tx:
            found = (await phones.get(tx, [phone_id])).get(phone_id)
            if found is None:
                raise unknown_phone(phone_id)
            if not await self._connected(tx, found.agent_id):
                raise unavailable(
                    "agent_away",
                    f"the agent {found.agent_id} of this phone is not connected: "
                    "`phonefarm agents list` shows since when",
                )
        return ScreenPhone(phone_id=phone_id, serialno=found.serialno, agent_id=found.agent_id)

    @uninterrupted
    async def find_all(self, phone_ids: Iterable[str]) -> dict[str, ScreenPhone | None]:
        """Return the phones by id, None for an unknown one; whether agents answer shows later."""
        wanted = list(phone_ids)
        async with self._database.reading() as tx:
            known = await phones.get(tx, wanted)
        return {
            phone_id: ScreenPhone(
                phone_id=phone_id,
                serialno=known[phone_id].serialno,
                agent_id=known[phone_id].agent_id,
            )
            if phone_id in known
            else None
            for phone_id in wanted
        }

    @uninterrupted
    async def hold_of(self, phone_id: str, holder: str) -> HoldRun | None:
        """Return the run of the hold of this phone that *holder*'s key made and that goes on."""
        async with self._database.reading() as tx:
            for each in await queue.open_phone_only(tx, [phone_id]):
                item = (await items.get(tx, {each.item_id})).get(each.item_id)
                if not each.by_hand or item is None or item.run_id is None:
                    continue
                process = await processes.get(tx, each.process_id)
                if (
                    item.state is ItemState.EXECUTING
                    and process is not None
                    and process.user == holder
                ):
                    return HoldRun(run_id=item.run_id, epoch=item.epoch)
        return None

    @uninterrupted
    async def note(self, *, actor: str, verb: str, subject: str, text: str) -> datetime:
        """Note in the audit what *actor* saw; return the moment."""
        async with self._database.writing(actor=by_operator(actor)) as tx:
            await audit.note(
                tx,
                audit_id=self._ids(),
                actor=actor,
                verb=verb,
                subject=subject,
                reason=text,
            )
            return tx.now

    async def _connected(self, tx: Transaction, agent_id: str) -> bool:
        if self._sessions.of(agent_id) is not None:
            return True
        if self._sessions.alone:
            return False
        agent = (await agents.get(tx, {agent_id})).get(agent_id)
        silent = timedelta(seconds=self._sessions.offer_lapses)
        return agent is not None and agent.connected and agent.heard_at >= tx.now - silent
