"""FleetService: phones, accounts, groups and agents for operators."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from phonefarm.v1 import fleet_pb2 as pb
from phonefarm.v1 import fleet_pb2_grpc
from phonefarm_common.reasons import FieldProblem

from phonefarm_controller.auth.enrollment import Membership
from phonefarm_controller.fleet.accounts import MOST_ACCOUNTS, AccountAdmin
from phonefarm_controller.fleet.groups import GroupAdmin
from phonefarm_controller.fleet.phone_details import Sheets
from phonefarm_controller.fleet.phones import PhoneAdmin, PhoneView
from phonefarm_controller.model.cleanup import Step
from phonefarm_controller.model.errors import invalid_field
from phonefarm_controller.model.pauses import Pause, PauseScope
from phonefarm_controller.model.scopes import Scope
from phonefarm_controller.model.states import Condition
from phonefarm_controller.model.times import micros
from phonefarm_controller.rpc.agent_convert import READINESS_TO_WIRE
from phonefarm_controller.rpc.auth import Keys
from phonefarm_controller.rpc.context import Context
from phonefarm_controller.rpc.errors import translated
from phonefarm_controller.rpc.fleet_convert import (
    LEASE_WORDS,
    entries_to_wire,
    needed_to_wire,
    sheet_to_wire,
    stamp,
    whys_to_wire,
)
from phonefarm_controller.rpc.phone_report_convert import TRANSPORT_TO_WIRE
from phonefarm_controller.rpc.wire import moment_of, timestamp
from phonefarm_controller.scheduler.pause_running import Halt
from phonefarm_controller.scheduler.pauses import Pausing
from phonefarm_controller.store.accounts import Account
from phonefarm_controller.store.agents import Agent
from phonefarm_controller.store.groups import Group

MOST_ENTRIES: Final = 1000
ENTRIES: Final = 100
"""Of the audit in one answer, and where no number is asked for."""
_CONDITIONS: Final = {"": Condition.OK} | {str(each): each for each in Condition}
_GROUP_KINDS: Final = {pb.GROUP_KIND_PHONE: "phone", pb.GROUP_KIND_ACCOUNT: "account"}
_PAUSE_SCOPES: Final = {
    pb.PAUSE_SCOPE_ALL: PauseScope.ALL,
    pb.PAUSE_SCOPE_APP: PauseScope.APP,
    pb.PAUSE_SCOPE_ACCOUNT: PauseScope.ACCOUNT,
    pb.PAUSE_SCOPE_CAPABILITY: PauseScope.CAPABILITY,
}
_SCOPES_TO_WIRE: Final = {word: scope for scope, word in _PAUSE_SCOPES.items()}
_KINDS_TO_WIRE: Final = {word: kind for kind, word in _GROUP_KINDS.items()}
_STEPS: Final = {
    pb.CLEAN_UP_STEP_STOP_APPS: Step.STOP_APPS,
    pb.CLEAN_UP_STEP_REMOVE_ADDED: Step.REMOVE_ADDED,
    pb.CLEAN_UP_STEP_HOME: Step.HOME,
}
_STEPS_TO_WIRE: Final = {step: word for word, step in _STEPS.items()}


class FleetEdge(fleet_pb2_grpc.FleetServiceServicer):
    """Serves operators."""

    def __init__(
        self,
        *,
        keys: Keys,
        phones: PhoneAdmin,
        accounts: AccountAdmin,
        groups: GroupAdmin,
        sheets: Sheets,
        membership: Membership,
        pausing: Pausing,
        halt: Halt,
    ) -> None:
        self._sheets = sheets
        self._pausing = pausing
        self._halt = halt
        self._keys = keys
        self._membership = membership
        self._phones = phones
        self._accounts = accounts
        self._groups = groups

    async def ListPhones(  # noqa: N802 - the wire's name
        self, request: pb.ListPhonesRequest, context: Context
    ) -> pb.ListPhonesResponse:
        """Return every phone on its axes."""
        async with translated(context):
            await self._keys.check_caller(context, Scope.READ)
            views = await self._phones.all()
        return pb.ListPhonesResponse(phones=[phone_to_wire(view) for view in views])

    async def ShowPhone(  # noqa: N802
        self, request: pb.ShowPhoneRequest, context: Context
    ) -> pb.PhoneSheet:
        """Return everything that is known of a phone."""
        async with translated(context):
            await self._keys.check_caller(context, Scope.READ)
            sheet = await self._sheets.phone(request.phone_id)
        return sheet_to_wire(sheet, phone_to_wire(sheet.view))

    async def ListNeedsHands(  # noqa: N802
        self, request: pb.ListNeedsHandsRequest, context: Context
    ) -> pb.ListNeedsHandsResponse:
        """Return what a person must do."""
        async with translated(context):
            await self._keys.check_caller(context, Scope.READ)
            needed = await self._sheets.needs_hands()
        return pb.ListNeedsHandsResponse(needed=needed_to_wire(needed))

    async def ListAudit(  # noqa: N802
        self, request: pb.ListAuditRequest, context: Context
    ) -> pb.ListAuditResponse:
        """Return who did what."""
        async with translated(context):
            await self._keys.check_caller(context, Scope.OPERATE)
            if not 0 <= request.limit <= MOST_ENTRIES:
                raise invalid_field("limit", f"must be 1 to {MOST_ENTRIES}, or 0 for {ENTRIES}")
            since = moment_of("since", request.since) if request.HasField("since") else None
            entries = await self._sheets.audit(
                subject=request.subject, since=since, limit=request.limit or ENTRIES
            )
        return pb.ListAuditResponse(entries=entries_to_wire(entries))

    async def AdmitPhone(  # noqa: N802
        self, request: pb.AdmitPhoneRequest, context: Context
    ) -> pb.Phone:
        """Take a new phone into service."""
        async with translated(context):
            caller = await self._keys.check_caller(context, Scope.OPERATE)
            view = await self._phones.admit(
                request.phone_id, actor=caller.name, reason=request.reason
            )
        return phone_to_wire(view)

    async def ReturnPhone(  # noqa: N802
        self, request: pb.ReturnPhoneRequest, context: Context
    ) -> pb.Phone:
        """End a quarantine."""
        async with translated(context):
            caller = await self._keys.check_caller(context, Scope.OPERATE)
            view = await self._phones.give_back(
                request.phone_id, actor=caller.name, reason=request.reason
            )
        return phone_to_wire(view)

    async def MaintainPhone(  # noqa: N802
        self, request: pb.MaintainPhoneRequest, context: Context
    ) -> pb.Phone:
        """Give a phone no more work."""
        async with translated(context):
            caller = await self._keys.check_caller(context, Scope.OPERATE)
            view = await self._phones.maintain(
                request.phone_id, actor=caller.name, reason=request.reason
            )
        return phone_to_wire(view)

    async def RetirePhone(  # noqa: N802
        self, request: pb.RetirePhoneRequest, context: Context
    ) -> pb.Phone:
        """Take a phone out of the farm."""
        async with translated(context):
            caller = await self._keys.check_caller(context, Scope.OPERATE)
            view = await self._phones.retire(
                request.phone_id, actor=caller.name, reason=request.reason
            )
        return phone_to_wire(view)

    async def ClearAccount(  # noqa: N802
        self, request: pb.ClearAccountRequest, context: Context
    ) -> pb.Account:
        """End an account's needs_attention."""
        async with translated(context):
            caller = await self._keys.check_caller(context, Scope.OPERATE)
            account = await self._accounts.clear(
                request.account_id, actor=caller.name, reason=request.reason
            )
        return _account(account)

    async def PutAccount(  # noqa: N802
        self, request: pb.PutAccountRequest, context: Context
    ) -> pb.Account:
        """Create or replace an account."""
        async with translated(context):
            caller = await self._keys.check_caller(context, Scope.OPERATE)
            given, problems = _asked({"account": request.account})
            (kept,) = await self._accounts.put(given, actor=caller.name, problems=problems)
        return _account(kept)

    async def PutAccounts(  # noqa: N802
        self, request: pb.PutAccountsRequest, context: Context
    ) -> pb.PutAccountsResponse:
        """Create or replace many accounts, all or none."""
        async with translated(context):
            caller = await self._keys.check_caller(context, Scope.OPERATE)
            if len(request.accounts) > MOST_ACCOUNTS:  # before each of them is looked at
                raise invalid_field("accounts", f"must be 1 to {MOST_ACCOUNTS} accounts")
            given, problems = _asked({f"accounts[{n}]": a for n, a in enumerate(request.accounts)})
            kept = await self._accounts.put(given, actor=caller.name, problems=problems)
        return pb.PutAccountsResponse(accounts=[_account(account) for account in kept])

    async def ListAccounts(  # noqa: N802
        self, request: pb.ListAccountsRequest, context: Context
    ) -> pb.ListAccountsResponse:
        """Return every account."""
        async with translated(context):
            await self._keys.check_caller(context, Scope.READ)
            known = await self._accounts.all()
        return pb.ListAccountsResponse(accounts=[_account(account) for account in known])

    async def PutGroup(  # noqa: N802
        self, request: pb.PutGroupRequest, context: Context
    ) -> pb.Group:
        """Replace the members of a group."""
        async with translated(context):
            caller = await self._keys.check_caller(context, Scope.OPERATE)
            group = request.group
            kind = _GROUP_KINDS.get(group.kind)
            if kind is None:
                raise invalid_field("group.kind", "must be phone or account")
            members = await self._groups.put(
                kind, group.name, list(group.member_ids), actor=caller.name, reason=request.reason
            )
        return pb.Group(kind=group.kind, name=group.name, member_ids=members)

    async def SetCleanUp(  # noqa: N802
        self, request: pb.SetCleanUpRequest, context: Context
    ) -> pb.Group:
        """Set the clean-up of a group's phones."""
        async with translated(context):
            caller = await self._keys.check_caller(context, Scope.OPERATE)
            steps = _steps(request.clean_up) if request.HasField("clean_up") else None
            group = await self._groups.set_clean_up(
                request.name, steps, actor=caller.name, reason=request.reason
            )
        return _group_to_wire(group)

    async def ListGroups(  # noqa: N802
        self, request: pb.ListGroupsRequest, context: Context
    ) -> pb.ListGroupsResponse:
        """Return every group."""
        async with translated(context):
            await self._keys.check_caller(context, Scope.READ)
            known = await self._groups.all()
        return pb.ListGroupsResponse(groups=[_group_to_wire(group) for group in known])

    async def ListAgents(  # noqa: N802
        self, request: pb.ListAgentsRequest, context: Context
    ) -> pb.ListAgentsResponse:
        """Return every agent."""
        async with translated(context):
            await self._keys.check_caller(context, Scope.READ)
            known = await self._phones.agents()
            until = await self._membership.agents_until()
        return pb.ListAgentsResponse(
            agents=[
                agent_to_wire(agent, phones=count, until=until.get(agent.agent_id))
                for agent, count in known
            ]
        )

    async def Pause(  # noqa: N802
        self, request: pb.PauseRequest, context: Context
    ) -> pb.PauseState:
        """Let nothing in the scope begin."""
        async with translated(context):
            caller = await self._keys.check_caller(context, Scope.OPERATE)
            pause = await self._pausing.pause(
                _scope(request.scope), request.name, actor=caller.name, reason=request.reason
            )
            stopped = 0
            if request.stop:
                stopped = await self._halt(
                    pause.scope, pause.name, actor=caller.name, reason=pause.reason
                )
        return _pause(pause, stopped=stopped)

    async def Resume(  # noqa: N802
        self, request: pb.ResumeRequest, context: Context
    ) -> pb.ResumeResponse:
        """End a pause."""
        async with translated(context):
            caller = await self._keys.check_caller(context, Scope.OPERATE)
            resumed = await self._pausing.resume(
                _scope(request.scope), request.name, actor=caller.name, reason=request.reason
            )
        return pb.ResumeResponse(resumed=resumed)

    async def ListPauses(  # noqa: N802
        self, request: pb.ListPausesRequest, context: Context
    ) -> pb.ListPausesResponse:
        """Return every pause."""
        async with translated(context):
            await self._keys.check_caller(context, Scope.READ)
            known = await self._pausing.all()
        return pb.ListPausesResponse(pauses=[_pause(pause) for pause in known])


