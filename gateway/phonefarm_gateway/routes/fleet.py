"""Endpoints of capabilities, phones and accounts."""

from dataclasses import replace
from http import HTTPStatus
from typing import Final

from aiohttp import web

from phonefarm_gateway.client import RefusedError
from phonefarm_gateway.rest.endpoint import Call, Endpoint, NoBody, ResponseSpec, reply
from phonefarm_gateway.schemas import examples, requests, responses
from phonefarm_gateway.schemas.queries import NoQuery


async def list_capabilities(call: Call[NoQuery, NoBody]) -> web.StreamResponse:
    """Return every capability."""
    return reply(await call.controller.inspection.capabilities(call.key))


async def list_phones(call: Call[NoQuery, NoBody]) -> web.StreamResponse:
    """Return every phone."""
    return reply(await call.controller.fleet.phones(call.key))


async def list_accounts(call: Call[NoQuery, NoBody]) -> web.StreamResponse:
    """Return every account."""
    return reply(await call.controller.fleet.accounts(call.key))


async def put_account(call: Call[NoQuery, requests.PutAccount]) -> web.StreamResponse:
    """Create or replace an account; a refusal names fields as the body has them."""
    try:
        account = await call.controller.fleet.put_account(
            call.key, call.path["account_id"], call.body
        )
    except RefusedError as refused:
        problems = tuple(
            replace(problem, field=problem.field.removeprefix("account."))
            for problem in refused.problems
        )
        raise RefusedError(refused.reason, refused.text, refused.message, problems) from refused
    return reply(account)


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/capabilities",
        name="listCapabilities",
        tag="Farm",
        summary="List the capabilities, their inputs, and what is live verified",
        scope="read",
        query=NoQuery,
        body=NoBody,
        answers={
            HTTPStatus.OK: ResponseSpec(
                about="Every capability.", models=(responses.CapabilityList,)
            )
        },
        handler=list_capabilities,
    ),
    Endpoint(
        method="GET",
        path="/phones",
        name="listPhones",
        tag="Farm",
        summary="List the phones",
        scope="read",
        query=NoQuery,
        body=NoBody,
        answers={HTTPStatus.OK: ResponseSpec(about="Every phone.", models=(responses.PhoneList,))},
        handler=list_phones,
    ),
    Endpoint(
        method="GET",
        path="/accounts",
        name="listAccounts",
        tag="Farm",
        summary="List the accounts",
        scope="read",
        query=NoQuery,
        body=NoBody,
        answers={
            HTTPStatus.OK: ResponseSpec(about="Every account.", models=(responses.AccountList,))
        },
        handler=list_accounts,
    ),
    Endpoint(
        method="PUT",
        path="/accounts/{account_id}",
        name="putAccount",
        tag="Farm",
        summary="Create or replace an account",
        about="Making an account inactive ends its waiting work.",
        scope="operate",
        query=NoQuery,
        body=requests.PutAccount,
        example=examples.ACCOUNT,
        answers={
            HTTPStatus.OK: ResponseSpec(
                about="The account as it is stored.", models=(responses.Account,)
            )
        },
        problems={HTTPStatus.NOT_FOUND: "`unknown_phone:<id>`"},
        handler=put_account,
    ),
)
