"""Describes the body of an enqueue for each capability, told apart by `capability`.

The inputs are those of the controller of the same release: scripts/gen_capability_inputs.py writes
them. What this farm takes is in GET /capabilities.
"""

import json
from collections.abc import Mapping
from importlib import resources
from typing import Any, Final

INPUTS: Final[dict[str, Any]] = json.loads(
    (resources.files("phonefarm_gateway.rest") / "capability_inputs.json").read_text()
)
"""The JSON Schema of the inputs of each capability that callers enqueue."""
_REF: Final = "#/components/schemas/"


def by_capability(components: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schemas, with an Enqueue for each capability in place of the one for all."""
    enqueue = components["Enqueue"]
    # POST /maintenance/requests takes the inputs of its capability: they replace the model of its
    # body, which knows less, and that of its steps.
    found: dict[str, Any] = {name: one for name, one in components.items() if name != "Step"}
    mapping = {}
    for capability, inputs in INPUTS.items():
        name = "".join(word.title() for word in capability.split("_"))
        found[f"{name}Inputs"] = {
            **{key: value for key, value in inputs.items() if key != "$schema"},
            "title": f"{name}Inputs",
            "description": f"The inputs of {capability}.",
        }
        found[f"Enqueue{name}"] = enqueue | {
            "title": f"Enqueue{name}",
            "description": f"A request for {capability}.",
            "properties": enqueue["properties"]
            | {
                "capability": {"type": "string", "const": capability, "title": "Capability"},
                "inputs": {"$ref": f"{_REF}{name}Inputs"},
            },
        }
        mapping[capability] = f"{_REF}Enqueue{name}"
    found["Enqueue"] = {
        "title": "Enqueue",
        "description": enqueue["description"],
        "oneOf": [{"$ref": ref} for ref in mapping.values()],
        "discriminator": {"propertyName": "capability", "mapping": mapping},
    }
    return dict(sorted(found.items()))