def _scope(scope: pb.PauseScope.ValueType) -> PauseScope:
    known = _PAUSE_SCOPES.get(scope)
    if known is None:
        raise invalid_field("scope", f"must be one of {', '.join(PauseScope)}")
    return known


def _pause(pause: Pause, *, stopped: int = 0) -> pb.PauseState:
    return pb.PauseState(
        scope=_SCOPES_TO_WIRE[pause.scope],
        name=pause.name,
        since=timestamp(micros(pause.since) or 0),
        by=pause.by,
        reason=pause.reason,
        stopped=stopped,
    )


def _asked(
    accounts: Mapping[str, pb.Account],
) -> tuple[dict[str, Account], list[FieldProblem]]:
    """Return the accounts by what their caller calls them, and what no account can hold."""
    problems = [
        FieldProblem(field=f"{where}.condition", message="must be ok or needs_attention")
        for where, account in accounts.items()
        if account.condition not in _CONDITIONS
    ]
    asked = {
        where: Account(
            account_id=account.account_id,
            phone_id=account.phone_id or None,
            app=account.app,
            active=account.active,
            condition=_CONDITIONS.get(account.condition, Condition.OK),
            condition_reason=account.condition_reason[:500],
        )
        for where, account in accounts.items()
    }
    return asked, problems


