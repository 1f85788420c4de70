"""Recovers free phones that cannot work, one step at a time (docs/adr/0015)."""

import asyncio
import json
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta

import structlog
from phonefarm_common.clock import Clock
from phonefarm_common.wire_enums import Readiness, Transport

from phonefarm_agent.model.host import STEPS_KEPT, RecoveryStep
from phonefarm_agent.phones import cleanup, lease_file
from phonefarm_agent.phones.adb.client import Adb, AdbError, Answer
from phonefarm_agent.phones.device import Device
from phonefarm_agent.phones.limits import PhoneLimits
from phonefarm_agent.phones.recovery_policy import (
    PhoneProblem,
    RecoveryState,
    StepKind,
    budgets,
    problem_of,
)

log = structlog.get_logger()

STEP_SECONDS = 15.0
_HISTORY_KEPT = 500


class Recovery:
    """Decides on the recovery steps of each phone; `perform` takes them."""

    def __init__(
        self,
        *,
        adb: Adb,
        limits: PhoneLimits,
        agent_id: str,
        addresses: tuple[str, ...],
        clock: Clock,
        kept: str,
        keep: Callable[[str], None],
    ) -> None:
        """Load *kept* from the previous process, so that no restart refills a budget."""
        self._adb = adb
        self._limits = limits
        self._agent_id = agent_id
        self._addresses = addresses
        self._clock = clock
        self._keep = keep
        self._budgets = budgets(limits)
        self._states: dict[str, RecoveryState] = {}
        self._taken: deque[tuple[str, StepKind, float]] = deque(
            _decode(kept, clock) if kept else (), maxlen=_HISTORY_KEPT
        )
        self._steps: deque[RecoveryStep] = deque(maxlen=STEPS_KEPT)
        self._number = 0
        self.counts: Counter[str] = Counter()

    def steps(self) -> tuple[RecoveryStep, ...]:
        """Return the latest steps since the agent's start, by number."""
        return tuple(self._steps)

    def needs_hands(self, device: Device) -> str:
        """Return what a person must do at the phone, empty while nothing."""
        state = self._states.get(device.adb_serial)
        return state.needs_hands if state else ""

    def update(self, device: Device, now: float, *, duplicate: bool) -> None:
        """Record the phone's present problem, if any."""
        state = self._states.setdefault(device.adb_serial, RecoveryState())
        before = state.needs_hands
        state.update(
            problem_of(device, now, duplicate=duplicate), now, over=self._is_over(device, now)
        )
        if state.problem is not None:
            state.next_step(now, self._history(device), self._budgets)
        if state.needs_hands and state.needs_hands != before:
            log.warning(
                "phone.needs_hands",
                adb_serial=device.adb_serial,
                serialno=device.serialno,
                problem=state.problem,
                needs_hands=state.needs_hands,
            )

    def due(self, device: Device, now: float) -> StepKind | None:
        """Return the step that is due for a phone, after `update`."""
        state = self._states[device.adb_serial]
        if device.recovering or state.problem is None:
            return None
        return state.next_step(now, self._history(device), self._budgets)

    def forget(self, adb_serial: str) -> None:
        """Forget a phone that adb now lists under another serial."""
        self._states.pop(adb_serial, None)

    def _is_over(self, device: Device, now: float) -> bool:
        """Tell whether the last problem is over, for a phone that shows none."""
        if device.transport is Transport.ABSENT:
            return now - device.since > self._limits.reboot_every
        readiness = device.verdict(now)[0]
        return readiness in {Readiness.READY, Readiness.COOLING, Readiness.UNFIT}

    def _history(self, device: Device) -> Mapping[StepKind, list[float]]:
        """Return when each step was taken for the phone, on the monotonic clock."""
        found: dict[StepKind, list[float]] = {}
        for name, step, at in self._taken:
            if name in {device.serialno or device.adb_serial, device.adb_serial}:
                found.setdefault(step, []).append(at)
        return found

    async def perform(self, device: Device, step: StepKind) -> None:
        """Take *step*; it counts against the budget before it begins.

        Whoever decided on the step has set it, so that no work begins meanwhile.
        """
        state = self._states[device.adb_serial]
        reason = str(state.problem)
        self._count(device, step)
        try:
            async with asyncio.timeout(STEP_SECONDS):
                outcome = await self._take(device, step, state.problem)
        except AdbError as error:
            outcome = f"failed: {error}"
        except TimeoutError:
            outcome = "failed: no answer in time"
        finally:
            device.recovering = False
        self._note(device, step, reason, outcome)

    def _count(self, device: Device, step: StepKind) -> None:
        now, wall = self._clock.monotonic(), self._clock.now()
        longest = max(budget.within for budget in self._budgets.values())
        while self._taken and now - self._taken[0][2] > longest:
            self._taken.popleft()
        self._taken.append((device.serialno or device.adb_serial, step, now))
        dated = [(n, one, wall - timedelta(seconds=now - at)) for n, one, at in self._taken]
        self._keep(json.dumps([(name, one, at.isoformat()) for name, one, at in dated]))

    def _note(self, device: Device, step: StepKind, reason: str, outcome: str) -> None:
        self._number += 1
        self.counts[step] += 1
        taken = RecoveryStep(
            number=self._number,
            serialno=device.serialno,
            adb_serial=device.adb_serial,
            step=step.value,
            reason=reason,
            outcome=outcome[:300],
            at=self._clock.now(),
        )
        self._steps.append(taken)
        log.warning(
            "phone.recovery_step_taken",
            number=taken.number,
            adb_serial=taken.adb_serial,
            serialno=taken.serialno,
            step=taken.step,
            reason=reason,
            outcome=taken.outcome,
        )

    async def _take(self, device: Device, step: StepKind, problem: PhoneProblem | None) -> str:
        match step:
            case StepKind.RECONNECT:
                return await self._reconnect(device)
            case StepKind.REBOOT:
                # Where no Android runs, no run does, and there is nobody to ask.
                running = problem is PhoneProblem.STUCK
                if running and (owner := await self._foreign_lease(device)):
                    return f"no step: {owner}"
                await self._adb.reboot(device.adb_serial)
                return "asked to restart"
            case StepKind.CLEAR_STORAGE:
                if owner := await self._foreign_lease(device):
                    return f"no step: {owner}"
                return await self._clear_storage(device)

    async def _reconnect(self, device: Device) -> str:
        """Reconnect the phone; nothing on the phone is touched."""
        if device.adb_serial not in self._addresses:
            return await self._adb.reconnect(device.adb_serial)
        await self._adb.disconnect(device.adb_serial)
        return await self._adb.connect(device.adb_serial)

    async def _foreign_lease(self, device: Device) -> str:
        """Return whose lease file is on a network phone, if another agent's: it may be live."""
        left = lease_file.read_lease(await self._shell(device, lease_file.READ_LEASE))
        if left.serialno != device.serialno:
            return "another phone answers at this address"
        if device.adb_serial in self._addresses and left.agent not in {"", self._agent_id}:
            return f"its last lease belongs to the agent {left.agent}"
        return ""

    async def _clear_storage(self, device: Device) -> str:
        """Remove the folders of earlier runs; nobody uses the phone, so all have ended."""
        answer = await self._shell(device, cleanup.LIST_LEFTOVERS)
        found = [line for line in answer.out.splitlines() if cleanup.is_leftover(line)]
        if not found:
            return "the phone has no files of this farm"
        await self._shell(device, cleanup.remove_leftovers(found))
        left = await self._shell(device, cleanup.LIST_LEFTOVERS)
        stays = [line for line in left.out.splitlines() if cleanup.is_leftover(line)]
        return f"the agent removed {len(found) - len(stays)} of {len(found)} folders"

    async def _shell(self, device: Device, command: str) -> Answer:
        return await self._adb.shell(device.adb_serial, command)


def _decode(text: str, clock: Clock) -> Iterable[tuple[str, StepKind, float]]:
    """Decode the journalled steps, with their times on the monotonic clock."""
    now, wall = clock.monotonic(), clock.now()
    for name, step, at in json.loads(text):
        ago = (wall - datetime.fromisoformat(at)).total_seconds()
        yield name, StepKind(step), now - max(ago, 0.0)
