"""Writes the inputs of each capability for the gateway's OpenAPI document, from the controller's.

scripts/gen_capability_inputs.py          writes them
scripts/gen_capability_inputs.py --check  ends with 1 when they are not up to date
"""

import json
import sys
from pathlib import Path

from phonefarm_controller.capabilities.catalog import CAPABILITIES, ENQUEUE

ROOT = Path(__file__).resolve().parent.parent
INPUTS = ROOT / "gateway" / "phonefarm_gateway" / "rest" / "capability_inputs.json"


def main() -> int:
    """Write or check the file."""
    schemas = {
        one.name: one.schema(dummy_allowed=False)
        for one in sorted(CAPABILITIES.values(), key=lambda each: each.name)
        if one.endpoint == ENQUEUE
    }
    text = json.dumps(schemas, indent=1) + "\n"
    if "--check" not in sys.argv[1:]:
        INPUTS.write_text(text)
    elif not INPUTS.exists() or INPUTS.read_text() != text:
        print(f"{INPUTS.name} is not what the controller's capabilities take")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