def agent_to_wire(agent: Agent, *, phones: int = 0, until: datetime | None = None) -> pb.Agent:
    """Return the agent; *until* is the end of its last certificate."""
    return pb.Agent(
        agent_id=agent.agent_id,
        version=agent.version,
        connected=agent.connected,
        last_heartbeat_at=timestamp(micros(agent.heard_at) or 0),
        phones=phones,
        runtime=agent.runtime,
        certificate_expires_at=None if until is None else timestamp(micros(until) or 0),
        drain_since=None
        if agent.drain_since is None
        else timestamp(micros(agent.drain_since) or 0),
        drain_by=agent.drain_by,
        drain_reason=agent.drain_reason,
    )


def phone_to_wire(view: PhoneView) -> pb.Phone:
    """Return the phone on its axes, and what holds it."""
    phone, lease = view.phone, view.lease
    return pb.Phone(
        phone_id=phone.phone_id,
        serialno=phone.serialno,
        agent_id=phone.agent_id,
        transport=TRANSPORT_TO_WIRE[phone.transport],
        readiness=READINESS_TO_WIRE[phone.readiness],
        readiness_reason=phone.readiness_reason,
        health=phone.health,
        health_reason=phone.health_reason,
        lease=LEASE_WORDS[lease.state] if lease else "free",
        epoch=phone.epoch,
        intent=phone.intent,
        model=phone.model,
        android_release=phone.android_release,
        offered=view.offered,
        run_id=lease.run_id if lease else "",
        process_id=lease.process_id if lease else "",
        agent_drain=view.agent_drain,
        lease_epoch=lease.epoch if lease else 0,
        adb_serial=phone.adb_serial,
        health_until=stamp(phone.health_until),
        cooling_until=stamp(phone.cooling_until),
        needs_hands=view.look.look.needs_hands if view.look else "",
        needs_hands_since=stamp(view.look.needs_hands_since) if view.look else None,
        reasons=whys_to_wire(view.whys),
        warnings=view.warnings,
    )


def _account(account: Account) -> pb.Account:
    return pb.Account(
        account_id=account.account_id,
        phone_id=account.phone_id or "",
        app=account.app,
        active=account.active,
        condition=account.condition,
        condition_reason=account.condition_reason,
    )


def _steps(wanted: pb.CleanUp) -> frozenset[Step]:
    unknown = [word for word in wanted.steps if word not in _STEPS]
    if unknown:
        raise invalid_field("clean_up.steps", f"{unknown[0]} is no step this controller knows")
    return frozenset(_STEPS[word] for word in wanted.steps)


def _group_to_wire(group: Group) -> pb.Group:
    wire = pb.Group(kind=_KINDS_TO_WIRE[group.kind], name=group.name, member_ids=group.members)
    if group.clean_up is not None:
        wire.clean_up.CopyFrom(
            pb.CleanUp(steps=[_STEPS_TO_WIRE[step] for step in sorted(group.clean_up)])
        )
    return wire
