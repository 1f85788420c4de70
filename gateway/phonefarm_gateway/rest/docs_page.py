"""Renders the OpenAPI document as one HTML page without scripts or files from other servers."""

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, Final

_STYLE: Final = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; --mark: #0a6; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 62rem; padding: 1rem; }
h1, h2, h3 { line-height: 1.2; } h2 { border-bottom: 1px solid var(--line); margin-top: 2.5rem; }
code, pre { font: 13px/1.45 ui-monospace, monospace; } code { background: var(--soft); }
pre { background: var(--soft); overflow-x: auto; padding: .7rem; }
table { border-collapse: collapse; margin: .5rem 0; width: 100%; }
td, th { border-top: 1px solid var(--line); padding: .25rem .6rem .25rem 0; text-align: left;
  vertical-align: top; }
details { border: 1px solid var(--line); border-radius: 6px; margin: .5rem 0;
  padding: .5rem .8rem; }
summary { cursor: pointer; } .verb { color: var(--mark); display: inline-block; font-weight: 700;
  min-width: 3.2rem; } .soft { opacity: .75; } a { color: inherit; }
"""
_CODE: Final = re.compile(r"`([^`]*)`")
_PATH_ID: Final = re.compile(r"\{(\w+)\}")

_SOURCE: Final = (
    "<p>The gateway makes this page from <a href='openapi.json'>openapi.json</a>. <a "
    "href='capabilities'>GET /capabilities</a> (send your key) describes the <code>inputs</code> "
    "of each capability, in the field <code>inputs_schema</code>.</p>"
    "<p>The commands work in a shell where <code>FARM</code> is the gateway's URL and "
    "<code>KEY</code> is your key: <code>eval &quot;$(phonefarm env)&quot;</code>. Replace the "
    "values of the example by your own.</p>"
)


def docs_page(document: Mapping[str, Any]) -> str:
    """Return the HTML page."""
    info = document["info"]
    return "".join(
        (
            "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
            "<meta name='viewport' content='width=device-width, initial-scale=1'>",
            f"<title>{escape(info['title'])} REST API</title><style>{_STYLE}</style></head><body>",
            f"<h1>{escape(info['title'])} <span class='soft'>{escape(info['version'])}</span></h1>",
            *(f"<p>{_text(part)}</p>" for part in info["description"].split("\n\n")),
            _SOURCE,
            *_tags(document),
            "<h2 id='webhooks'>What the gateway sends</h2>",
            *_webhooks(document["webhooks"]),
            "<h2 id='schemas'>Schemas</h2>",
            *_schemas(document["components"]["schemas"]),
            "</body></html>",
        )
    )


def _tags(document: Mapping[str, Any]) -> Iterator[str]:
    for tag in document["tags"]:
        yield f"<h2>{escape(tag['name'])}</h2><p>{_text(tag['description'])}</p>"
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                if tag["name"] in operation["tags"]:
                    curl = _curl(method, path, operation)
                    yield from _operation(method, path, operation, curl=curl)


def _webhooks(webhooks: Mapping[str, Any]) -> Iterator[str]:
    for name, methods in webhooks.items():
        for method, operation in methods.items():
            yield from _operation(method, name, operation)


def _curl(method: str, path: str, operation: Mapping[str, Any]) -> str | None:
    """Return a command for a shell where FARM, KEY and the path's ids are set.

    None for a WebSocket, and for a body without an example.
    """
    body = operation.get("requestBody")
    example = next(iter(body["content"].values())).get("example") if body else None
    if "101" in operation["responses"] or (body and body["required"] and example is None):
        return None
    url = _PATH_ID.sub(lambda name: f"${name[1].upper()}", path)
    words = [f'curl -sS --fail-with-body "$FARM{url}"']
    if method != ("get" if example is None else "post"):
        words.append(f"-X {method.upper()}")
    if operation["security"]:
        words.append('-H "Authorization: Bearer $KEY"')
    if example is not None:
        text = json.dumps(example, indent=1)
        words += ['-H "Content-Type: application/json"', f"-d {shlex.quote(text)}"]
    return " \\\n  ".join(words)


def _operation(
    method: str, path: str, operation: Mapping[str, Any], *, curl: str | None = None
) -> Iterator[str]:
    yield f"<details id='{escape(operation['operationId'])}'><summary>"
    yield f"<span class='verb'>{method.upper()}</span> <code>{escape(path)}</code> "
    yield f"{escape(operation['summary'])}</summary>"
    if about := operation.get("description"):
        yield f"<p>{_text(about)}</p>"
    if parameters := operation.get("parameters"):
        yield "<table><tr><th>Parameter</th><th>In</th><th>Type</th><th></th></tr>"
        for one in parameters:
            yield (
                f"<tr><td><code>{escape(one['name'])}</code></td><td>{one['in']}</td>"
                f"<td>{_kind(one['schema'])}</td><td>{_text(one.get('description', ''))}</td></tr>"
            )
        yield "</table>"
    if body := operation.get("requestBody"):
        (media,) = body["content"].values()
        yield f"<p>Body: {_kind(media['schema'])}</p>"
        if "example" in media and not curl:
            yield f"<pre>{escape(json.dumps(media['example'], indent=1))}</pre>"
    if curl:
        yield f"<pre>{escape(curl)}</pre>"
    yield "<table><tr><th>Status</th><th></th><th>Response</th></tr>"
    for code, answer in operation["responses"].items():
        kinds = [
            f"{_kind(media['schema'])} <span class='soft'>{escape(kind)}</span>"
            for kind, media in answer.get("content", {}).items()
        ]
        yield (
            f"<tr><td>{code}</td><td>{_text(answer['description'])}</td>"
            f"<td>{'<br>'.join(kinds)}</td></tr>"
        )
    yield "</table></details>"


def _schemas(schemas: Mapping[str, Any]) -> Iterator[str]:
    for name, schema in schemas.items():
        yield f"<details id='schema-{escape(name)}'><summary><code>{escape(name)}</code> "
        yield f"{_text(schema.get('description', ''))}</summary>"
        if schema.get("type") != "object":
            yield f"<p>{_kind(schema)}</p></details>"
            continue
        yield "<table>"
        required = schema.get("required", ())
        for field, kind in schema.get("properties", {}).items():
            need = "" if field in required else " <span class='soft'>optional</span>"
            yield (
                f"<tr><td><code>{escape(field)}</code>{need}</td><td>{_kind(kind)}</td>"
                f"<td>{_text(kind.get('description', ''))}</td></tr>"
            )
        yield "</table></details>"


def _kind(schema: Mapping[str, Any]) -> str:
    """Return a value's type in a few words, with links to other schemas."""
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        return f"<a href='#schema-{escape(name)}'>{escape(name)}</a>"
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return " or ".join(_kind(one) for one in schema[several])
    if "enum" in schema:
        return " | ".join(f"<code>{escape(str(one))}</code>" for one in schema["enum"])
    if "const" in schema:
        return f"<code>{escape(json.dumps(schema['const']))}</code>"
    kind = str(schema.get("type", "anything"))
    if kind == "array":
        kind = f"list of {_kind(schema.get('items', {}))}"
    limits = [
        f"{word} {schema[key]}"
        for key, word in _LIMITS.items()
        if key in schema and not isinstance(schema[key], dict)
    ]
    shown = f"{kind} ({schema['format']})" if "format" in schema else kind
    return f"{shown} <span class='soft'>{escape(', '.join(limits))}</span>" if limits else shown


_LIMITS: Final = {
    "minimum": "from",
    "maximum": "to",
    "minLength": "characters: at least",
    "maxLength": "characters: at most",
    "minItems": "items: at least",
    "maxItems": "items: at most",
    "default": "default",
}


def _text(text: str) -> str:
    return _CODE.sub(r"<code>\1</code>", escape(text, quote=False))
