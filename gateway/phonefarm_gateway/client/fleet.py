"""FleetService: phones and accounts."""

import grpc.aio
from phonefarm.v1 import agent_pb2, fleet_pb2_grpc
from phonefarm.v1 import fleet_pb2 as pb

from phonefarm_gateway.client.calls import RpcCaller
from phonefarm_gateway.client.convert import moment
from phonefarm_gateway.schemas import requests, responses


class FleetClient:
    """Lists phones and accounts, puts accounts."""

    def __init__(self, channel: grpc.aio.Channel, rpc: RpcCaller) -> None:
        self._stub = fleet_pb2_grpc.FleetServiceStub(channel)
        self._rpc = rpc

    async def phones(self, key: str | None) -> responses.PhoneList:
        """Return every phone."""
        answer = await self._rpc.call(self._stub.ListPhones, pb.ListPhonesRequest(), key=key)
        return responses.PhoneList(phones=tuple(_phone(phone) for phone in answer.phones))

    async def accounts(self, key: str | None) -> responses.AccountList:
        """Return every account."""
        answer = await self._rpc.call(self._stub.ListAccounts, pb.ListAccountsRequest(), key=key)
        return responses.AccountList(accounts=tuple(_account(one) for one in answer.accounts))

    async def put_account(
        self, key: str | None, account_id: str, body: requests.PutAccount
    ) -> responses.Account:
        """Create or replace an account."""
        account = pb.Account(
            account_id=account_id,
            phone_id=body.phone_id or "",
            app=body.app,
            active=body.active,
            condition=body.condition,
            condition_reason=body.condition_reason,
        )
        request = pb.PutAccountRequest(account=account)
        return _account(await self._rpc.call(self._stub.PutAccount, request, key=key))


def _phone(phone: pb.Phone) -> responses.Phone:
    return responses.Phone(
        phone_id=phone.phone_id,
        serialno=phone.serialno,
        adb_serial=phone.adb_serial,
        model=phone.model,
        android_release=phone.android_release,
        agent_id=phone.agent_id,
        transport=_word(agent_pb2.Transport, phone.transport),
        readiness=_word(agent_pb2.Readiness, phone.readiness),
        readiness_reason=phone.readiness_reason,
        health=phone.health,
        health_reason=phone.health_reason,
        lease=phone.lease,
        intent=phone.intent,
        offered=phone.offered,
        process_id=phone.process_id or None,
        run_id=phone.run_id or None,
        health_until=moment(phone.health_until),
        cooling_until=moment(phone.cooling_until),
        needs_hands=phone.needs_hands,
        reasons=tuple(
            responses.PhoneBlocker(
                reason=one.reason,
                detail=one.detail,
                remedy=one.remedy,
                until=moment(one.until),
            )
            for one in phone.reasons
        ),
    )


def _word(kind: "type[agent_pb2.Transport | agent_pb2.Readiness]", value: int) -> str:
    """Return `online` for TRANSPORT_ONLINE; a number that a newer controller sends stays one.

    Both enumerations prefix their values with their own name.
    """
    for number, name in kind.DESCRIPTOR.values_by_number.items():
        if number == value:
            return str(name.name).partition("_")[2].lower()
    return str(value)


def _account(account: pb.Account) -> responses.Account:
    return responses.Account(
        account_id=account.account_id,
        phone_id=account.phone_id or None,
        app=account.app,
        active=account.active,
        condition="needs_attention" if account.condition == "needs_attention" else "ok",
        condition_reason=account.condition_reason,
    )
