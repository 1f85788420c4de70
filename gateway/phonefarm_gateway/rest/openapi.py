"""Makes the OpenAPI 3.1 document from the endpoints and their models."""

import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from importlib.metadata import version
from typing import Any, Final

from phonefarm.schemas.alert_event import AlertsChanged
from phonefarm.schemas.callback_event import ProcessUpdated
from phonefarm.schemas.fields import ResponseModel
from phonefarm.schemas.responses import ProblemDocument
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from phonefarm_gateway.rest.endpoint import Endpoint, ResponseSpec
from phonefarm_gateway.rest.openapi_callbacks import webhooks
from phonefarm_gateway.rest.openapi_capabilities import by_capability

_REF: Final = "#/components/schemas/{model}"
_PROBLEM: Final = "application/problem+json"
_PATH_ID: Final = re.compile(r"\{(\w+)\}")
_TAGS: Final = {
    "Work": "Enqueue work, and cancel it.",
    "Content": "Videos to post, and personas of accounts.",
    "Processes": "The state, history and evidence of work.",
    "Callbacks": "How the farm delivers events to callers.",
    "Farm": "Capabilities, and the whole farm's event stream, health and audit.",
    "Phones": "Phones, and what operators do to them.",
    "Screens": "Phones' screens, live and as pictures, and the input of people who hold phones.",
    "Accounts": "Accounts and groups.",
    "Hosts": "Agents, their incidents, and invitations.",
    "Schedules": "Work that recurs.",
    "Operation": "Pauses, windows, limits, verifications and API keys.",
    "Console": "Login to and logout from the web console at /console.",
    "Service": "The gateway itself.",
}
_ABOUT: Final = """\
The control plane for farms of Android phones.

Send `Authorization: Bearer KEY`. The gateway does not coerce JSON types. It ignores unknown keys \
in a body, but refuses unknown query parameters. Text must not contain NUL characters or unpaired \
surrogates. Values can be nested up to 64 levels deep. Errors are problem documents (RFC 9457). \
Their `error` field is for programs, and their `errors` field names each wrong field."""

_COMMON: Final[Mapping[HTTPStatus, str]] = {
    HTTPStatus.BAD_REQUEST: (
        "`two_credentials`: the request has both a key and the console's cookie"
    ),
    HTTPStatus.UNAUTHORIZED: "`unauthenticated`: the key is missing or wrong",
    HTTPStatus.FORBIDDEN: "`insufficient_scope:<scope>`: the key lacks this scope; "
    "`foreign_origin`: a page on another site used the console's cookie",
    HTTPStatus.TOO_MANY_REQUESTS: (
        "`rate_limited`: wait for the number of seconds in the Retry-After header"
    ),
    HTTPStatus.INTERNAL_SERVER_ERROR: (
        "`no_secret_configured`; `internal`: `detail` contains the id of the log line with the "
        "cause"
    ),
    HTTPStatus.SERVICE_UNAVAILABLE: (
        "`controller_unavailable`, `storage_full`, `evidence_away`, `gateway_token_refused`: try "
        "again; the farm may or may not have carried out the request, and you can safely repeat it"
    ),
}
_OF_BODIES: Final[Mapping[HTTPStatus, str]] = {
    HTTPStatus.REQUEST_TIMEOUT: "`body_too_slow`",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "`body_too_large`: the limit is 1 MiB",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "`unsupported_media_type`: send JSON in UTF-8",
    HTTPStatus.UNPROCESSABLE_ENTITY: "`invalid_request`, `invalid_request:malformed_json`",
}
_PATH_IDS: Final[Mapping[str, Mapping[str, Any]]] = {
    "process_id": {"type": "string", "format": "uuid"},
    "queue_item_id": {"type": "string", "format": "uuid"},
    "evidence_id": {"type": "string", "format": "uuid"},
    **{
        name: {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$"}
        for name in (
            *("account_id", "phone_id", "agent_id", "gateway_id"),
            *("group", "capability", "key_name", "schedule"),
        )
    },
}
_UUIDS: Final = frozenset({"process_id", "queue_item_id", "evidence_id"})
_UNKNOWN_ID: Final = {
    "process_id": "`unknown_process`",
    "queue_item_id": "`unknown_queue_item`",
    "evidence_id": "`unknown_evidence`",
    "phone_id": "`unknown_phone:<id>`",
    "agent_id": "`unknown_member:<id>`",
    "gateway_id": "`unknown_member:<id>`",
    "key_name": "`unknown_key:<name>`",
    "schedule": "`unknown_schedule:<name>`",
}


def openapi_document(endpoints: Iterable[Endpoint[Any, Any]]) -> dict[str, Any]:
    """Return the OpenAPI document."""
    endpoints = tuple(endpoints)
    refs, components = _schemas(endpoints)
    components = by_capability(components)
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        operation = _operation(endpoint, refs)
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Phonefarm",
            "version": version("phonefarm"),
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "."}],
        "tags": [{"name": name, "description": about} for name, about in _TAGS.items()],
        "paths": paths,
        "webhooks": webhooks(refs),
        "components": {
            "schemas": components,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _schemas(
    endpoints: tuple[Endpoint[Any, Any], ...],
) -> tuple[dict[type[BaseModel], dict[str, Any]], dict[str, Any]]:
    """Return a reference for each model, and the schemas of all by name."""
    bodies = {endpoint.body: None for endpoint in endpoints if endpoint.takes_body}
    answers: dict[type[ResponseModel], None] = dict.fromkeys(
        (ProblemDocument, ProcessUpdated, AlertsChanged)
    )
    for endpoint in endpoints:
        for says in endpoint.answers.values():
            answers.update(dict.fromkeys((*says.models, *says.events.values())))
    refs, defs = models_json_schema(
        [
            *((body, "validation") for body in bodies),
            *((answer, "serialization") for answer in answers),
        ],
        ref_template=_REF,
    )
    by_model = {
        model: schema
        for (model, _), schema in refs.items()
        if isinstance(model, type) and issubclass(model, BaseModel)
    }
    return by_model, dict(sorted(defs["$defs"].items()))


def _operation(
    endpoint: Endpoint[Any, Any], refs: Mapping[type[BaseModel], Mapping[str, Any]]
) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": endpoint.name,
        "tags": [endpoint.tag],
        "summary": endpoint.summary,
    }
    scope = f"Scope: `{endpoint.scope}`." if endpoint.scope else ""
    if about := " ".join(part for part in (endpoint.about, scope) if part):
        operation["description"] = about
    operation["security"] = [{"key": []}] if endpoint.scope else []
    if parameters := [
        *_path_parameters(endpoint),
        *_query_parameters(endpoint),
        *_headers(endpoint),
    ]:
        operation["parameters"] = parameters
    if endpoint.takes_body:
        media: dict[str, Any] = {"schema": refs[endpoint.body]}
        if endpoint.example is not None:
            media["example"] = endpoint.example
        operation["requestBody"] = {
            "required": not endpoint.body_optional,
            "content": {"application/json": media},
        }
    answers = {str(int(code)): _answer(says, refs) for code, says in endpoint.answers.items()}
    problems = {
        str(int(code)): _problem(code, about, refs) for code, about in _problems(endpoint).items()
    }
    operation["responses"] = answers | problems
    return operation


