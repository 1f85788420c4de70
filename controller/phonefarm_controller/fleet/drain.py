"""Drain: a phone or a whole host gets no new work; runs in progress continue."""

from dataclasses import replace

from phonefarm_common.ids import new_id
from phonefarm_common.reasons import FarmError, FieldProblem, Reason

from phonefarm_controller.agents.sessions import Sessions
from phonefarm_controller.concurrency.uninterrupted import uninterrupted
from phonefarm_controller.concurrency.wakeups import WakeUps
from phonefarm_controller.fleet.phones import PhoneView, locked_phone, view_phone
from phonefarm_controller.health.last_in_service import warnings_of
from phonefarm_controller.model.errors import check_reason
from phonefarm_controller.model.states import Health, Intent
from phonefarm_controller.model.transitions import by_operator
from phonefarm_controller.store import agents, audit, phones
from phonefarm_controller.store.agents import Agent
from phonefarm_controller.store.database import Database, Transaction

_NEEDLESS = {
    Intent.NEW: "nobody has admitted the phone, so it already gets no work",
    Intent.MAINTENANCE: "the phone is in maintenance, so it already gets no work",
}


class Drain:
    """Drains phones and hosts. An item that is claimed but has not begun goes back to the queue."""

    def __init__(self, *, database: Database, sessions: Sessions, wakeups: WakeUps) -> None:
        self._database = database
        self._sessions = sessions
        self._wakeups = wakeups

    @uninterrupted
    async def phone(self, phone_id: str, *, actor: str, reason: str) -> PhoneView:
        """Give a phone no more work until it is admitted again; repeating it changes nothing.

        FarmError `unknown_phone`, `state_conflict` for one that gets no work anyway.
        """
        check_reason(reason)
        async with self._database.writing(actor=by_operator(actor)) as tx:
            phone = await locked_phone(tx, phone_id)
            why = _NEEDLESS.get(phone.intent)
            if phone.health is Health.RETIRED:
                why = "the phone is retired, so it already gets no work"
            if why is not None:
                state = phone.intent if phone.health is not Health.RETIRED else phone.health
                problem = FieldProblem(field="phone_id", message=why)
                raise FarmError(
                    Reason.STATE_CONFLICT, f"{phone_id}: {why}", detail=state, problems=(problem,)
                )
            after = replace(phone, intent=Intent.DRAINING)
            warnings = await warnings_of(tx, phone_id) if phone.in_service else ()
            await phones.save(tx, [after])
            await _note(tx, actor, "drain", phone_id, reason)
            view = await view_phone(tx, self._sessions, after, warnings=warnings)
        self._wakeups.fleet_changed()
        return view

    @uninterrupted
    async def agent(self, agent_id: str, *, actor: str, reason: str) -> Agent:
        """Give the phones of a host no more work until it is undrained; FarmError for nobody's id.

        It outlives restarts of agent and controllers. Repeating it renews its reason.
        """
        check_reason(reason)
        async with self._database.writing() as tx:
            if not await agents.drain_if_known(tx, agent_id, by=actor, reason=reason[:500]):
                raise _unknown(agent_id)
            await _note(tx, actor, "drain agent", agent_id, reason)
            drained = (await agents.get(tx, {agent_id}))[agent_id]
        self._wakeups.fleet_changed()
        return drained

    @uninterrupted
    async def undrain(self, agent_id: str, *, actor: str, reason: str = "") -> bool:
        """Give the host's phones work again; return whether it was drained."""
        async with self._database.writing() as tx:
            if not await agents.get(tx, {agent_id}):
                raise _unknown(agent_id)
            ended = await agents.undrain_if_drained(tx, agent_id)
            if ended:
                await _note(tx, actor, "undrain agent", agent_id, reason)
        if ended:
            self._wakeups.fleet_changed()
        return ended


async def _note(tx: Transaction, actor: str, verb: str, subject: str, reason: str) -> None:
    await audit.note(tx, audit_id=new_id(), actor=actor, verb=verb, subject=subject, reason=reason)


def _unknown(agent_id: str) -> FarmError:
    problem = FieldProblem(field="agent_id", message="is not the id of an agent")
    message = f"there is no agent {agent_id}; `phonefarm agents list` shows all agents"
    return FarmError(Reason.UNKNOWN_MEMBER, message, detail=agent_id[:128], problems=(problem,))
