"""Every answer a test sees is held against what /openapi.json publishes."""

import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker
from phonefarm_gateway.rest.openapi import openapi_document
from phonefarm_gateway.routes.table import ENDPOINTS

# What a server may always answer: no such path, no such method.
ALWAYS = {404, 405}


@cache
def published() -> dict[str, Any]:
    """Return the document, as it goes over the wire."""
    document: dict[str, Any] = json.loads(json.dumps(openapi_document(ENDPOINTS)))
    return document


def operation_of(method: str, path: str) -> dict[str, Any] | None:
    """Return the published operation that a request meets, None when there is none."""
    bare = path.partition("?")[0]
    wanted = "get" if method == "HEAD" else method.lower()
    for template, methods in published()["paths"].items():
        pattern = re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(template))
        if re.fullmatch(pattern, bare) and wanted in methods:
            operation: dict[str, Any] = methods[wanted]
            return operation
    return None


def check_published(
    method: str, path: str, status: int, headers: Mapping[str, str], body: Any
) -> None:
    """Raise AssertionError unless the answer is one that is published, to the last key."""
    operation = operation_of(method, path)
    if operation is None:
        assert status in ALWAYS, (method, path, status)
        return
    answers = operation["responses"]
    assert str(status) in answers, f"{method} {path} answers {status}, which is not published"
    content = answers[str(status)].get("content", {})
    kind = headers.get("Content-Type", "").partition(";")[0].strip()
    assert not content or kind in content, f"{method} {path} {status}: {kind} is not published"
    if method != "HEAD" and kind.endswith("json") and content:
        check_schema(content[kind]["schema"], body)


def check_schema(schema: Mapping[str, Any], value: Any) -> None:
    """Raise AssertionError unless *value* is what *schema*, of the document, says."""
    whole = {**schema, "components": published()["components"]}
    validator = Draft202012Validator(whole, format_checker=FormatChecker())
    wrong = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)]
    assert not wrong, wrong
