"""Assess phones by their failures, dirt and clean-ups, inside a unit of work."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

import structlog
from phonefarm_common.ids import new_id

from phonefarm_controller.health.last_in_service import warnings_of
from phonefarm_controller.health.policy import cleaned, cooled, dirtied, excused, proved, struck
from phonefarm_controller.model.health import HealthPolicy, Verdict
from phonefarm_controller.model.phone_reports import Incident
from phonefarm_controller.model.states import Health
from phonefarm_controller.model.transitions import CONTROLLER
from phonefarm_controller.store import agents, audit, hosts, phone_failures, phones
from phonefarm_controller.store.database import Transaction
from phonefarm_controller.store.phone_failures import PhoneFailure
from phonefarm_controller.store.phones import Phone

log = structlog.get_logger()

PHONES_FAILING: Final = "phones_failing"
KEPT: Final = timedelta(days=30)
"""The failures of a phone are remembered this long."""


@dataclass(frozen=True, kw_only=True)
class _Hosts:
    """What the hosts caused in a batch: agents with blameless phones, and failures taken back."""

    frozen: frozenset[str]
    excused: Mapping[str, tuple[PhoneFailure, ...]]  # by phone


async def assess(
    tx: Transaction,
    *,
    policy: HealthPolicy,
    charged: Sequence[PhoneFailure],
    soiled_by: Mapping[str, str],
    cleaned_now: Iterable[str],
    proved_now: Iterable[str],
    unproved: Collection[str],
) -> None:
    """Lock the phones, keep what they are charged with, and write what becomes of them.

    *soiled_by* is why each phone is not known clean, *cleaned_now* are phones proved clean,
    *proved_now* those that passed a golden job; *unproved* are runs of golden jobs that failed. A
    run is charged once, however often something of it is told.
    """
    told = await _on_hosts(tx, policy, charged)
    cleaned_ids, proved_ids = set(cleaned_now), set(proved_now)
    charged_ids = {charge.phone_id for charge in charged}
    locked = await phones.lock(
        tx, {*soiled_by, *cleaned_ids, *proved_ids, *told.excused, *charged_ids}
    )
    past = await phone_failures.of_phones(tx, locked, tx.now - timedelta(seconds=policy.window))
    new = _new(charged, past, told.frozen)
    await phone_failures.keep(tx, new)
    taken_back = {each.run_id for some in told.excused.values() for each in some}
    if taken_back:
        await phone_failures.excuse(tx, taken_back)
    if new:
        await phone_failures.forget(tx, {charge.phone_id for charge in new}, tx.now - KEPT)
    after = []
    for phone_id, phone in locked.items():
        counting = [c for c in past.get(phone_id, ()) if c.counts and c.run_id not in taken_back]
        fresh = [charge for charge in new if charge.phone_id == phone_id]
        strikes = len(counting) + sum(charge.counts for charge in fresh)
        verdict = phone.verdict
        if phone_id in told.excused:
            verdict = excused(verdict, strikes=strikes, policy=policy, now=tx.now)
        if phone_id in proved_ids:
            verdict = proved(verdict, policy=policy, now=tx.now)
        for charge in fresh:
            if charge.counts:
                verdict = struck(
                    verdict,
                    charge.code,
                    strikes=strikes,
                    policy=policy,
                    now=tx.now,
                    golden=charge.run_id in unproved,
                )
            else:
                verdict = cooled(verdict, policy=policy, now=tx.now)
        if phone_id in soiled_by:
            verdict = dirtied(verdict, soiled_by[phone_id])
        elif phone_id in cleaned_ids:
            verdict = cleaned(verdict, strikes=strikes, policy=policy, now=tx.now)
        if verdict != phone.verdict:
            after.append(phone.judged(verdict))
    await phones.save(tx, after)
    for phone in after:
        await note_health_change(tx, locked[phone.phone_id], phone.verdict)


async def note_health_change(tx: Transaction, before: Phone, verdict: Verdict) -> None:
    """Log how a verdict changed; keep begin and end of a quarantine in the audit."""
    was = before.verdict
    if (was.health, was.reason) == (verdict.health, verdict.reason):
        return
    at = before.phone_id
    log.info(
        "phone.health_changed",
        phone_id=at,
        was=str(was.health),
        now=str(verdict.health),
        why=verdict.reason,
    )
    if verdict.health is Health.QUARANTINED:
        until = "" if verdict.until is None else f"; until {verdict.until:%Y-%m-%d %H:%M:%S} UTC"
        warnings = await warnings_of(tx, at)
        for warning in warnings:
            log.warning("phone.last_in_service", phone_id=at, told=warning)
        said = "; ".join([f"{verdict.reason}{until}", *warnings])
        await _note(tx, "quarantine", at, said)
    elif was.health is Health.QUARANTINED:
        await _note(
            tx, "end quarantine", at, verdict.reason or "its agent reports that the phone is clean"
        )


async def _on_hosts(
    tx: Transaction, policy: HealthPolicy, charged: Sequence[PhoneFailure]
) -> _Hosts:
    """Find the failures that are the hosts'; open an incident where too many phones fail."""
    owners = {charge.agent_id for charge in charged}
    if not owners:
        return _Hosts(frozen=frozenset(), excused={})
    known = await agents.get(tx, owners)
    silent = tx.now - timedelta(seconds=policy.agent_silent)
    lost = {name for name, a in known.items() if not a.connected or a.heard_at < silent}
    lasting = await hosts.open_of(tx, owners)
    frozen = lost | {each.agent_id for each in lasting}
    lately = await phone_failures.of_hosts(
        tx, owners, tx.now - timedelta(seconds=policy.host_window)
    )
    taken_back: dict[str, tuple[PhoneFailure, ...]] = {}
    for each in lasting:
        if each.incident.kind == PHONES_FAILING:
            names = {c.phone_id for c in charged if c.agent_id == each.agent_id}
            both = tuple(sorted({*each.incident.phones, *names}))
            more = replace(each.incident, phones=both)
            await hosts.keep(tx, each.agent_id, {more.incident_id: more})
    for name in sorted(owners - frozen):
        counting = [charge for charge in lately.get(name, ()) if charge.counts]
        failing = {c.phone_id for c in counting}
        failing |= {c.phone_id for c in charged if c.agent_id == name}
        if len(failing) < policy.host_phones:
            continue
        ended = await hosts.last_end(tx, name, PHONES_FAILING)
        if ended is not None and tx.now - ended < timedelta(seconds=policy.host_most):
            continue  # it did not help to blame the host: bad phones must not hide for ever
        frozen |= {name}
        await _open(tx, name, sorted(failing), policy)
        for charge in counting:
            taken_back[charge.phone_id] = (*taken_back.get(charge.phone_id, ()), charge)
    return _Hosts(frozen=frozenset(frozen), excused=taken_back)


