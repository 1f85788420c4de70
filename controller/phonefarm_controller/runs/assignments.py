"""Builds the assignments that agents get for claimed items."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence

from phonefarm_common.wire_enums import CleanupStep

from phonefarm_controller.model.app_profiles import NO_PROFILE, ProfileError, read_profile
from phonefarm_controller.model.items import Item
from phonefarm_controller.model.leases import Lease
from phonefarm_controller.model.processes import trace_id_of
from phonefarm_controller.model.run_reports import Assignment, RunRef
from phonefarm_controller.store import app_profiles, items
from phonefarm_controller.store.database import Transaction

CleanUpSteps = Callable[[Transaction], Awaitable[Mapping[str, frozenset[CleanupStep]]]]
"""Returns the clean-up steps of phones whose groups set steps."""


class AssignmentBuilder:
    """Builds assignments from claims; it remembers the profiles that it has read."""

    def __init__(self, *, clean_up: CleanUpSteps) -> None:
        self._clean_up = clean_up
        self._profile_json = {NO_PROFILE.version: NO_PROFILE.json}  # by version
        self._unreadable: dict[str, str] = {}  # version -> why

    async def unreadable(self, tx: Transaction, versions: set[str]) -> Mapping[str, str]:
        """Return those versions whose profile cannot be read here, with why."""
        await self._learn(tx, versions)
        return {
            version: self._unreadable[version]
            for version in versions
            if version in self._unreadable
        }

    async def build(
        self,
        tx: Transaction,
        held: Sequence[tuple[Item, Lease]],
        serials: Mapping[str, str],
    ) -> list[Assignment]:
        """Return the assignments of these claims.

        A claim whose profile cannot be read (made by another release) is left out: nobody starts
        it, so it goes back to the queue, and its next claim ends it.
        """
        if not held:
            return []
        await self._learn(tx, {item.profile_version for item, _ in held})
        held = [each for each in held if each[0].profile_version in self._profile_json]
        plans = await items.plans(tx, [item.item_id for item, _ in held])
        clean_up = await self._clean_up(tx)
        return [
            Assignment(
                agent_id=lease.agent_id,
                run=RunRef(
                    run_id=lease.run_id,
                    item_id=item.item_id,
                    attempt=item.attempt,
                    lease_id=lease.lease_id,
                    epoch=lease.epoch,
                ),
                process_id=item.process_id,
                phone_id=lease.phone_id,
                serialno=serials[lease.phone_id],
                account_id=lease.account_id,
                capability=item.capability,
                plan=_plan_json(
                    item,
                    lease,
                    plans[item.item_id],
                    profile=self._profile_json[item.profile_version],
                    clean_up=clean_up.get(lease.phone_id),
                ),
                cap_seconds=item.cap_seconds,
            )
            for item, lease in held
        ]

    async def _learn(self, tx: Transaction, versions: set[str]) -> None:
        """Read the profiles that were not met before."""
        missing = versions - self._profile_json.keys() - self._unreadable.keys()
        if not missing:
            return
        contents = await app_profiles.profiles_by_version(tx, missing)
        for version, (name, toml) in contents.items():
            try:
                self._profile_json[version] = read_profile(name, toml).json
            except ProfileError as error:
                self._unreadable[version] = str(error)


def _plan_json(
    item: Item,
    lease: Lease,
    parts: items.PlanParts,
    *,
    profile: str,
    clean_up: frozenset[CleanupStep] | None,
) -> str:
    """Put the frozen parts together as text; parsing them for each claim would cost the most."""
    account = json.dumps(lease.account_id), json.dumps(item.app)
    more = "" if clean_up is None else f'"clean_up": {json.dumps(sorted(clean_up))}, '
    trace_id = trace_id_of(parts.traceparent)
    if trace_id is not None:
        more += f'"trace_id": {json.dumps(trace_id)}, '
    return (
        f'{{"capability": {json.dumps(item.capability)}, "profile": {profile}, '
        f'"account": {{"account_id": {account[0]}, "app": {account[1]}}}, '
        f'"snapshot": {parts.snapshot or "null"}, "skip": {list(item.once_done)}, '
        f"{more}{parts.plan[1:]}"
    )
