"""Builds all errors that callers see: problem documents of RFC 9457."""

from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Final

from aiohttp import web
from phonefarm.schemas.responses import FieldError, ProblemDocument
from phonefarm_common.reasons import FarmError, FieldProblem, Reason

from phonefarm_gateway.client import RefusedError
from phonefarm_gateway.strict_json import BODY, dump

RETRY_AFTER_SECONDS: Final = 2

_STATUS: Final[Mapping[Reason, HTTPStatus]] = MappingProxyType(
    {
        Reason.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
        Reason.INSUFFICIENT_SCOPE: HTTPStatus.FORBIDDEN,
        Reason.UNKNOWN_PROCESS: HTTPStatus.NOT_FOUND,
        Reason.UNKNOWN_ACCOUNT: HTTPStatus.NOT_FOUND,
        Reason.INACTIVE_ACCOUNT: HTTPStatus.NOT_FOUND,
        Reason.UNKNOWN_PHONE: HTTPStatus.NOT_FOUND,
        Reason.INACTIVE_PHONE: HTTPStatus.NOT_FOUND,
        Reason.UNKNOWN_GROUP: HTTPStatus.NOT_FOUND,
        Reason.UNKNOWN_SCHEDULE: HTTPStatus.NOT_FOUND,
        Reason.UNKNOWN_CONTENT: HTTPStatus.NOT_FOUND,
        Reason.UNKNOWN_QUEUE_ITEM: HTTPStatus.NOT_FOUND,
        Reason.UNKNOWN_EVIDENCE: HTTPStatus.NOT_FOUND,
        Reason.EVIDENCE_REMOVED: HTTPStatus.NOT_FOUND,
        Reason.UNKNOWN_KEY: HTTPStatus.NOT_FOUND,
        Reason.UNKNOWN_MEMBER: HTTPStatus.NOT_FOUND,
        Reason.RATE_LIMITED: HTTPStatus.TOO_MANY_REQUESTS,
        Reason.STATE_CONFLICT: HTTPStatus.CONFLICT,
        Reason.SCREEN_UNAVAILABLE: HTTPStatus.CONFLICT,
        Reason.AGENT_TOO_OLD: HTTPStatus.CONFLICT,
        Reason.JOINING_CLOSED: HTTPStatus.CONFLICT,
        Reason.NO_SECRET_CONFIGURED: HTTPStatus.INTERNAL_SERVER_ERROR,
        Reason.INTERNAL: HTTPStatus.INTERNAL_SERVER_ERROR,
        # The operator's to repair: the gateway's own token is wrong, the caller's key may be right.
        Reason.GATEWAY_TOKEN_REFUSED: HTTPStatus.SERVICE_UNAVAILABLE,
        Reason.CONTROLLER_UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
        Reason.EVIDENCE_AWAY: HTTPStatus.SERVICE_UNAVAILABLE,
        Reason.STORAGE_FULL: HTTPStatus.SERVICE_UNAVAILABLE,
        Reason.TOO_MANY_SCREENS: HTTPStatus.SERVICE_UNAVAILABLE,
    }
)
"""The statuses of reasons; every other reason is an error of the caller, 422."""

_FIELD: Final[Mapping[Reason, str]] = MappingProxyType(
    {
        Reason.UNKNOWN_CAPABILITY: "capability",
        Reason.ROUTING_NOT_SUPPORTED: "target.routing",
        Reason.CAPABILITY_NOT_LIVE_VERIFIED: "mode",
        Reason.ACCOUNT_REQUIRED: "target.account_id",
        Reason.ACCOUNT_AMBIGUOUS: "target.account_id",
        Reason.ACCOUNT_NOT_ON_PHONE: "target.account_id",
        Reason.EMPTY_GROUP: "target",
        Reason.GROUP_TOO_LARGE: "target",
        Reason.UNKNOWN_APP: "inputs.app",
        Reason.UNSUPPORTED_ACTION: "inputs.steps",
        Reason.MISSING_FYP_JUDGE_PROMPT: "inputs.judge_prompt",
        Reason.CALLBACK_URL_NOT_ALLOWED: "callback.url",
    }
)
"""The field for a refusal that names none, because every 422 names at least one."""


class Problem(Exception):  # noqa: N818 - the word of RFC 9457
    """A failed request: the problem document and the headers that go with it."""

    def __init__(
        self,
        status: HTTPStatus,
        error: str,
        detail: str,
        *,
        problems: tuple[FieldProblem, ...] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.error = error
        self.detail = detail
        self.problems = problems
        self.headers = dict(headers or {})

    def document(self) -> bytes:
        """Return the problem document."""
        reason = self.error.partition(":")[0]
        document = ProblemDocument(
            type=f"urn:phonefarm:problem:{reason}",
            title=reason.replace("_", " ").capitalize(),
            status=int(self.status),
            detail=self.detail,
            error=self.error,
            errors=tuple(FieldError(field=p.field, message=p.message) for p in self.problems),
        )
        return dump(document.rendered()).encode()

    def response(self) -> web.Response:
        """Return the answer that carries the problem document."""
        return web.Response(
            status=self.status,
            body=self.document(),
            content_type="application/problem+json",
            headers=self.headers,
        )


def invalid(
    *problems: FieldProblem,
    error: str = str(Reason.INVALID_REQUEST),
) -> Problem:
    """Return the 422 that names every field in *problems* (one or more)."""
    first = problems[0]
    detail = f"{first.field}: {first.message}"
    if len(problems) > 1:
        detail += f" (and {len(problems) - 1} more)"
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, error, detail, problems=problems)


def from_farm_error(error: FarmError) -> Problem:
    """Return the problem for a refusal by the gateway."""
    refused = RefusedError(error.reason, error.text, error.message, error.problems)
    return from_refused(refused)


def from_refused(refused: RefusedError) -> Problem:
    """Return the problem for a refusal by the controller."""
    status = _STATUS.get(refused.reason, HTTPStatus.UNPROCESSABLE_ENTITY)
    problems = refused.problems
    headers: dict[str, str] = {}
    match status:
        case HTTPStatus.UNPROCESSABLE_ENTITY if not problems:
            problems = (FieldProblem(field=_field(refused), message=refused.message),)
        case HTTPStatus.UNAUTHORIZED:
            headers["WWW-Authenticate"] = "Bearer"
        case HTTPStatus.SERVICE_UNAVAILABLE:
            headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
        case _:
            pass
    return Problem(status, refused.text, refused.message, problems=problems, headers=headers)


def _field(refused: RefusedError) -> str:
    detail = refused.text.partition(":")[2]
    if refused.reason is Reason.UNSUPPORTED_INPUT and detail:
        return f"inputs.{detail}"
    return _FIELD.get(refused.reason, BODY)