def _path_parameters(endpoint: Endpoint[Any, Any]) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": _PATH_IDS[name]}
        for name in _PATH_ID.findall(endpoint.path)
    ]


def _query_parameters(endpoint: Endpoint[Any, Any]) -> list[dict[str, Any]]:
    schema = endpoint.query.model_json_schema(mode="validation", by_alias=True)
    parameters = []
    for name, given in schema.get("properties", {}).items():
        described = {key: value for key, value in given.items() if key != "title"}
        # A parameter is text or absent: there is no null to send.
        kinds = [kind for kind in described.pop("anyOf", ()) if kind != {"type": "null"}]
        for kind in kinds:
            described |= kind
        if described.get("default", ...) is None:
            del described["default"]
        about = described.pop("description", None)
        parameter = {"name": name, "in": "query", "required": False, "schema": described}
        parameters.append(parameter | ({"description": about} if about else {}))
    return parameters


def _headers(endpoint: Endpoint[Any, Any]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "header",
            "required": False,
            "description": header.about,
            "schema": dict(header.schema),
        }
        for name, header in endpoint.request_headers.items()
    ]


def _answer(
    says: ResponseSpec, refs: Mapping[type[BaseModel], Mapping[str, Any]]
) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": says.about}
    if says.headers:
        answer["headers"] = {
            name: {"description": about, "schema": {"type": "string"}}
            for name, about in says.headers.items()
        }
    if says.models and says.media_types == ("application/json",):
        schemas = [refs[model] for model in says.models]
        media: dict[str, Any] = {"schema": schemas[0] if len(schemas) == 1 else {"anyOf": schemas}}
        if says.example is not None:
            media["example"] = says.example
        answer["content"] = {"application/json": media}
    elif says.events:
        events = {name: refs[model] for name, model in says.events.items()}
        answer["content"] = {
            kind: {"schema": {"type": "string"}, "x-event-data": events}
            for kind in says.media_types
        }
    elif says.media_types:
        answer["content"] = {kind: {"schema": {}} for kind in says.media_types}
    if says.links:
        answer["links"] = {
            link.operation_id: {
                "operationId": link.operation_id,
                "parameters": dict(link.parameters),
                **({"requestBody": dict(link.body)} if link.body else {}),
            }
            for link in says.links
        }
    return answer


def _problems(endpoint: Endpoint[Any, Any]) -> dict[HTTPStatus, str]:
    """Return every failure of *endpoint*, with the values of `error`."""
    found: dict[HTTPStatus, str] = {}
    if endpoint.scope is not None:
        found |= _COMMON
    names = _PATH_ID.findall(endpoint.path)
    unknown = [_UNKNOWN_ID[name] for name in names if name in _UNKNOWN_ID]
    if unknown:
        found[HTTPStatus.NOT_FOUND] = ", ".join(unknown)
    if endpoint.takes_query or not _UUIDS.issuperset(names):
        found[HTTPStatus.UNPROCESSABLE_ENTITY] = "`invalid_request`"
    if endpoint.takes_body:
        found |= _OF_BODIES
    for code, about in endpoint.problems.items():
        found[code] = f"{found[code]}, {about}" if code in _SUMMED and code in found else about
    return dict(sorted(found.items()))


_SUMMED: Final = frozenset({HTTPStatus.NOT_FOUND})


def _problem(
    code: HTTPStatus, about: str, refs: Mapping[type[BaseModel], Mapping[str, Any]]
) -> dict[str, Any]:
    problem: dict[str, Any] = {
        "description": about,
        "content": {_PROBLEM: {"schema": refs[ProblemDocument]}},
    }
    match code:
        case HTTPStatus.UNAUTHORIZED:
            problem["headers"] = {"WWW-Authenticate": {"schema": {"const": "Bearer"}}}
        case HTTPStatus.TOO_MANY_REQUESTS | HTTPStatus.SERVICE_UNAVAILABLE:
            seconds = {"type": "integer", "minimum": 1}
            problem["headers"] = {"Retry-After": {"description": "Seconds", "schema": seconds}}
        case _:
            pass
    return problem
