"""An endpoint as data: its path, models, answers, scope and handler."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from aiohttp import web
from phonefarm.schemas.fields import RequestModel, ResponseModel
from phonefarm.schemas.queries import NoQuery, Query
from phonefarm_common.reasons import FieldProblem

from phonefarm_gateway.client import ControllerClient, RefusedError
from phonefarm_gateway.rest.app_keys import CONTROLLER
from phonefarm_gateway.strict_json import dump

Scope: TypeAlias = Literal["submit", "read", "watch", "cancel", "operate", "admin"]
FurtherProblems: TypeAlias = Callable[
    [ControllerClient, str | None, Mapping[str, Any]], Awaitable[tuple[FieldProblem, ...]]
]
"""Finds further problems, from the key and the body as it was sent."""
_Query = TypeVar("_Query", bound=Query)
_Body = TypeVar("_Body", bound=RequestModel)


class NoBody(RequestModel):
    """The endpoint reads no body."""


@dataclass(frozen=True, kw_only=True)
class Call(Generic[_Query, _Body]):
    """A request whose key, path, query and body have been checked."""

    request: web.Request
    key: str | None
    path: Mapping[str, str]
    query: _Query
    body: _Body
    raw: Any
    """The body as it was sent."""

    @property
    def controller(self) -> ControllerClient:
        """Return the client of the controllers."""
        return self.request.app[CONTROLLER]

    @property
    def process_id(self) -> str:
        """Return the process in the path."""
        return self.path["process_id"]


@dataclass(frozen=True, kw_only=True)
class RequestHeader:
    """A header that the endpoint reads: its description and its JSON Schema."""

    about: str
    schema: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class ResponseSpec:
    """One successful response: JSON of one of its models (told apart by keys), or other bytes."""

    about: str
    models: tuple[type[ResponseModel], ...] = ()
    media_types: tuple[str, ...] = ("application/json",)
    headers: Mapping[str, str] = field(default_factory=dict)
    """The description of each header."""
    events: Mapping[str, type[ResponseModel]] = field(default_factory=dict)
    """The data of each server-sent event, by the event's name."""
    example: Mapping[str, Any] | None = None
    links: tuple["Link", ...] = ()


@dataclass(frozen=True, kw_only=True)
class Link:
    """An OpenAPI link: another endpoint that takes values from this response."""

    operation_id: str
    parameters: Mapping[str, str]
    body: Mapping[str, str] | None = None


@dataclass(frozen=True, kw_only=True)
class Endpoint(Generic[_Query, _Body]):
    """One method of one path."""

    method: Literal["GET", "POST", "PUT", "DELETE"]
    path: str
    name: str
    """Also the operationId."""
    tag: str
    summary: str
    about: str = ""
    scope: Scope | None
    """The scope that the key needs; None when the endpoint needs no key."""
    checks_key: bool = False
    """Check the key first, because the handler makes no call that does; a body implies this."""
    query: type[_Query]
    body: type[_Body]
    body_optional: bool = False
    body_limit: int | None = None
    """The limit of the body in bytes, if it is lower than that of every endpoint."""
    is_login: bool = False
    """True if strangers may call it; then each address may do so only so often."""
    example: Mapping[str, Any] | None = None
    """An example of a valid body."""
    further_problems: FurtherProblems | None = None
    """Finds more problems in a body that does not fit its model."""
    request_headers: Mapping[str, RequestHeader] = field(default_factory=dict)
    answers: Mapping[HTTPStatus, ResponseSpec]
    problems: Mapping[HTTPStatus, str] = field(default_factory=dict)
    """The problems besides those of every endpoint with a key, an id in the path or a body."""
    handler: Callable[[Call[_Query, _Body]], Awaitable[web.StreamResponse]]

    @property
    def takes_body(self) -> bool:
        """Tell whether the endpoint reads a body."""
        return self.body is not NoBody

    @property
    def takes_query(self) -> bool:
        """Tell whether the endpoint reads parameters."""
        return self.query is not NoQuery


def renamed(
    refused: RefusedError, *, prefix: str = "", names: Mapping[str, str] | None = None
) -> RefusedError:
    """Return the refusal with fields as the body has them: without *prefix*, then by *names*."""
    known = names or {}
    problems = tuple(
        replace(problem, field=known.get(field := problem.field.removeprefix(prefix), field))
        for problem in refused.problems
    )
    return RefusedError(refused.reason, refused.text, refused.message, problems)


def reply(answer: ResponseModel, *, status: HTTPStatus = HTTPStatus.OK) -> web.Response:
    """Return *answer* as JSON."""
    body = dump(answer.rendered()).encode()
    return web.Response(status=status, body=body, content_type="application/json")
