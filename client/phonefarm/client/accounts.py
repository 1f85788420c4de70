"""Creates and lists accounts, and groups of accounts and phones."""

from collections.abc import Sequence
from typing import Literal

from phonefarm.client.transport import Transport, place
from phonefarm.schemas import farm, farm_requests, requests


class AsyncAccounts:
    """Accounts, each of one app and on one phone."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def list(self) -> farm.AccountList:
        """Return every account."""
        return await self._transport.send("GET", "/accounts", farm.AccountList)

    async def put(
        self,
        account_id: str,
        *,
        app: str,
        phone_id: str | None,
        active: bool = True,
        condition: Literal["ok", "needs_attention"] = "ok",
        condition_reason: str = "",
    ) -> farm.Account:
        """Create or replace an account (scope operate).

        *app* is the name of an app profile; *phone_id* is None if the account is on no phone.
        NotFoundError for an unknown phone, InvalidRequestError for an unknown app.
        """
        body = requests.PutAccount(
            phone_id=phone_id,
            app=app,
            active=active,
            condition=condition,
            condition_reason=condition_reason,
        )
        return await self._transport.send("PUT", _at(account_id), farm.Account, body=body)

    async def put_many(
        self, accounts: Sequence[farm_requests.PutAccountOfMany]
    ) -> farm.AccountList:
        """Create or replace up to 1,000 accounts, all of them or none (scope operate)."""
        body = farm_requests.PutAccounts(accounts=list(accounts))
        return await self._transport.send("PUT", "/accounts", farm.AccountList, body=body)

    async def clear(self, account_id: str, *, reason: str) -> farm.Account:
        """End the needs_attention state of an account, so that it gets work (scope operate)."""
        body = farm_requests.Because(reason=reason)
        path = f"{_at(account_id)}/clear"
        return await self._transport.send("POST", path, farm.Account, body=body)

    async def delete(self, account_id: str, *, reason: str) -> farm.Account:
        """Remove an account that has no work (scope operate); return it as it was.

        NotFoundError for an unknown account, ConflictError while work names or uses it.
        """
        body = farm_requests.Because(reason=reason)
        path = f"{_at(account_id)}/delete"
        return await self._transport.send("POST", path, farm.Account, body=body)


class AsyncGroups:
    """Groups of phones, and groups of accounts."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def list(self) -> farm.GroupList:
        """Return every group, by kind and name."""
        return await self._transport.send("GET", "/groups", farm.GroupList)

    async def put(
        self,
        kind: Literal["phone", "account"],
        name: str,
        member_ids: Sequence[str],
        *,
        reason: str = "",
    ) -> farm.Group:
        """Replace the members of a group; without any, the group is gone (scope operate)."""
        body = farm_requests.PutGroup(member_ids=list(member_ids), reason=reason)
        path = place("/groups/{kind}/{name}", kind=kind, name=name)
        return await self._transport.send("PUT", path, farm.Group, body=body)

    async def change(
        self,
        kind: Literal["phone", "account"],
        name: str,
        *,
        add: Sequence[str] = (),
        remove: Sequence[str] = (),
        reason: str = "",
    ) -> farm.Group:
        """Add members to a group and remove others (scope operate); return the group."""
        body = farm_requests.ChangeGroup(add_ids=[*add], remove_ids=[*remove], reason=reason)
        path = place("/groups/{kind}/{name}/members", kind=kind, name=name)
        return await self._transport.send("POST", path, farm.Group, body=body)

    async def put_clean_up(
        self, name: str, steps: Sequence[farm.CleanUpStepWord] | None, *, reason: str = ""
    ) -> farm.Group:
        """Set what is done after each run on the phones of a group (scope operate).

        None removes the setting.
        """
        body = farm_requests.PutCleanUp(steps=None if steps is None else list(steps), reason=reason)
        path = place("/groups/phone/{name}/clean-up", name=name)
        return await self._transport.send("PUT", path, farm.Group, body=body)


def _at(account_id: str) -> str:
    return place("/accounts/{account}", account=account_id)
