"""Greet: a new session of an agent. It gets a term; its phones and its runs are looked at."""

from contextlib import suppress
from dataclasses import dataclass, replace

import structlog
from phonefarm_common.ids import PROTOCOL_VERSION
from phonefarm_common.reasons import FarmError, Reason

from phonefarm_controller.agents.inventory import Inventory, PhoneName, SeenPhone
from phonefarm_controller.concurrency.uninterrupted import whole
from phonefarm_controller.model.errors import DatabaseBusyError
from phonefarm_controller.model.run_reports import RunRef
from phonefarm_controller.model.states import LeaseState, RunState
from phonefarm_controller.store import agents, leases, runs
from phonefarm_controller.store.agents import Agent
from phonefarm_controller.store.database import Database, Transaction

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class HeldRun:
    """A run that the agent still holds."""

    run: RunRef
    ended: bool


@dataclass(frozen=True, kw_only=True)
class Greeting:
    """An agent's first words."""

    agent_id: str
    boot_id: str
    incarnation: int
    protocol_version: int
    version: str
    runtime: str
    time_scale: float
    phones: tuple[SeenPhone, ...]
    held: tuple[HeldRun, ...]


@dataclass(frozen=True, kw_only=True)
class Greeted:
    """The answer: the term, a reason to stop per held run (None: go on), and the phones' names.

    `lost` are leases of runs under way that the agent no longer knows of. `too_old` says why an
    agent gets no more work that is heard until the runs it holds have ended; empty for others.
    """

    term: int
    verdicts: tuple[tuple[RunRef, str | None], ...]
    phones: tuple[PhoneName, ...]
    lost: tuple[str, ...]
    too_old: str = ""


class Handshake:
    """Opens and closes the sessions of agents."""

    def __init__(self, *, database: Database, inventory: Inventory, time_scale: float) -> None:
        self._database = database
        self._inventory = inventory
        self._time_scale = time_scale

    @whole
    async def connect(self, greeting: Greeting) -> Greeted:
        """Return the session's term and what the agent must know; FarmError refuses it.

        One that is too old is heard while it holds runs, so that they end and are reported.
        """
        self._check(greeting)
        too_old = _too_old(greeting)
        if too_old and (not greeting.held or greeting.protocol_version < 1):
            raise FarmError(Reason.AGENT_TOO_OLD, too_old)
        async with self._database.writing() as tx:
            agent = Agent(
                agent_id=greeting.agent_id,
                boot_id=greeting.boot_id,
                incarnation=greeting.incarnation,
                version=greeting.version,
                runtime=greeting.runtime,
                term=0,
                connected=True,
                heard_at=tx.now,
            )
            known = await agents.lock_or_new(tx, agent)
            _check_identity(greeting, known)
            term = known.term + 1
            await agents.put(tx, replace(agent, term=term))
            names = await self._inventory.take(tx, greeting.agent_id, greeting.phones)
            verdicts = await _verdicts(tx, greeting)
            lost = await _lost(tx, greeting)
        self._inventory.announce()
        if too_old:
            log.warning("agent.too_old", agent_id=greeting.agent_id, held=len(greeting.held))
        return Greeted(term=term, verdicts=verdicts, phones=names, lost=lost, too_old=too_old)

    @whole
    async def is_done_with(self, agent_id: str) -> bool:
        """Tell whether every run of the agent has ended, and its phone with it."""
        async with self._database.reading() as tx:
            held = await leases.held_by(tx, agent_id)
        return all(lease.state is LeaseState.DIRTY for lease in held)

    @whole
    async def disconnect(self, agent_id: str, term: int) -> None:
        """Note that the session is over, unless a newer one has taken over.

        The leases of its phones live on until they expire.
        """
        with suppress(DatabaseBusyError):  # `connected` is a display; silence is judged by its age
            async with self._database.writing() as tx:
                await agents.parted_in_term(tx, agent_id, term)

    def _check(self, greeting: Greeting) -> None:
        if not abs(greeting.time_scale - self._time_scale) <= 1e-9:  # also for what is no number
            raise FarmError(
                Reason.TIME_SCALE_DIFFERS,
                f"the agent's timers are scaled by {greeting.time_scale:g}, the controller's by "
                f"{self._time_scale:g}: set PHONEFARM_TIME_SCALE equal on both",
            )


def _too_old(greeting: Greeting) -> str:
    oldest = max(1, PROTOCOL_VERSION - 1)
    if greeting.protocol_version >= oldest:
        return ""
    # Agents look for the word at the begin of the message, and end for good when they find it.
    word, spoken = Reason.AGENT_TOO_OLD, greeting.protocol_version
    return f"{word}: agent protocol {spoken} is below {oldest}: upgrade the agent"


def _check_identity(greeting: Greeting, known: Agent) -> None:
    if known.term == 0 or greeting.incarnation > known.incarnation:
        return
    if greeting.boot_id != known.boot_id or greeting.incarnation < known.incarnation:
        raise FarmError(
            Reason.IDENTITY_CLONED,
            f"agent {greeting.agent_id} was seen with incarnation {known.incarnation}, this is "
            f"{greeting.incarnation} of another life: is its state directory a copy?",
        )


async def _verdicts(tx: Transaction, greeting: Greeting) -> tuple[tuple[RunRef, str | None], ...]:
    known = await leases.get(tx, {held.run.lease_id for held in greeting.held})
    verdicts: list[tuple[RunRef, str | None]] = []
    for held in greeting.held:
        lease = known.get(held.run.lease_id)
        mine = (
            lease is not None
            and lease.agent_id == greeting.agent_id
            and (lease.run_id, lease.epoch) == (held.run.run_id, held.run.epoch)
        )
        if lease is None or not mine:
            verdicts.append((held.run, "unknown_run"))
        elif lease.state is LeaseState.LIVE or (held.ended and lease.state is LeaseState.RELEASING):
            verdicts.append((held.run, None))
        else:
            verdicts.append((held.run, "lease_lost"))
    return tuple(verdicts)


async def _lost(tx: Transaction, greeting: Greeting) -> tuple[str, ...]:
    """Return leases of runs past the start gate that the agent does not hold any more."""
    named = {held.run.lease_id for held in greeting.held}
    missing = [
        lease
        for lease in await leases.held_by(tx, greeting.agent_id)
        if lease.state is LeaseState.LIVE and lease.lease_id not in named
    ]
    known = await runs.get(tx, {lease.run_id for lease in missing})
    return tuple(
        lease.lease_id for lease in missing if known[lease.run_id].state is RunState.EXECUTING
    )
