"""FleetService: phones, accounts and groups."""

from collections.abc import Sequence
from typing import Any

from phonefarm.v1 import fleet_pb2, fleet_pb2_grpc

from phonefarm_cli.client.wire import LONG_CALL_SECONDS, Wire


class FleetClient:
    """Asks about phones, accounts and groups, and changes them."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._stub: Any = fleet_pb2_grpc.FleetServiceStub(wire.channel)

    async def phones(self) -> list[fleet_pb2.Phone]:
        """Return every phone, by id."""
        answer = await self._wire.answer(self._stub.ListPhones, fleet_pb2.ListPhonesRequest())
        return list(answer.phones)

    async def sheet(self, phone_id: str) -> fleet_pb2.PhoneSheet:
        """Return everything that is known of a phone."""
        request = fleet_pb2.ShowPhoneRequest(phone_id=phone_id)
        sheet: fleet_pb2.PhoneSheet = await self._wire.answer(self._stub.ShowPhone, request)
        return sheet

    async def needs_hands(self) -> list[fleet_pb2.HandsNeeded]:
        """Return what a person must do, by agent and phone."""
        request = fleet_pb2.ListNeedsHandsRequest()
        answer = await self._wire.answer(self._stub.ListNeedsHands, request)
        return list(answer.needed)

    async def audit(self, request: fleet_pb2.ListAuditRequest) -> list[fleet_pb2.AuditEntry]:
        """Return who did what, newest first."""
        answer = await self._wire.answer(self._stub.ListAudit, request)
        return list(answer.entries)

    async def admit(self, phone_id: str, reason: str = "") -> None:
        """Take a new phone into service."""
        request = fleet_pb2.AdmitPhoneRequest(phone_id=phone_id, reason=reason)
        await self._wire.answer(self._stub.AdmitPhone, request)

    async def give_back(self, phone_id: str, reason: str) -> fleet_pb2.Phone:
        """End a phone's quarantine; the reason is kept."""
        request = fleet_pb2.ReturnPhoneRequest(phone_id=phone_id, reason=reason)
        phone: fleet_pb2.Phone = await self._wire.answer(self._stub.ReturnPhone, request)
        return phone

    async def maintain(self, phone_id: str, reason: str) -> fleet_pb2.Phone:
        """Give a phone no more work."""
        request = fleet_pb2.MaintainPhoneRequest(phone_id=phone_id, reason=reason)
        phone: fleet_pb2.Phone = await self._wire.answer(self._stub.MaintainPhone, request)
        return phone

    async def retire(self, phone_id: str, reason: str) -> fleet_pb2.Phone:
        """Take a phone out of the farm."""
        request = fleet_pb2.RetirePhoneRequest(phone_id=phone_id, reason=reason)
        phone: fleet_pb2.Phone = await self._wire.answer(self._stub.RetirePhone, request)
        return phone

    async def clear_account(self, account_id: str, reason: str) -> fleet_pb2.Account:
        """End an account's needs_attention."""
        request = fleet_pb2.ClearAccountRequest(account_id=account_id, reason=reason)
        account: fleet_pb2.Account = await self._wire.answer(self._stub.ClearAccount, request)
        return account

    async def pause(
        self,
        scope: fleet_pb2.PauseScope.ValueType,
        name: str,
        reason: str,
        *,
        stop: bool = False,
    ) -> fleet_pb2.PauseState:
        """Let nothing in the scope begin; *stop* what runs as well."""
        request = fleet_pb2.PauseRequest(scope=scope, name=name, reason=reason, stop=stop)
        pause: fleet_pb2.PauseState = await self._wire.answer(
            self._stub.Pause, request, seconds=LONG_CALL_SECONDS
        )
        return pause

    async def resume(self, scope: fleet_pb2.PauseScope.ValueType, name: str, reason: str) -> bool:
        """End a pause; tell whether there was one."""
        request = fleet_pb2.ResumeRequest(scope=scope, name=name, reason=reason)
        answer: fleet_pb2.ResumeResponse = await self._wire.answer(self._stub.Resume, request)
        return answer.resumed

    async def pauses(self) -> list[fleet_pb2.PauseState]:
        """Return every pause, by scope and name."""
        answer = await self._wire.answer(self._stub.ListPauses, fleet_pb2.ListPausesRequest())
        return list(answer.pauses)

    async def agents(self) -> list[fleet_pb2.Agent]:
        """Return every agent, by id."""
        answer = await self._wire.answer(self._stub.ListAgents, fleet_pb2.ListAgentsRequest())
        return list(answer.agents)

    async def accounts(self) -> list[fleet_pb2.Account]:
        """Return every account, by id."""
        answer = await self._wire.answer(self._stub.ListAccounts, fleet_pb2.ListAccountsRequest())
        return list(answer.accounts)

    async def put_account(self, account: fleet_pb2.Account) -> fleet_pb2.Account:
        """Create or replace an account."""
        request = fleet_pb2.PutAccountRequest(account=account)
        kept: fleet_pb2.Account = await self._wire.answer(self._stub.PutAccount, request)
        return kept

    async def put_accounts(self, accounts: Sequence[fleet_pb2.Account]) -> None:
        """Create or replace 1 to 1,000 accounts, all or none."""
        request = fleet_pb2.PutAccountsRequest(accounts=accounts)
        await self._wire.answer(self._stub.PutAccounts, request, seconds=LONG_CALL_SECONDS)

    async def groups(self) -> list[fleet_pb2.Group]:
        """Return every group, by kind and name."""
        answer = await self._wire.answer(self._stub.ListGroups, fleet_pb2.ListGroupsRequest())
        return list(answer.groups)

    async def set_clean_up(
        self, name: str, clean_up: fleet_pb2.CleanUp | None, reason: str
    ) -> fleet_pb2.Group:
        """Set what is done about a group's phones behind each run; None: nothing of its own."""
        request = fleet_pb2.SetCleanUpRequest(name=name, clean_up=clean_up, reason=reason)
        kept: fleet_pb2.Group = await self._wire.answer(self._stub.SetCleanUp, request)
        return kept

    async def put_group(self, group: fleet_pb2.Group, reason: str) -> fleet_pb2.Group:
        """Make a group or replace its members."""
        request = fleet_pb2.PutGroupRequest(group=group, reason=reason)
        kept: fleet_pb2.Group = await self._wire.answer(self._stub.PutGroup, request)
        return kept
