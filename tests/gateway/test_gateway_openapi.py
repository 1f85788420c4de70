"""The published description: valid, whole, of the same models that check; readable offline."""

import re
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin

import pytest
from gateway.support.farm import farm
from gateway.support.published import check_schema, published
from openapi_spec_validator import OpenAPIV31SpecValidator
from phonefarm_gateway.rest.endpoint import Endpoint
from phonefarm_gateway.routes.table import ENDPOINTS

OPERATIONS = [
    (method, path, operation)
    for path, methods in published()["paths"].items()
    for method, operation in methods.items()
]
NAMES = [operation["operationId"] for _, _, operation in OPERATIONS]


def test_it_is_openapi_3_1() -> None:
    """A validator of the specification finds nothing."""
    assert not list(OpenAPIV31SpecValidator(published()).iter_errors())


def test_its_server_is_where_the_document_is() -> None:
    """Also behind a proxy that adds a prefix to the path (OpenAPI 3.1, "Server Object")."""
    (server,) = published()["servers"]

    assert urljoin("https://h/farm/openapi.json", server["url"]) == "https://h/farm/"


async def test_it_is_served_to_everybody() -> None:
    """Without a key, and as this program makes it."""
    async with farm() as it:
        answer = await it.call("GET", "/openapi.json", key=None)

        assert (answer.status, answer.body) == (200, published())


async def test_exactly_the_published_routes_are_registered() -> None:
    """Nothing is served that is not published, nothing published that is not served."""
    async with farm() as it:
        for method, path, operation in OPERATIONS:
            concrete = re.sub(r"\{\w+\}", "6f1c2f0e-8f0f-4c55-9d55-0f6a1a2b3c4d", path)
            answer = await it.call("PATCH", concrete)
            assert answer.status == 405, path
            allowed = set(answer.headers["Allow"].split(","))
            assert method.upper() in allowed, operation["operationId"]

    assert len(OPERATIONS) == len(ENDPOINTS)
    assert len(set(NAMES)) == len(NAMES)


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS, ids=NAMES)
def test_every_operation_says_how_it_fails(
    method: str, path: str, operation: dict[str, Any]
) -> None:
    """Keys are asked for where there is a scope; problems are problem documents."""
    endpoint: Endpoint[Any, Any] = next(
        one for one in ENDPOINTS if one.name == operation["operationId"]
    )

    assert bool(operation["security"]) == (endpoint.scope is not None)
    if endpoint.scope is not None:
        assert {"401", "403", "429", "500", "503"} <= set(operation["responses"])
    for code, answer in operation["responses"].items():
        assert answer["description"]
        if code >= "4":
            assert list(answer["content"]) == ["application/problem+json"]
    if "{process_id}" in path:
        assert "unknown_process" in operation["responses"]["404"]["description"]
    assert method.upper() == endpoint.method


@pytest.mark.parametrize(
    ("endpoint"), [one for one in ENDPOINTS if one.example], ids=lambda one: str(one.name)
)
def test_examples_fit_what_is_published(endpoint: Endpoint[Any, Any]) -> None:
    """The example of a body is valid by its published schema and by the model that checks."""
    operation = published()["paths"][endpoint.path][endpoint.method.lower()]
    media = operation["requestBody"]["content"]["application/json"]

    check_schema(media["schema"], media["example"])
    assert endpoint.body.model_validate(media["example"])


def test_links_lead_to_operations_and_their_parameters() -> None:
    """A link names an operation there is, and gives only parameters it takes."""
    by_name = {operation["operationId"]: operation for _, _, operation in OPERATIONS}
    found = 0
    for operation in by_name.values():
        for answer in operation["responses"].values():
            for link in answer.get("links", {}).values():
                taken = {one["name"] for one in by_name[link["operationId"]].get("parameters", ())}
                assert set(link["parameters"]) <= taken
                found += 1
    assert found


class _Page(HTMLParser):
    """Collects what a page loads, links to, and names."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.names: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note one element."""
        self.tags.append(tag)
        if tag not in {"meta", "br"}:  # those have no end
            self.open.append(tag)
        given = dict(attrs)
        assert not {"src", "onclick", "onload"} & set(given)
        if given.get("href"):
            self.links.append(str(given["href"]))
        if given.get("id"):
            self.names.append(str(given["id"]))

    def handle_endtag(self, tag: str) -> None:
        """Elements close in order."""
        assert self.open.pop() == tag


async def test_the_page_is_whole_and_loads_nothing() -> None:
    """Every operation and schema is on it, each link leads somewhere, no script, no request."""
    async with farm() as it:
        answer = await it.call("GET", "/docs", key=None)
    page = _Page()
    page.feed(answer.body.decode())

    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert "//" not in re.sub(r"https://example\.com", "", answer.body.decode())
    inside = [link.removeprefix("#") for link in page.links if link.startswith("#")]
    assert set(inside) <= set(page.names)
    assert {link for link in page.links if not link.startswith("#")} == {
        "openapi.json",
        "capabilities",
    }
    assert set(NAMES) <= set(page.names)
    schemas = {f"schema-{name}" for name in published()["components"]["schemas"]}
    assert schemas <= set(page.names)
    assert page.open == []
