"""FleetService: phones, accounts, groups and agents for operators."""

import time
from typing import Final

from phonefarm.v1 import fleet_pb2 as pb
from phonefarm.v1 import fleet_pb2_grpc

from phonefarm_controller.auth.enrollment import Enrollment
from phonefarm_controller.callbacks.gateway_calls import GatewayCalls
from phonefarm_controller.fleet.accounts import MOST_ACCOUNTS, AccountAdmin
from phonefarm_controller.fleet.farm_watch import FarmWatch
from phonefarm_controller.fleet.groups import GroupAdmin
from phonefarm_controller.fleet.phone_details import PhoneQuery
from phonefarm_controller.fleet.phones import PhoneAdmin
from phonefarm_controller.model.errors import invalid_field
from phonefarm_controller.model.scopes import Scope
from phonefarm_controller.rpc.auth import Authenticator, caller
from phonefarm_controller.rpc.errors import Context
from phonefarm_controller.rpc.farm_watch_convert import events_to_wire, place_of
from phonefarm_controller.rpc.fleet_convert import (
    GROUP_KINDS,
    account_to_wire,
    accounts_of,
    agent_to_wire,
    cleanup_steps_of,
    entries_to_wire,
    gateways_to_wire,
    group_to_wire,
    incident_to_wire,
    needed_to_wire,
    pause_scope_of,
    pause_to_wire,
    phone_details_to_wire,
    phone_to_wire,
)
from phonefarm_controller.rpc.limit_convert import limit_kind_of, limit_scope_of, limit_to_wire
from phonefarm_controller.rpc.pagination import audit_cursor_of, audit_place_of
from phonefarm_controller.rpc.window_convert import window_scope_of, window_to_wire
from phonefarm_controller.rpc.wire import moment_of
from phonefarm_controller.scheduler.limits import Limits
from phonefarm_controller.scheduler.pauses import Pauses
from phonefarm_controller.scheduler.windows import Windows

MOST_ENTRIES: Final = 1000
ENTRIES: Final = 100
"""The audit entries in one answer, if the caller gives no number."""
KEY_SECONDS: Final = 5.0
"""When a key is not valid any longer, its stream ends within this time."""


