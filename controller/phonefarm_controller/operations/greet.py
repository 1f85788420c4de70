"""Greet: a new session of an agent. It gets a term; its phones and its runs are looked at."""

from dataclasses import dataclass, replace

from phonefarm_common.identity import PROTOCOL_VERSION
from phonefarm_common.reasons import FarmError, Reason

from phonefarm_controller.domain.reports import RunRef
from phonefarm_controller.domain.states import LeaseState, RunState
from phonefarm_controller.operations.inventory import Inventory, PhoneName, SeenPhone
from phonefarm_controller.operations.whole import whole
from phonefarm_controller.store import agents, leases, runs
from phonefarm_controller.store.agents import Agent
from phonefarm_controller.store.database import Database, Transaction


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

    `lost` are leases of runs under way that the agent no longer knows of.
    """

    term: int
    verdicts: tuple[tuple[RunRef, str | None], ...]
    phones: tuple[PhoneName, ...]
    lost: tuple[str, ...]


class Greet:
    """Opens sessions."""

    def __init__(self, *, database: Database, inventory: Inventory, time_scale: float) -> None:
        self._database = database
        self._inventory = inventory
        self._time_scale = time_scale

    @whole
    async def __call__(self, greeting: Greeting) -> Greeted:
        """Return the session's term and what the agent must know; FarmError refuses it."""
        self._check(greeting)
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
        return Greeted(term=term, verdicts=verdicts, phones=names, lost=lost)

    def _check(self, greeting: Greeting) -> None:
        if greeting.protocol_version < PROTOCOL_VERSION - 1 or greeting.protocol_version < 1:
            raise FarmError(
                Reason.AGENT_TOO_OLD,
                f"agent protocol {greeting.protocol_version} is below "
                f"{max(1, PROTOCOL_VERSION - 1)}: upgrade the agent",
            )
        if not abs(greeting.time_scale - self._time_scale) <= 1e-9:  # also for what is no number
            raise FarmError(
                Reason.TIME_SCALE_DIFFERS,
                f"the agent's timers are scaled by {greeting.time_scale:g}, the controller's by "
                f"{self._time_scale:g}: set PHONEFARM_TIME_SCALE equal on both",
            )


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
