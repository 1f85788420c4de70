"""Runs on a phone that verify a capability, or check an app profile."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from phonefarm_common.ids import new_id

from phonefarm_controller.alarms import DiskAlarm
from phonefarm_controller.capabilities.catalog import Capability, known_capability, planned_inputs
from phonefarm_controller.capabilities.planners import profile_check
from phonefarm_controller.concurrency.uninterrupted import uninterrupted
from phonefarm_controller.concurrency.wakeups import WakeUps
from phonefarm_controller.model.app_profiles import Profile, ProfileError, profile_of, read_profile
from phonefarm_controller.model.errors import conflict, invalid_field, unknown_process
from phonefarm_controller.model.items import Item
from phonefarm_controller.model.plans import Plan, with_evidence
from phonefarm_controller.model.requests import Routing, Target, TargetFacts
from phonefarm_controller.model.retry_policy import RetryPolicy
from phonefarm_controller.model.states import ProcessState
from phonefarm_controller.model.transitions import by_operator
from phonefarm_controller.processes.creation import (
    ProcessSpec,
    insert_processes,
    new_process,
    read_facts,
)
from phonefarm_controller.processes.targets import Slot, resolve
from phonefarm_controller.store import (
    app_profiles,
    audit,
    evidence,
    items,
    processes,
    runs,
    verifications,
)
from phonefarm_controller.store.database import Database, Transaction
from phonefarm_controller.store.verifications import Verification

SYSTEM: Final = "verification"
"""The `requested_by.system` of verification runs."""

EVIDENCE: Final = "verified"
"""The names of a verification's last files begin with this."""
_NEEDED: Final = {("screenshot", f"{EVIDENCE}.png"), ("ui_dump", f"{EVIDENCE}.xml")}

REAL_RUNTIMES: Final = frozenset({"docker", "process"})
"""The runtimes that drive a phone. The dummy drives none, and an older agent reports none."""


@dataclass(frozen=True, kw_only=True)
class VerificationRequest:
    """Who requests which run on which phone; without an account, the only active account."""

    phone_id: str
    account_id: str | None
    requested_by: str
    caller: str = ""  # the name of the key it came with
    traceparent: str | None = None  # the span in which it came

    @property
    def target(self) -> Target:
        """Return the phone, and the account when it is named."""
        return Target(routing=Routing.DIRECT, phone_id=self.phone_id, account_id=self.account_id)


