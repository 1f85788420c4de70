"""Reads the current state of phones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from phonefarm_controller.agents.offers import agents_elsewhere, offers_here, stored_offers
from phonefarm_controller.agents.sessions import Sessions
from phonefarm_controller.model.blockers import AccountNow, PhoneNow
from phonefarm_controller.model.leases import Lease
from phonefarm_controller.model.phone_reports import StoredPhoneReport
from phonefarm_controller.store import agents, hosts, phone_reports
from phonefarm_controller.store.database import Transaction
from phonefarm_controller.store.hosts import Host
from phonefarm_controller.store.phones import Phone

_NOBODY: Mapping[str, Sequence[AccountNow]] = {}
_NONE: Mapping[str, frozenset[str]] = {}


@dataclass(frozen=True, kw_only=True)
class PhoneStatuses:
    """Phones by id, the last reports of them, and their hosts by agent."""

    phones: Mapping[str, PhoneNow]
    reports: Mapping[str, StoredPhoneReport]
    hosts: Mapping[str, Host] = field(default_factory=dict)


async def read_phone_status(
    tx: Transaction,
    sessions: Sessions,
    known: Sequence[Phone],
    held: Mapping[str, Lease],
    *,
    accounts: Mapping[str, Sequence[AccountNow]] = _NOBODY,
    groups: Mapping[str, frozenset[str]] = _NONE,
) -> PhoneStatuses:
    """Return these phones; *held*, *accounts* and *groups* are what is known of each."""
    reports = await phone_reports.of_phones(tx, [phone.phone_id for phone in known])
    withheld = await hosts.get(tx, {phone.agent_id for phone in known})
    emptied = await agents.drained(tx)
    capable = await agents.without_app(tx)
    away = await agents_elsewhere(tx, sessions)
    connected = {agent.agent_id for agent in away}
    connected |= {each.agent_id for each in sessions.all() if not each.closed.is_set()}
    offers = offers_here(sessions) + stored_offers(away)
    offered = {offer.phone_id: offer.agent_id for offer in offers}
    seen = {}
    for phone in known:
        at, owner = phone.phone_id, phone.agent_id
        resting = phone.cooling_until is not None and phone.cooling_until > tx.now
        seen[at] = PhoneNow(
            phone_id=at,
            agent_id=owner,
            transport=phone.transport,
            readiness=phone.readiness,
            readiness_reason=phone.readiness_reason,
            health=phone.health,
            health_reason=phone.health_reason,
            intent=phone.intent,
            connected=owner in connected,
            agent_drain=emptied.get(owner, ""),
            offered=offered.get(at) == owner,
            lease=held.get(at),
            groups=groups.get(at, frozenset()),
            accounts=accounts.get(at, ()),
            health_until=phone.health_until,
            cooling_until=phone.cooling_until if resting else None,
            needs_hands=reports[at].report.needs_hands if at in reports else "",
            host_withheld=withheld[owner].withheld if owner in withheld else "",
            proving=phone.verdict.proving,
            runs_without_app=owner in capable,
        )
    return PhoneStatuses(phones=seen, reports=reports, hosts=withheld)
