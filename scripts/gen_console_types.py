"""Writes the types that the console's scripts are checked with, from the REST API's models.

scripts/gen_console_types.py          writes them
scripts/gen_console_types.py --check  ends with 1 when they are not up to date
"""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from phonefarm_gateway.rest.openapi import openapi_document
from phonefarm_gateway.routes.table import ENDPOINTS

TYPES = (
    Path(__file__).resolve().parent.parent
    / "gateway"
    / "phonefarm_gateway"
    / "console"
    / "static"
    / "rest.d.ts"
)
HEAD = "// Made by scripts/gen_console_types.py (`make protos`) from the REST API's models.\n"


def typed(schema: Mapping[str, Any]) -> str:
    """Return a JSON Schema as a type of TypeScript."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return " | ".join(dict.fromkeys(typed(one) for one in schema[several]))
    if "const" in schema:
        return json.dumps(schema["const"])
    match schema.get("type"):
        case [*kinds]:
            return " | ".join(typed({**schema, "type": kind}) for kind in kinds)
        case "string" | "boolean" | "null":
            # An enum grows with the controller; what checks values is the server.
            return str(schema["type"])
        case "integer" | "number":
            return "number"
        case "array":
            kind = typed(schema.get("items", {}))
            return f"({kind})[]" if "|" in kind else f"{kind}[]"
        case _:
            return "Record<string, any>"


def lines(schemas: Mapping[str, Any]) -> Iterator[str]:
    """Yield the file, an interface for each object."""
    yield HEAD
    for name, schema in sorted(schemas.items()):
        if schema.get("type") != "object":
            yield f"export type {name} = {typed(schema)};\n"
            continue
        required = schema.get("required", ())
        yield f"export interface {name} {{"
        for field, kind in schema.get("properties", {}).items():
            yield f"  {json.dumps(field)}{'' if field in required else '?'}: {typed(kind)};"
        yield "}\n"


def main() -> int:
    """Write or check the file."""
    text = "\n".join(lines(openapi_document(ENDPOINTS)["components"]["schemas"]))
    if "--check" not in sys.argv[1:]:
        TYPES.write_text(text)
    elif not TYPES.exists() or TYPES.read_text() != text:
        print(f"{TYPES.name} is not what the models make")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
