"""Reads request bodies within bounds, parses them strictly, validates them."""

import asyncio
from http import HTTPStatus
from typing import Any, Final, TypeVar

from aiohttp import hdrs, web
from phonefarm.schemas.fields import RequestModel
from phonefarm_common.reasons import FieldProblem, Reason
from pydantic import ValidationError

from phonefarm_gateway.rest.field_problems import problems_of
from phonefarm_gateway.rest.problems import Problem, invalid
from phonefarm_gateway.strict_json import BODY, NotAcceptableError, NotJsonError, parse

READ_SECONDS: Final = 30.0
LARGE_BYTES: Final = 64 * 1024

_Model = TypeVar("_Model", bound=RequestModel)


async def read_json(request: web.Request, *, most: int | None = None) -> Any:
    """Return the parsed body of at most *most* bytes; Problem 408, 413, 415 or 422 otherwise."""
    _check_type(request)
    if most is not None:
        request = request.clone(client_max_size=min(most, request.client_max_size))
    most = request.client_max_size
    too_large = Problem(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "body_too_large",
        f"The body is larger than {most} bytes.",
    )
    if (request.content_length or 0) > most:
        raise too_large
    try:
        async with asyncio.timeout(READ_SECONDS):
            raw = await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        raise too_large from error
    except TimeoutError as error:
        raise Problem(
            HTTPStatus.REQUEST_TIMEOUT,
            "body_too_slow",
            f"The body was not received within {READ_SECONDS:g} s.",
        ) from error
    except web.RequestPayloadError as error:
        raise _malformed("the body is incomplete, or its framing is wrong") from error
    try:
        # Parsing a large body of tiny values takes most of a second: other requests must not wait.
        return await asyncio.to_thread(parse, raw) if len(raw) > LARGE_BYTES else parse(raw)
    except NotJsonError as error:
        raise _malformed(str(error)) from error
    except NotAcceptableError as error:
        raise invalid(*error.problems) from error


def validated(shape: type[_Model], value: object) -> _Model:
    """Return *value* as *shape*; Problem 422 names each field that does not fit."""
    if not isinstance(value, dict):
        raise invalid(FieldProblem(field=BODY, message="must be a JSON object"))
    try:
        return shape.model_validate(value)
    except ValidationError as error:
        raise invalid(*problems_of(error)) from error


def _malformed(message: str) -> Problem:
    problem = FieldProblem(field=BODY, message=f"is not JSON: {message}")
    return invalid(problem, error=f"{Reason.INVALID_REQUEST}:malformed_json")


def _check_type(request: web.Request) -> None:
    """Accept JSON, and no type at all from callers that send none."""
    coding = request.headers.get(hdrs.CONTENT_ENCODING, "identity").strip().lower()
    if hdrs.CONTENT_TYPE in request.headers:
        kind = request.content_type
        is_json = kind == "application/json" or (
            kind.startswith("application/") and kind.endswith("+json")
        )
    else:
        is_json = True
    try:
        charset = (request.charset or "utf-8").lower()
    except ValueError:
        charset = "?"
    if not is_json or charset not in {"utf-8", "utf8", "us-ascii"} or coding != "identity":
        raise Problem(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            "Send application/json in UTF-8, without compression.",
            headers={"Accept": "application/json"},
        )
