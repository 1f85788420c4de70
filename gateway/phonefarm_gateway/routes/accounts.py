"""Endpoints of accounts and groups."""

from http import HTTPStatus
from typing import Final, Literal

from aiohttp import web
from phonefarm.schemas import examples, farm, requests
from phonefarm.schemas.farm_requests import (
    Because,
    ChangeGroup,
    PutAccounts,
    PutCleanUp,
    PutGroup,
)
from phonefarm.schemas.queries import NoQuery

from phonefarm_gateway.client import RefusedError
from phonefarm_gateway.rest.endpoint import Call, Endpoint, NoBody, ResponseSpec, renamed, reply

TAG: Final = "Accounts"
_CHANGE: Final = (
    "The call creates the group if necessary. It ignores an id in `add_ids` that is already in the "
    "group, and an id in `remove_ids` that is not. A group without members no longer exists."
)
_GROUP: Final = {HTTPStatus.OK: ResponseSpec(about="The stored group.", models=(farm.Group,))}


async def list_accounts(call: Call[NoQuery, NoBody]) -> web.StreamResponse:
    """Return every account."""
    return reply(await call.controller.fleet.accounts(call.key))


async def put_account(call: Call[NoQuery, requests.PutAccount]) -> web.StreamResponse:
    """Create or replace an account; a refusal names fields as the body has them."""
    account_id = call.path["account_id"]
    try:
        return reply(await call.controller.fleet.put_account(call.key, account_id, call.body))
    except RefusedError as refused:
        raise renamed(refused, prefix="account.") from refused


async def put_accounts(call: Call[NoQuery, PutAccounts]) -> web.StreamResponse:
    """Create or replace many accounts."""
    return reply(await call.controller.fleet.put_accounts(call.key, call.body))


async def clear_account(call: Call[NoQuery, Because]) -> web.StreamResponse:
    """Give an account that needed attention work again."""
    fleet = call.controller.fleet
    return reply(await fleet.clear_account(call.key, call.path["account_id"], call.body.reason))


async def delete_account(call: Call[NoQuery, Because]) -> web.StreamResponse:
    """Remove an account without work."""
    fleet = call.controller.fleet
    return reply(await fleet.delete_account(call.key, call.path["account_id"], call.body.reason))


async def list_groups(call: Call[NoQuery, NoBody]) -> web.StreamResponse:
    """Return every group."""
    return reply(await call.controller.fleet.groups(call.key))


async def put_phone_group(call: Call[NoQuery, PutGroup]) -> web.StreamResponse:
    """Replace the phones of a group."""
    return await _put_group(call, "phone")


async def put_account_group(call: Call[NoQuery, PutGroup]) -> web.StreamResponse:
    """Replace the accounts of a group."""
    return await _put_group(call, "account")


async def _put_group(
    call: Call[NoQuery, PutGroup], kind: Literal["phone", "account"]
) -> web.StreamResponse:
    try:
        group = call.path["group"]
        return reply(await call.controller.fleet.put_group(call.key, kind, group, call.body))
    except RefusedError as refused:
        raise renamed(refused, prefix="group.") from refused


async def change_phone_group(call: Call[NoQuery, ChangeGroup]) -> web.StreamResponse:
    """Add phones to a group, and remove others."""
    return await _change_group(call, "phone")


async def change_account_group(call: Call[NoQuery, ChangeGroup]) -> web.StreamResponse:
    """Add accounts to a group, and remove others."""
    return await _change_group(call, "account")


async def _change_group(
    call: Call[NoQuery, ChangeGroup], kind: Literal["phone", "account"]
) -> web.StreamResponse:
    try:
        group = call.path["group"]
        return reply(await call.controller.fleet.change_group(call.key, kind, group, call.body))
    except RefusedError as refused:
        raise renamed(refused, prefix="", names={"name": "group"}) from refused


