"""The handshake opens and closes an agent's session: its term, its phones, the runs it holds."""

from contextlib import suppress
from dataclasses import dataclass, replace

import structlog
from phonefarm_common.ids import PROTOCOL_VERSION
from phonefarm_common.reasons import FarmError, Reason

from phonefarm_controller.agents.inventory import Inventory, PhoneName, ReportedPhone
from phonefarm_controller.concurrency.uninterrupted import uninterrupted
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
class AgentHello:
    """What an agent says of itself when it connects."""

    agent_id: str
    boot_id: str
    incarnation: int
    protocol_version: int
    version: str
    runtime: str
    time_scale: float
    phones: tuple[ReportedPhone, ...]
    held: tuple[HeldRun, ...]
    runs_without_app: bool = False


@dataclass(frozen=True, kw_only=True)
class Welcome:
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

    @uninterrupted
    async def connect(self, hello: AgentHello) -> Welcome:
        """Return the session's term and what the agent must know; FarmError refuses it.

        One that is too old is heard while it holds runs, so that they end and are reported.
        """
        self._check(hello)
        too_old = _too_old(hello)
        if too_old and (not hello.held or hello.protocol_version < 1):
            raise FarmError(Reason.AGENT_TOO_OLD, too_old)
        async with self._database.writing() as tx:
            agent = Agent(
                agent_id=hello.agent_id,
                boot_id=hello.boot_id,
                incarnation=hello.incarnation,
                version=hello.version,
                runtime=hello.runtime,
                runs_without_app=hello.runs_without_app,
                term=0,
                connected=True,
                heard_at=tx.now,
            )
            known = await agents.lock_or_new(tx, agent)
            _check_identity(hello, known)
            term = known.term + 1
            await agents.put(tx, replace(agent, term=term))
            names = await self._inventory.take(tx, hello.agent_id, hello.phones)
            verdicts = await _verdicts(tx, hello)
            lost = await _lost(tx, hello)
        self._inventory.announce()
        if too_old:
            log.warning("agent.too_old", agent_id=hello.agent_id, held=len(hello.held))
        return Welcome(term=term, verdicts=verdicts, phones=names, lost=lost, too_old=too_old)

    @uninterrupted
    async def is_done_with(self, agent_id: str) -> bool:
        """Tell whether every run of the agent has ended, and its phone with it."""
        async with self._database.reading() as tx:
            held = await leases.held_by(tx, agent_id)
        return all(lease.state is LeaseState.DIRTY for lease in held)

    @uninterrupted
    async def disconnect(self, agent_id: str, term: int) -> None:
        """Note that the session is over, unless a newer one has taken over.

        The leases of its phones live on until they expire.
        """
        with suppress(DatabaseBusyError):  # `connected` is a display; silence is judged by its age
            async with self._database.writing() as tx:
                await agents.disconnect_in_term(tx, agent_id, term)

    def _check(self, hello: AgentHello) -> None:
        if not abs(hello.time_scale - self._time_scale) <= 1e-9:  # also for what is no number
            raise FarmError(
                Reason.TIME_SCALE_DIFFERS,
                f"PHONEFARM_TIME_SCALE is {hello.time_scale:g} on the agent and "
                f"{self._time_scale:g} on the controller: set the same value on both",
            )


def _too_old(hello: AgentHello) -> str:
    oldest = max(1, PROTOCOL_VERSION - 1)
    if hello.protocol_version >= oldest:
        return ""
    # Agents look for the word at the begin of the message, and end for good when they find it.
    word, spoken = Reason.AGENT_TOO_OLD, hello.protocol_version
    return f"{word}: agent protocol {spoken} is older than {oldest}: upgrade the agent"


def _check_identity(hello: AgentHello, known: Agent) -> None:
    if known.term == 0 or hello.incarnation > known.incarnation:
        return
    if hello.boot_id != known.boot_id or hello.incarnation < known.incarnation:
        raise FarmError(
            Reason.IDENTITY_CLONED,
            (
                f"agent {hello.agent_id} has already connected with incarnation "
                f"{known.incarnation}; an agent that starts later must have a greater one, not "
                f"{hello.incarnation}: check whether the agent's state directory was copied"
            ),
        )


async def _verdicts(tx: Transaction, hello: AgentHello) -> tuple[tuple[RunRef, str | None], ...]:
    known = await leases.get(tx, {held.run.lease_id for held in hello.held})
    verdicts: list[tuple[RunRef, str | None]] = []
    for held in hello.held:
        lease = known.get(held.run.lease_id)
        mine = (
            lease is not None
            and lease.agent_id == hello.agent_id
            and (lease.run_id, lease.epoch) == (held.run.run_id, held.run.epoch)
        )
        if lease is None or not mine:
            verdicts.append((held.run, "unknown_run"))
        elif lease.state is LeaseState.LIVE or (held.ended and lease.state is LeaseState.RELEASING):
            verdicts.append((held.run, None))
        else:
            verdicts.append((held.run, "lease_lost"))
    return tuple(verdicts)


async def _lost(tx: Transaction, hello: AgentHello) -> tuple[str, ...]:
    """Return leases of runs past the start gate that the agent does not hold any more."""
    named = {held.run.lease_id for held in hello.held}
    missing = [
        lease
        for lease in await leases.held_by(tx, hello.agent_id)
        if lease.state is LeaseState.LIVE and lease.lease_id not in named
    ]
    known = await runs.get(tx, {lease.run_id for lease in missing})
    return tuple(
        lease.lease_id for lease in missing if known[lease.run_id].state is RunState.EXECUTING
    )
