"""FleetService: phones, accounts, groups, agents, pauses, windows, limits, audit, stream."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import grpc.aio
from phonefarm.schemas import farm, farm_requests, operation, requests
from phonefarm.schemas.fields import ResponseModel
from phonefarm.schemas.limits import Limit, LimitList, LimitRemoved
from phonefarm.schemas.queries import AuditFilter
from phonefarm.schemas.windows import Window, WindowList, WindowRemoved
from phonefarm.v1 import fleet_pb2 as pb
from phonefarm.v1 import fleet_pb2_grpc

from phonefarm_gateway.client import farm_convert, limit_convert
from phonefarm_gateway.client.calls import RpcCaller
from phonefarm_gateway.client.convert import timestamp

LONG_CALL_SECONDS: Final = 60.0
"""The limit for calls that write a thousand rows or stop many runs."""


@dataclass(frozen=True, kw_only=True)
class FarmEvent:
    """A change of the farm; without *data* it only moves the cursor, which may be empty."""

    cursor: str
    name: str = ""
    data: ResponseModel | None = None


class FleetClient:
    """Reads and changes the fleet."""

    def __init__(self, channel: grpc.aio.Channel, rpc: RpcCaller) -> None:
        self._stub = fleet_pb2_grpc.FleetServiceStub(channel)
        self._rpc = rpc

    async def phones(self, key: str | None) -> farm.PhoneList:
        """Return every phone."""
        answer = await self._rpc.call(self._stub.ListPhones, pb.ListPhonesRequest(), key=key)
        return farm_convert.phone_list(answer)

    async def phone(self, key: str | None, phone_id: str) -> farm.PhoneDetails:
        """Return everything that is known of a phone."""
        request = pb.ShowPhoneRequest(phone_id=phone_id)
        answer = await self._rpc.call(self._stub.ShowPhone, request, key=key)
        return farm_convert.phone_details(answer)

    async def admit(self, key: str | None, phone_id: str, reason: str) -> farm.Phone:
        """Take a phone into service."""
        request = pb.AdmitPhoneRequest(phone_id=phone_id, reason=reason)
        return farm_convert.phone(await self._rpc.call(self._stub.AdmitPhone, request, key=key))

    async def return_phone(self, key: str | None, phone_id: str, reason: str) -> farm.Phone:
        """End a quarantine or a dirty state."""
        request = pb.ReturnPhoneRequest(phone_id=phone_id, reason=reason)
        return farm_convert.phone(await self._rpc.call(self._stub.ReturnPhone, request, key=key))

    async def maintain(self, key: str | None, phone_id: str, reason: str) -> farm.Phone:
        """Give a phone no more work until it is admitted."""
        request = pb.MaintainPhoneRequest(phone_id=phone_id, reason=reason)
        return farm_convert.phone(await self._rpc.call(self._stub.MaintainPhone, request, key=key))

    async def retire(self, key: str | None, phone_id: str, reason: str) -> farm.Phone:
        """Take a phone out of the farm."""
        request = pb.RetirePhoneRequest(phone_id=phone_id, reason=reason)
        return farm_convert.phone(await self._rpc.call(self._stub.RetirePhone, request, key=key))

    async def needs_hands(self, key: str | None) -> farm.HandsNeededList:
        """Return what a person must do."""
        request = pb.ListNeedsHandsRequest()
        answer = await self._rpc.call(self._stub.ListNeedsHands, request, key=key)
        needed = tuple(farm_convert.hands_needed(one) for one in answer.needed)
        return farm.HandsNeededList(needed=needed)

    async def incidents(self, key: str | None) -> farm.IncidentList:
        """Return the incidents that last, and those of the last hour."""
        answer = await self._rpc.call(self._stub.ListIncidents, pb.ListIncidentsRequest(), key=key)
        incidents = tuple(farm_convert.incident(one) for one in answer.incidents)
        return farm.IncidentList(incidents=incidents)

    async def audit(self, key: str | None, wanted: AuditFilter) -> farm.AuditList:
        """Return a page of the audit."""
        request = pb.ListAuditRequest(
            subject=wanted.subject or "",
            since=timestamp(wanted.since),
            limit=wanted.limit,
            cursor=wanted.cursor or "",
        )
        answer = await self._rpc.call(self._stub.ListAudit, request, key=key)
        return farm.AuditList(
            entries=tuple(farm_convert.audit_entry(one) for one in answer.entries),
            next_cursor=answer.next_cursor or None,
        )

    @asynccontextmanager
    async def watch(
        self, key: str | None, *, after: str
    ) -> AsyncIterator[AsyncIterator[FarmEvent]]:
        """Yield what changes behind the cursor *after*, for ever; from now on for an empty one."""
        request = pb.WatchFarmRequest(after=after)
        async with self._rpc.stream(self._stub.WatchFarm, request, key=key) as events:
            yield _events(events)

    async def accounts(self, key: str | None) -> farm.AccountList:
        """Return every account."""
        answer = await self._rpc.call(self._stub.ListAccounts, pb.ListAccountsRequest(), key=key)
        return _accounts(answer)

    async def put_account(
        self, key: str | None, account_id: str, body: requests.PutAccount
    ) -> farm.Account:
        """Create or replace an account."""
        request = pb.PutAccountRequest(account=_account(account_id, body))
        return farm_convert.account(await self._rpc.call(self._stub.PutAccount, request, key=key))

    async def put_accounts(
        self, key: str | None, body: farm_requests.PutAccounts
    ) -> farm.AccountList:
        """Create or replace many accounts, all or none."""
        given = [_account(one.account_id, one) for one in body.accounts]
        request = pb.PutAccountsRequest(accounts=given)
        answer = await self._rpc.call(
            self._stub.PutAccounts, request, key=key, seconds=LONG_CALL_SECONDS
        )
        return _accounts(answer)

    async def clear_account(self, key: str | None, account_id: str, reason: str) -> farm.Account:
        """End an account's needs_attention."""
        request = pb.ClearAccountRequest(account_id=account_id, reason=reason)
        return farm_convert.account(await self._rpc.call(self._stub.ClearAccount, request, key=key))

    async def delete_account(self, key: str | None, account_id: str, reason: str) -> farm.Account:
        """Remove an account; return it as it was."""
        request = pb.DeleteAccountRequest(account_id=account_id, reason=reason)
        answer = await self._rpc.call(self._stub.DeleteAccount, request, key=key)
        return farm_convert.account(answer)

    async def groups(self, key: str | None) -> farm.GroupList:
        """Return every group."""
        answer = await self._rpc.call(self._stub.ListGroups, pb.ListGroupsRequest(), key=key)
        return farm.GroupList(groups=tuple(farm_convert.group(one) for one in answer.groups))

    async def put_group(
        self, key: str | None, kind: str, name: str, body: farm_requests.PutGroup
    ) -> farm.Group:
        """Replace the members of a group."""
        members = pb.Group(
            kind=farm_convert.GROUP_KINDS[kind], name=name, member_ids=body.member_ids
        )
        request = pb.PutGroupRequest(group=members, reason=body.reason)
        return farm_convert.group(await self._rpc.call(self._stub.PutGroup, request, key=key))

    async def change_group(
        self, key: str | None, kind: str, name: str, body: farm_requests.ChangeGroup
    ) -> farm.Group:
        """Add members to a group, and remove others."""
        request = pb.ChangeGroupRequest(
            kind=farm_convert.GROUP_KINDS[kind],
            name=name,
            add_ids=body.add_ids,
            remove_ids=body.remove_ids,
            reason=body.reason,
        )
        return farm_convert.group(await self._rpc.call(self._stub.ChangeGroup, request, key=key))

    async def put_clean_up(
        self, key: str | None, name: str, body: farm_requests.PutCleanUp
    ) -> farm.Group:
        """Set what is done after each run on the phones of a group."""
        request = pb.SetCleanUpRequest(name=name, reason=body.reason)
        if body.steps is not None:
            steps = [farm_convert.CLEAN_UP_STEPS[step] for step in body.steps]
            request.clean_up.CopyFrom(pb.CleanUp(steps=steps))
        return farm_convert.group(await self._rpc.call(self._stub.SetCleanUp, request, key=key))

    async def agents(self, key: str | None) -> farm.AgentList:
        """Return every agent."""
        answer = await self._rpc.call(self._stub.ListAgents, pb.ListAgentsRequest(), key=key)
        return farm.AgentList(agents=tuple(farm_convert.agent(one) for one in answer.agents))

    async def pauses(self, key: str | None) -> operation.PauseList:
        """Return every pause."""
        answer = await self._rpc.call(self._stub.ListPauses, pb.ListPausesRequest(), key=key)
        return operation.PauseList(pauses=tuple(farm_convert.pause(one) for one in answer.pauses))

    async def pause(self, key: str | None, body: farm_requests.PauseWork) -> operation.Paused:
        """Let nothing in the scope begin."""
        request = pb.PauseRequest(
            scope=farm_convert.pause_scope(body.scope),
            name=body.name or "",
            reason=body.reason,
            stop=body.stop,
        )
        answer = await self._rpc.call(self._stub.Pause, request, key=key, seconds=LONG_CALL_SECONDS)
        return farm_convert.paused(answer)

    async def resume(self, key: str | None, body: farm_requests.Resume) -> operation.Resumed:
        """End a pause."""
        scope = farm_convert.pause_scope(body.scope)
        request = pb.ResumeRequest(scope=scope, name=body.name or "", reason=body.reason)
        answer = await self._rpc.call(self._stub.Resume, request, key=key)
        return operation.Resumed(scope=body.scope, name=body.name, resumed=answer.resumed)

    async def windows(self, key: str | None) -> WindowList:
        """Return every window."""
        answer = await self._rpc.call(self._stub.ListWindows, pb.ListWindowsRequest(), key=key)
        return WindowList(windows=tuple(farm_convert.window(one) for one in answer.windows))

    async def put_window(self, key: str | None, body: farm_requests.PutWindow) -> Window:
        """Let work of a scope begin in weekly hours only."""
        request = pb.PutWindowRequest(
            scope=farm_convert.WINDOW_SCOPES[body.scope],
            name=body.name,
            zone=body.zone,
            hours=body.hours,
            may_overrun=body.may_overrun,
            reason=body.reason,
        )
        return farm_convert.window(await self._rpc.call(self._stub.PutWindow, request, key=key))

    async def remove_window(
        self, key: str | None, body: farm_requests.RemoveWindow
    ) -> WindowRemoved:
        """Remove a window."""
        request = pb.RemoveWindowRequest(
            scope=farm_convert.WINDOW_SCOPES[body.scope], name=body.name, reason=body.reason
        )
        answer = await self._rpc.call(
            self._stub.RemoveWindow, request, key=key, seconds=LONG_CALL_SECONDS
        )
        return WindowRemoved(scope=body.scope, name=body.name, removed=answer.removed)

    async def limits(self, key: str | None) -> LimitList:
        """Return every limit."""
        answer = await self._rpc.call(self._stub.ListLimits, pb.ListLimitsRequest(), key=key)
        return LimitList(limits=tuple(limit_convert.limit(one) for one in answer.limits))

    async def put_limit(self, key: str | None, body: farm_requests.PutLimit) -> Limit:
        """Limit the runs of a scope."""
        request = pb.PutLimitRequest(
            kind=limit_convert.KINDS[body.kind],
            scope=limit_convert.SCOPES[body.scope],
            name=body.name or "",
            value=body.value,
            zone=body.zone or "",
            reason=body.reason,
        )
        return limit_convert.limit(await self._rpc.call(self._stub.PutLimit, request, key=key))

    async def remove_limit(self, key: str | None, body: farm_requests.RemoveLimit) -> LimitRemoved:
        """Remove a limit."""
        request = pb.RemoveLimitRequest(
            kind=limit_convert.KINDS[body.kind],
            scope=limit_convert.SCOPES[body.scope],
            name=body.name or "",
            reason=body.reason,
        )
        answer = await self._rpc.call(self._stub.RemoveLimit, request, key=key)
        return LimitRemoved(
            kind=body.kind, scope=body.scope, name=body.name, removed=answer.removed
        )