class VerificationRuns:
    """Enqueues verification runs, and records them when they have completed."""

    def __init__(
        self,
        *,
        database: Database,
        profiles: Mapping[str, Profile],
        policy: RetryPolicy,
        wakeups: WakeUps,
        disk_alarm: DiskAlarm,
        dummy_allowed: bool,
        ids: Callable[[], str] = new_id,
    ) -> None:
        self._database = database
        self._profiles = profiles
        self._policy = policy
        self._wakeups = wakeups
        self._disk_alarm = disk_alarm
        self._dummy_allowed = dummy_allowed
        self._ids = ids

    @uninterrupted
    async def verify(
        self, name: str, request: VerificationRequest, inputs: Mapping[str, Any] | None
    ) -> str:
        """Commit a run of the capability that leaves evidence; return its process.

        Without *inputs* it does little. FarmError for what enqueue refuses, and for a capability
        that can never run unattended or has nothing small to do.
        """
        capability = known_capability(name)
        planned = planned_inputs(
            capability, _small(capability, inputs), dummy_allowed=self._dummy_allowed
        )
        async with self._database.writing(actor=by_operator(request.caller)) as tx:
            facts = await read_facts(tx, [request.target])
            (slot,) = resolve(request.target, app=planned.app, facts=facts)
            version = profile_of(self._profiles, slot.app).version
            plan = with_evidence(planned.plan, EVIDENCE)
            given = dict(inputs if inputs is not None else capability.small or {})
            process_id = await self._accept(
                tx, request, plan, (slot, version), process_type=name, inputs=given
            )
        self._wakeups.work_made()
        return process_id

    @uninterrupted
    async def check_profile(self, name: str, toml: str, request: VerificationRequest) -> str:
        """Commit a run that looks for everything the profile names; return its process.

        The profile is kept under its version and frozen on the item; it is not put to use.
        """
        try:
            profile = read_profile(name, toml)
        except ProfileError as error:
            raise invalid_field("profile_toml", str(error)) from error
        async with self._database.writing(actor=by_operator(request.caller)) as tx:
            facts = await read_facts(tx, [request.target])
            slot = _place(request, name, facts)
            await app_profiles.keep_profile(tx, version=profile.version, name=name, content=toml)
            process_id = await self._accept(
                tx,
                request,
                profile_check.plan(profile.screens),
                (slot, profile.version),
                process_type=profile_check.CAPABILITY,
                inputs={"profile": name, "profile_version": profile.version},
            )
        self._wakeups.work_made()
        return process_id

    @uninterrupted
    async def record(self, process_id: str, *, actor: str) -> tuple[Verification, str]:
        """Record that the process proved its capability; repeating it changes nothing.

        Returns it with the app profile's name. FarmError `unknown_process`, or
        `state_conflict:<why>`: not_a_verification, the state it is
        in, not_a_real_run, no_evidence.
        """
        async with self._database.writing() as tx:
            process = (await processes.lock(tx, {process_id})).get(process_id)
            if process is None:
                raise unknown_process(process_id)
            if not await processes.is_verification(tx, process_id):
                raise conflict(
                    "process_id", "not_a_verification", "the process is not a verification"
                )
            if process.state is not ProcessState.DONE:
                raise conflict(
                    "process_id", str(process.state), f"the verification is {process.status}"
                )
            (item,) = (await items.lock_of_processes(tx, {process_id})).values()
            await self._check_proof(tx, item)
            known = await verifications.of_versions(tx, {item.profile_version})
            for recorded in known:
                if (recorded.capability, recorded.process_id) == (item.capability, process_id):
                    return recorded, item.app
            verification = Verification(
                capability=item.capability,
                profile_version=item.profile_version,
                run_id=item.run_id or "",
                process_id=process_id,
                phone_id=item.phone_id or "",
                verified_by=process.user or actor,
                verified_at=tx.now,
            )
            await verifications.put(tx, verification)
            await audit.note(
                tx,
                audit_id=new_id(),
                actor=actor,
                verb="verify",
                subject=item.capability,
                reason=f"profile {item.profile_version}, run {item.run_id}",
            )
        return verification, item.app

    async def _check_proof(self, tx: Transaction, item: Item) -> None:
        run_id = item.run_id or ""
        runtime = await runs.runtime_of(tx, run_id)
        if runtime not in REAL_RUNTIMES:
            told = (
                f"the {runtime} runtime" if runtime else "an agent that does not report its runtime"
            )
            raise conflict(
                "process_id",
                "not_a_real_run",
                f"it ran on {told}, which does not verify a capability",
            )
        kept = {
            (each.kind, each.name)
            for each in await evidence.evidence_of(tx, item.process_id)
            if each.run_id == run_id and each.bytes and each.removed_at is None
        }
        missing = sorted(name for _, name in _NEEDED - kept)
        if missing:
            message = f"its evidence has not arrived (yet): {', '.join(missing)}"
            raise conflict("process_id", "no_evidence", message)

    async def _accept(
        self,
        tx: Transaction,
        request: VerificationRequest,
        plan: Plan,
        place: tuple[Slot, str],
        *,
        process_type: str,
        inputs: Mapping[str, Any],
    ) -> str:
        self._disk_alarm.check()
        spec = ProcessSpec(
            process_type=process_type,
            request_id=None,
            system=SYSTEM,
            user=request.requested_by,
            target_json=json.dumps({"routing": "direct", "phone_id": request.phone_id}),
            inputs_json=json.dumps(inputs),
            verification=process_type != profile_check.CAPABILITY,
            ready_at=tx.now,
            traceparent=request.traceparent,
        )
        new = new_process(
            spec, plan, [place], now=tx.now, max_wait=self._policy.max_wait, ids=self._ids
        )
        await insert_processes(tx, [new])
        return new.process.process_id


def _small(capability: Capability, inputs: Mapping[str, Any] | None) -> Mapping[str, Any]:
    if not capability.needs_app:
        message = f"is {capability.name}, which uses no app profile and needs no verification"
        raise invalid_field("capability", message)
    if not capability.can_be_verified:
        message = f"is {capability.name}, which never runs unattended and cannot be verified"
        raise invalid_field("capability", message)
    if inputs is not None:
        return inputs
    if capability.small is None:
        message = f"is required, because {capability.name} always changes something"
        raise invalid_field("inputs", message)
    return capability.small


def _place(request: VerificationRequest, name: str, facts: TargetFacts) -> Slot:
    """Return the phone with its account: of the profile's app when there is one."""
    of_app: Sequence[object] = facts.accounts_on(request.phone_id, name)
    app = name if of_app and request.account_id is None else None
    (slot,) = resolve(request.target, app=app, facts=facts)
    return slot
