"""The paths of the agent's service on its host."""

from pathlib import Path
from typing import Final

from phonefarm_common.service.paths import Service

AGENT: Final = Service(program="agent")
RULES: Final = Path(f"/etc/udev/rules.d/60-{AGENT.name}.rules")
READY: Final = Path(f"/run/{AGENT.name}/ready.json")

LONGEST_STATE: Final = 53
"""The longest state path in bytes, because socket paths are limited (unix(7), 108 bytes)."""
