"""The stored rows that decide which phones may work: cheap to read and to compare."""

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from phonefarm_common.wire_enums import CleanupStep
from sqlalchemy import or_, select

from phonefarm_controller.model.pauses import Pause
from phonefarm_controller.store import limits, pauses, windows
from phonefarm_controller.store.accounts import READS as ACCOUNT_READS
from phonefarm_controller.store.accounts import Account
from phonefarm_controller.store.compiled_statements import Statement, values_of
from phonefarm_controller.store.database import Transaction
from phonefarm_controller.store.phones import READS as PHONE_READS
from phonefarm_controller.store.phones import PhoneAvailability
from phonefarm_controller.store.schema.fleet import accounts, agents, clean_ups, groups, phones

Rows: TypeAlias = list[tuple[Any, ...]]

_PHONE: Final = tuple(PhoneAvailability.__dataclass_fields__)
_PHONES = Statement(
    select(*(phones.c[name] for name in _PHONE)).order_by(phones.c.phone_id), reads=PHONE_READS
)
_ACCOUNT: Final = tuple(Account.__dataclass_fields__)
_ACCOUNTS = Statement(
    select(*(accounts.c[name] for name in _ACCOUNT))
    .where(accounts.c.active.is_(True), accounts.c.phone_id.is_not(None))
    .order_by(accounts.c.account_id),
    reads=ACCOUNT_READS,
)
_MEMBERS = Statement(
    select(groups.c.member_id, groups.c.name)
    .where(groups.c.kind == "phone")
    .order_by(groups.c.member_id, groups.c.name)
)
_POLICIES = Statement(
    select(clean_ups.c.phone_group, clean_ups.c.steps).order_by(clean_ups.c.phone_group)
)
_AGENTS = Statement(
    select(
        agents.c.agent_id,
        agents.c.drain_since.is_not(None).label("drained"),
        agents.c.runs_without_app,
    )
    .where(or_(agents.c.drain_since.is_not(None), agents.c.runs_without_app))
    .order_by(agents.c.agent_id)
)


@dataclass(frozen=True, kw_only=True)
class FleetRows:
    """The rows; claiming or releasing a phone changes none of them."""

    phones: Rows
    accounts: Rows  # the active ones that are bound to a phone
    members: Rows
    policies: Rows
    agents: Rows  # those that are drained or that run without an app
    pauses: list[Pause]
    windows: Rows
    limits: Rows

    def availability(self) -> list[PhoneAvailability]:
        """Return what each phone may do, by id."""
        return values_of(PhoneAvailability, _PHONE, self.phones)

    def bound_accounts(self) -> list[Account]:
        """Return the accounts, by id."""
        return values_of(Account, _ACCOUNT, self.accounts)

    def memberships(self) -> dict[str, frozenset[str]]:
        """Return the names of the groups of every phone that is in one."""
        found: dict[str, set[str]] = defaultdict(set)
        for phone_id, name in self.members:
            found[phone_id].add(name)
        return {phone_id: frozenset(names) for phone_id, names in found.items()}

    def cleanup_policies(self) -> Mapping[str, frozenset[CleanupStep]]:
        """Return the clean-up steps of each phone group that has a policy."""
        return {
            name: frozenset(map(CleanupStep, json.loads(steps))) for name, steps in self.policies
        }

    def drained_agents(self) -> set[str]:
        """Return the agents whose hosts an operator wants empty."""
        return {agent_id for agent_id, drained, _ in self.agents if drained}

    def agents_without_app(self) -> set[str]:
        """Return the agents that carry out plans without an app profile."""
        return {agent_id for agent_id, _, runs_without_app in self.agents if runs_without_app}


async def read(tx: Transaction) -> FleetRows:
    """Read all of it."""
    return FleetRows(
        phones=await _PHONES.rows(tx),
        accounts=await _ACCOUNTS.rows(tx),
        members=await _MEMBERS.rows(tx),
        policies=await _POLICIES.rows(tx),
        agents=await _AGENTS.rows(tx),
        pauses=await pauses.all_of(tx),
        windows=await windows.rows(tx),
        limits=await limits.rows(tx),
    )