async def _open(
    tx: Transaction, agent_id: str, failing: Sequence[str], policy: HealthPolicy
) -> None:
    incident = Incident(
        incident_id=new_id(),
        kind=PHONES_FAILING,
        error=f"{len(failing)} phones failed within {policy.host_window:g} s",
        phones=tuple(failing),
        began_at=tx.now,
        ended_at=None,
        seen_by="controller",
    )
    await hosts.keep(tx, agent_id, {incident.incident_id: incident})
    log.warning("host.incident_began", agent_id=agent_id, kind=incident.kind, phones=failing)
    await _note(tx, "host incident", agent_id, f"{PHONES_FAILING}: {incident.error}")


async def _note(tx: Transaction, verb: str, subject: str, reason: str) -> None:
    await audit.note(
        tx, audit_id=new_id(), actor=CONTROLLER, verb=verb, subject=subject, reason=reason[:1000]
    )


def _new(
    charged: Sequence[PhoneFailure],
    past: Mapping[str, Sequence[PhoneFailure]],
    frozen: frozenset[str],
) -> list[PhoneFailure]:
    """Return the charges of runs that were not charged before."""
    known = {charge.run_id for some in past.values() for charge in some}
    fresh = {charge.run_id: charge for charge in reversed(charged) if charge.run_id not in known}
    return [replace(c, counts=c.agent_id not in frozen) for c in fresh.values()]