async def put_clean_up(call: Call[NoQuery, PutCleanUp]) -> web.StreamResponse:
    """Set what is done after each run on the phones of a group."""
    try:
        group = call.path["group"]
        return reply(await call.controller.fleet.put_clean_up(call.key, group, call.body))
    except RefusedError as refused:
        raise renamed(refused, prefix="clean_up.", names={"name": "group"}) from refused


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/accounts",
        name="listAccounts",
        tag=TAG,
        summary="List the accounts",
        scope="read",
        query=NoQuery,
        body=NoBody,
        answers={HTTPStatus.OK: ResponseSpec(about="All accounts.", models=(farm.AccountList,))},
        handler=list_accounts,
    ),
    Endpoint(
        method="PUT",
        path="/accounts",
        name="putAccounts",
        tag=TAG,
        summary="Create or replace up to 1,000 accounts: all of them or none",
        about="The call does not change accounts that are not in the body.",
        scope="operate",
        query=NoQuery,
        body=PutAccounts,
        example=examples.ACCOUNTS,
        answers={
            HTTPStatus.OK: ResponseSpec(about="The stored accounts.", models=(farm.AccountList,))
        },
        problems={HTTPStatus.NOT_FOUND: "`unknown_phone:<id>`"},
        handler=put_accounts,
    ),
    Endpoint(
        method="PUT",
        path="/accounts/{account_id}",
        name="putAccount",
        tag=TAG,
        summary="Create or replace an account",
        about="If you make an account inactive, its waiting work ends.",
        scope="operate",
        query=NoQuery,
        body=requests.PutAccount,
        example=examples.ACCOUNT,
        answers={HTTPStatus.OK: ResponseSpec(about="The stored account.", models=(farm.Account,))},
        problems={HTTPStatus.NOT_FOUND: "`unknown_phone:<id>`"},
        handler=put_account,
    ),
    Endpoint(
        method="POST",
        path="/accounts/{account_id}/clear",
        name="clearAccount",
        tag=TAG,
        summary="End an account's needs_attention state, so that the account gets work again",
        scope="operate",
        query=NoQuery,
        body=Because,
        example=examples.BECAUSE,
        answers={
            HTTPStatus.OK: ResponseSpec(about="The account as it is now.", models=(farm.Account,))
        },
        problems={HTTPStatus.NOT_FOUND: "`unknown_account:<id>`"},
        handler=clear_account,
    ),
    Endpoint(
        method="POST",
        path="/accounts/{account_id}/delete",
        name="deleteAccount",
        tag=TAG,
        summary="Remove an account, its persona and its places in groups",
        about="The history of the processes still shows what the account has done.",
        scope="operate",
        query=NoQuery,
        body=Because,
        example=examples.BECAUSE,
        answers={
            HTTPStatus.OK: ResponseSpec(about="The account as it was.", models=(farm.Account,))
        },
        problems={
            HTTPStatus.NOT_FOUND: "`unknown_account:<id>`",
            HTTPStatus.CONFLICT: (
                "`state_conflict:has_work`: work that has not ended names or uses the account"
            ),
        },
        handler=delete_account,
    ),
    Endpoint(
        method="GET",
        path="/groups",
        name="listGroups",
        tag=TAG,
        summary="List the groups of phones and of accounts",
        scope="read",
        query=NoQuery,
        body=NoBody,
        answers={HTTPStatus.OK: ResponseSpec(about="All groups.", models=(farm.GroupList,))},
        handler=list_groups,
    ),
    Endpoint(
        method="PUT",
        path="/groups/phone/{group}",
        name="putPhoneGroup",
        tag=TAG,
        summary="Replace the phones of a group; an empty list removes the group",
        scope="operate",
        query=NoQuery,
        body=PutGroup,
        example=examples.GROUP,
        answers=_GROUP,
        problems={HTTPStatus.NOT_FOUND: "`unknown_phone:<id>`"},
        handler=put_phone_group,
    ),
    Endpoint(
        method="PUT",
        path="/groups/account/{group}",
        name="putAccountGroup",
        tag=TAG,
        summary="Replace the accounts of a group; an empty list removes the group",
        scope="operate",
        query=NoQuery,
        body=PutGroup,
        example=examples.GROUP,
        answers=_GROUP,
        problems={HTTPStatus.NOT_FOUND: "`unknown_account:<id>`"},
        handler=put_account_group,
    ),
    Endpoint(
        method="POST",
        path="/groups/phone/{group}/members",
        name="changePhoneGroup",
        tag=TAG,
        summary="Add phones to a group, and remove others",
        about=_CHANGE,
        scope="operate",
        query=NoQuery,
        body=ChangeGroup,
        answers=_GROUP,
        problems={HTTPStatus.NOT_FOUND: "`unknown_phone:<id>`"},
        handler=change_phone_group,
    ),
    Endpoint(
        method="POST",
        path="/groups/account/{group}/members",
        name="changeAccountGroup",
        tag=TAG,
        summary="Add accounts to a group, and remove others",
        about=_CHANGE,
        scope="operate",
        query=NoQuery,
        body=ChangeGroup,
        answers=_GROUP,
        problems={HTTPStatus.NOT_FOUND: "`unknown_account:<id>`"},
        handler=change_account_group,
    ),
    Endpoint(
        method="PUT",
        path="/groups/phone/{group}/clean-up",
        name="putCleanUp",
        tag=TAG,
        summary="Set how agents clean the phones of a group after each run",
        about=(
            "If a phone is in several groups, the agent takes every step that at least one of "
            "these groups sets. If none of the phone's groups sets steps, the agent takes all "
            "steps."
        ),
        scope="operate",
        query=NoQuery,
        body=PutCleanUp,
        answers=_GROUP,
        problems={HTTPStatus.NOT_FOUND: "`unknown_group:<name>`"},
        handler=put_clean_up,
    ),
)