class FleetService(fleet_pb2_grpc.FleetServiceServicer):
    """Serves operators."""

    def __init__(
        self,
        *,
        auth: Authenticator,
        phones: PhoneAdmin,
        accounts: AccountAdmin,
        groups: GroupAdmin,
        phone_query: PhoneQuery,
        enrollment: Enrollment,
        pauses: Pauses,
        windows: Windows,
        limits: Limits,
        farm_watch: FarmWatch,
        gateway_calls: GatewayCalls,
    ) -> None:
        self._gateway_calls = gateway_calls
        self._auth = auth
        self._farm_watch = farm_watch
        self._phone_query = phone_query
        self._pauses = pauses
        self._windows = windows
        self._limits = limits
        self._enrollment = enrollment
        self._phones = phones
        self._accounts = accounts
        self._groups = groups

    async def ListPhones(  # noqa: N802 - the wire's name
        self, request: pb.ListPhonesRequest, context: Context
    ) -> pb.ListPhonesResponse:
        """Return every phone on its axes."""
        views = await self._phones.all()
        return pb.ListPhonesResponse(phones=[phone_to_wire(view) for view in views])

    async def ShowPhone(  # noqa: N802
        self, request: pb.ShowPhoneRequest, context: Context
    ) -> pb.PhoneDetails:
        """Return everything that is known of a phone."""
        details = await self._phone_query.phone(request.phone_id)
        return phone_details_to_wire(details)

    async def ListNeedsHands(  # noqa: N802
        self, request: pb.ListNeedsHandsRequest, context: Context
    ) -> pb.ListNeedsHandsResponse:
        """Return what a person must do."""
        needed = await self._phone_query.needs_hands()
        return pb.ListNeedsHandsResponse(needed=needed_to_wire(needed))

    async def ListIncidents(  # noqa: N802
        self, request: pb.ListIncidentsRequest, context: Context
    ) -> pb.ListIncidentsResponse:
        """Return the incidents that last, and those of the last hour."""
        found = await self._phone_query.incidents()
        return pb.ListIncidentsResponse(
            incidents=[
                incident_to_wire(agent_id, incident)
                for agent_id, incidents in found.items()
                for incident in incidents
            ]
        )

    # The stubs only know generators; a coroutine gets its cancellation in the call's own task.
    async def WatchFarm(  # type: ignore[override] # noqa: N802
        self, request: pb.WatchFarmRequest, context: Context
    ) -> None:
        """Send what changes, while the key counts."""
        with self._farm_watch.watch(place_of(request.after)) as watcher:
            while True:
                end = time.monotonic() + KEY_SECONDS
                while found := await watcher.next(within=end - time.monotonic()):
                    for event in events_to_wire(found):
                        await context.write(event)
                await self._auth.check_caller(context, Scope.READ)

    async def ListAudit(  # noqa: N802
        self, request: pb.ListAuditRequest, context: Context
    ) -> pb.ListAuditResponse:
        """Return who did what."""
        if not 0 <= request.limit <= MOST_ENTRIES:
            raise invalid_field("limit", f"must be 1 to {MOST_ENTRIES}, or 0 for {ENTRIES}")
        since = moment_of("since", request.since) if request.HasField("since") else None
        entries, more = await self._phone_query.audit(
            subject=request.subject,
            since=since,
            limit=request.limit or ENTRIES,
            after=audit_place_of(request.cursor),
        )
        return pb.ListAuditResponse(
            entries=entries_to_wire(entries), next_cursor=audit_cursor_of(entries, more=more)
        )

    async def AdmitPhone(  # noqa: N802
        self, request: pb.AdmitPhoneRequest, context: Context
    ) -> pb.Phone:
        """Take a new phone into service."""
        view = await self._phones.admit(
            request.phone_id, actor=caller().name, reason=request.reason
        )
        return phone_to_wire(view)

    async def ReturnPhone(  # noqa: N802
        self, request: pb.ReturnPhoneRequest, context: Context
    ) -> pb.Phone:
        """End a quarantine."""
        view = await self._phones.give_back(
            request.phone_id, actor=caller().name, reason=request.reason
        )
        return phone_to_wire(view)

    async def MaintainPhone(  # noqa: N802
        self, request: pb.MaintainPhoneRequest, context: Context
    ) -> pb.Phone:
        """Give a phone no more work."""
        view = await self._phones.maintain(
            request.phone_id, actor=caller().name, reason=request.reason
        )
        return phone_to_wire(view)

    async def RetirePhone(  # noqa: N802
        self, request: pb.RetirePhoneRequest, context: Context
    ) -> pb.Phone:
        """Take a phone out of the farm."""
        view = await self._phones.retire(
            request.phone_id, actor=caller().name, reason=request.reason
        )
        return phone_to_wire(view)

    async def ClearAccount(  # noqa: N802
        self, request: pb.ClearAccountRequest, context: Context
    ) -> pb.Account:
        """End an account's needs_attention."""
        account = await self._accounts.clear(
            request.account_id, actor=caller().name, reason=request.reason
        )
        return account_to_wire(account)

    async def PutAccount(  # noqa: N802
        self, request: pb.PutAccountRequest, context: Context
    ) -> pb.Account:
        """Create or replace an account."""
        given, problems = accounts_of({"account": request.account})
        (kept,) = await self._accounts.put(given, actor=caller().name, problems=problems)
        return account_to_wire(kept)

    async def PutAccounts(  # noqa: N802
        self, request: pb.PutAccountsRequest, context: Context
    ) -> pb.PutAccountsResponse:
        """Create or replace many accounts, all or none."""
        if len(request.accounts) > MOST_ACCOUNTS:  # before each of them is looked at
            raise invalid_field("accounts", f"must contain 1 to {MOST_ACCOUNTS} accounts")
        given, problems = accounts_of({f"accounts[{n}]": a for n, a in enumerate(request.accounts)})
        kept = await self._accounts.put(given, actor=caller().name, problems=problems)
        return pb.PutAccountsResponse(accounts=[account_to_wire(account) for account in kept])

    async def DeleteAccount(  # noqa: N802
        self, request: pb.DeleteAccountRequest, context: Context
    ) -> pb.Account:
        """Remove an account without work."""
        account = await self._accounts.delete(
            request.account_id, actor=caller().name, reason=request.reason
        )
        return account_to_wire(account)

    async def ListAccounts(  # noqa: N802
        self, request: pb.ListAccountsRequest, context: Context
    ) -> pb.ListAccountsResponse:
        """Return every account."""
        known = await self._accounts.all()
        return pb.ListAccountsResponse(accounts=[account_to_wire(account) for account in known])

    async def PutGroup(  # noqa: N802
        self, request: pb.PutGroupRequest, context: Context
    ) -> pb.Group:
        """Replace the members of a group."""
        group = request.group
        kind = GROUP_KINDS.get(group.kind)
        if kind is None:
            raise invalid_field("group.kind", "must be phone or account")
        members = await self._groups.put(
            kind, group.name, list(group.member_ids), actor=caller().name, reason=request.reason
        )
        return pb.Group(kind=group.kind, name=group.name, member_ids=members)

    async def ChangeGroup(  # noqa: N802
        self, request: pb.ChangeGroupRequest, context: Context
    ) -> pb.Group:
        """Add members to a group, or remove some."""
        kind = GROUP_KINDS.get(request.kind)
        if kind is None:
            raise invalid_field("kind", "must be phone or account")
        group = await self._groups.change(
            kind,
            request.name,
            add=list(request.add_ids),
            remove=list(request.remove_ids),
            actor=caller().name,
            reason=request.reason,
        )
        return group_to_wire(group)

    async def SetCleanUp(  # noqa: N802
        self, request: pb.SetCleanUpRequest, context: Context
    ) -> pb.Group:
        """Set the clean-up of a group's phones."""
        steps = cleanup_steps_of(request.clean_up) if request.HasField("clean_up") else None
        group = await self._groups.set_clean_up(
            request.name, steps, actor=caller().name, reason=request.reason
        )
        return group_to_wire(group)

    async def ListGroups(  # noqa: N802
        self, request: pb.ListGroupsRequest, context: Context
    ) -> pb.ListGroupsResponse:
        """Return every group."""
        known = await self._groups.all()
        return pb.ListGroupsResponse(groups=[group_to_wire(group) for group in known])

    async def ListAgents(  # noqa: N802
        self, request: pb.ListAgentsRequest, context: Context
    ) -> pb.ListAgentsResponse:
        """Return every agent."""
        known = await self._phones.agents()
        until = await self._enrollment.certificate_ends(role="agent")
        return pb.ListAgentsResponse(
            agents=[
                agent_to_wire(agent, phones=count, until=until.get(agent.agent_id))
                for agent, count in known
            ]
        )

    async def ListGateways(  # noqa: N802
        self, request: pb.ListGatewaysRequest, context: Context
    ) -> pb.ListGatewaysResponse:
        """Return every gateway that joined, calls or is refused."""
        until = await self._enrollment.certificate_ends(role="gateway")
        calling, refused = self._gateway_calls.calling(), self._gateway_calls.refused()
        return pb.ListGatewaysResponse(gateways=gateways_to_wire(calling, refused, until))

    async def Pause(  # noqa: N802
        self, request: pb.PauseRequest, context: Context
    ) -> pb.PauseState:
        """Let nothing in the scope begin."""
        pause = await self._pauses.pause(
            pause_scope_of(request.scope),
            request.name,
            actor=caller().name,
            reason=request.reason,
        )
        stopped = 0
        if request.stop:
            stopped = await self._pauses.stop_running(
                pause.scope, pause.name, actor=caller().name, reason=pause.reason
            )
        waiting = await self._pauses.waiting(pause.scope, pause.name)
        return pause_to_wire(pause, stopped=stopped, waiting=waiting)

    async def Resume(  # noqa: N802
        self, request: pb.ResumeRequest, context: Context
    ) -> pb.ResumeResponse:
        """End a pause."""
        resumed = await self._pauses.resume(
            pause_scope_of(request.scope),
            request.name,
            actor=caller().name,
            reason=request.reason,
        )
        return pb.ResumeResponse(resumed=resumed)

    async def ListPauses(  # noqa: N802
        self, request: pb.ListPausesRequest, context: Context
    ) -> pb.ListPausesResponse:
        """Return every pause."""
        known = await self._pauses.all()
        return pb.ListPausesResponse(pauses=[pause_to_wire(pause) for pause in known])

    async def PutWindow(  # noqa: N802
        self, request: pb.PutWindowRequest, context: Context
    ) -> pb.Window:
        """Let work of the scope begin in weekly hours only."""
        window = await self._windows.put(
            window_scope_of(request.scope),
            request.name,
            zone=request.zone,
            spans=list(request.hours),
            may_overrun=request.may_overrun,
            actor=caller().name,
            reason=request.reason,
        )
        return window_to_wire(window)

    async def RemoveWindow(  # noqa: N802
        self, request: pb.RemoveWindowRequest, context: Context
    ) -> pb.RemoveWindowResponse:
        """Remove a window."""
        removed = await self._windows.remove(
            window_scope_of(request.scope),
            request.name,
            actor=caller().name,
            reason=request.reason,
        )
        return pb.RemoveWindowResponse(removed=removed)

    async def ListWindows(  # noqa: N802
        self, request: pb.ListWindowsRequest, context: Context
    ) -> pb.ListWindowsResponse:
        """Return every window."""
        known = await self._windows.all()
        return pb.ListWindowsResponse(windows=[window_to_wire(window) for window in known])

    async def PutLimit(  # noqa: N802
        self, request: pb.PutLimitRequest, context: Context
    ) -> pb.Limit:
        """Limit the runs of the scope."""
        limit = await self._limits.put(
            limit_kind_of(request.kind),
            limit_scope_of(request.scope),
            request.name,
            value=request.value,
            zone=request.zone,
            actor=caller().name,
            reason=request.reason,
        )
        return limit_to_wire(limit)

    async def RemoveLimit(  # noqa: N802
        self, request: pb.RemoveLimitRequest, context: Context
    ) -> pb.RemoveLimitResponse:
        """Remove a limit."""
        removed = await self._limits.remove(
            limit_kind_of(request.kind),
            limit_scope_of(request.scope),
            request.name,
            actor=caller().name,
            reason=request.reason,
        )
        return pb.RemoveLimitResponse(removed=removed)

    async def ListLimits(  # noqa: N802
        self, request: pb.ListLimitsRequest, context: Context
    ) -> pb.ListLimitsResponse:
        """Return every limit."""
        known = await self._limits.all()
        return pb.ListLimitsResponse(limits=[limit_to_wire(limit) for limit in known])