async def _events(events: AsyncIterator[pb.FarmEvent]) -> AsyncIterator[FarmEvent]:
    async for event in events:
        match event.WhichOneof("change"):
            case "reset":
                reset = farm.FarmReset(reason=event.reset.reason)
                yield FarmEvent(cursor=event.cursor, name="farm.reset", data=reset)
            case "phone":
                phone = farm_convert.phone(event.phone)
                yield FarmEvent(cursor=event.cursor, name="phone.updated", data=phone)
            case "process":
                process = farm_convert.process_moved(event.process)
                yield FarmEvent(cursor=event.cursor, name="process.moved", data=process)
            case "incident":
                incident = farm_convert.incident(event.incident)
                yield FarmEvent(cursor=event.cursor, name="incident.updated", data=incident)
            case None:  # or a change that only a newer gateway knows
                yield FarmEvent(cursor=event.cursor)


def _account(account_id: str, body: requests.PutAccount) -> pb.Account:
    return pb.Account(
        account_id=account_id,
        phone_id=body.phone_id or "",
        app=body.app,
        active=body.active,
        condition=body.condition,
        condition_reason=body.condition_reason,
    )


def _accounts(answer: pb.ListAccountsResponse | pb.PutAccountsResponse) -> farm.AccountList:
    return farm.AccountList(accounts=tuple(farm_convert.account(one) for one in answer.accounts))
