"""Phones and accounts in memory."""

# ruff: noqa: N802 - the protocol names the calls

from collections.abc import Awaitable, Callable

import grpc
from gateway.support.refusing import Context, refuse
from google.protobuf.timestamp_pb2 import Timestamp
from phonefarm.v1 import agent_pb2, fleet_pb2, fleet_pb2_grpc


class MemoryFleet(fleet_pb2_grpc.FleetServiceServicer):
    """A phone that is well and one that is not, one account; accounts may be put."""

    def __init__(self, admit: Callable[[Context, str], Awaitable[str]]) -> None:
        self._admit = admit
        self.phones = [
            fleet_pb2.Phone(
                phone_id="phone-1",
                serialno="SIM0001",
                agent_id="agent-1",
                transport=agent_pb2.TRANSPORT_NO_PERMISSION,
                readiness=agent_pb2.READINESS_READY,
                health="good",
                lease="free",
                intent="in_service",
                offered=True,
                adb_serial="127.0.0.1:5555",
            ),
            fleet_pb2.Phone(
                phone_id="phone-2",
                serialno="SIM0002",
                agent_id="agent-1",
                transport=agent_pb2.TRANSPORT_UNAUTHORIZED,
                readiness=agent_pb2.READINESS_UNKNOWN,
                health="quarantined",
                health_reason="infra_failures: it failed 3 times",
                health_until=Timestamp(seconds=1_800_000_000),
                cooling_until=Timestamp(seconds=1_700_000_000),
                lease="free",
                intent="in_service",
                adb_serial="127.0.0.1:5557",
                needs_hands="allow debugging on its screen",
                reasons=[
                    fleet_pb2.PhoneHindrance(
                        reason="phone_quarantined",
                        detail="infra_failures: it failed 3 times",
                        remedy="it is given work again",
                        until=Timestamp(seconds=1_800_000_000),
                    ),
                    fleet_pb2.PhoneHindrance(
                        reason="phone_needs_hands", remedy="go to phone-2", detail="allow it"
                    ),
                ],
            ),
        ]
        self.accounts = {
            "acc-1": fleet_pb2.Account(
                account_id="acc-1",
                phone_id="phone-1",
                app="shortvideo",
                active=True,
                condition="ok",
            )
        }

    async def ListPhones(
        self, request: fleet_pb2.ListPhonesRequest, context: Context
    ) -> fleet_pb2.ListPhonesResponse:
        """Return every phone."""
        await self._admit(context, "read")
        return fleet_pb2.ListPhonesResponse(phones=self.phones)

    async def ListAccounts(
        self, request: fleet_pb2.ListAccountsRequest, context: Context
    ) -> fleet_pb2.ListAccountsResponse:
        """Return every account."""
        await self._admit(context, "read")
        return fleet_pb2.ListAccountsResponse(accounts=self.accounts.values())

    async def PutAccount(
        self, request: fleet_pb2.PutAccountRequest, context: Context
    ) -> fleet_pb2.Account:
        """Keep an account of a known phone and app."""
        await self._admit(context, "operate")
        account = request.account
        if account.app != "shortvideo":
            wrong = ("account.app", "must be one of: shortvideo")
            code = grpc.StatusCode.INVALID_ARGUMENT
            await refuse(context, code, "invalid_request", "no such app", wrong)
        if account.phone_id and account.phone_id not in {one.phone_id for one in self.phones}:
            code = grpc.StatusCode.NOT_FOUND
            await refuse(context, code, f"unknown_phone:{account.phone_id}", "no such phone")
        self.accounts[account.account_id] = account
        return account
