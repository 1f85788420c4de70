"""The colours of states: green works, cyan is at work, yellow waits for someone, red is wrong.

NO_COLOR switches all colours off (https://no-color.org); rich reads it.
"""

from collections.abc import Mapping
from typing import Final

_GREEN: Final = "green"
_CYAN: Final = "cyan"
_YELLOW: Final = "yellow"
_RED: Final = "red"
_DIM: Final = "dim"

_STYLES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("free", "online", "ready", "good", "ok", "yes", "in_service"), _GREEN),
    **dict.fromkeys(("completed", "done", "delivered", "passed", "succeeded"), _GREEN),
    **dict.fromkeys(("busy", "executing", "claimed", "leased", "releasing", "live"), _CYAN),
    **dict.fromkeys(("pending", "queued", "scheduled", "planned", "preparing"), _DIM),
    **dict.fromkeys(("retrying", "retryable", "cancelled", "stopped", "suspect"), _YELLOW),
    **dict.fromkeys(("not_admitted", "new", "draining", "in_maintenance", "maintenance"), _YELLOW),
    **dict.fromkeys(("cooling", "cooling_down", "not_offered", "partial", "no"), _YELLOW),
    **dict.fromkeys(("failed", "failed_terminal", "dead_letter", "dead", "quarantined"), _RED),
    **dict.fromkeys(("dirty", "unfit", "offline", "absent", "unauthorized", "retired"), _RED),
    **dict.fromkeys(("needs_hands", "needs_attention", "host_incident", "refused"), _RED),
    **dict.fromkeys(("agent_disconnected", "no_permission"), _RED),
}


def style_of(state: str) -> str:
    """Return the style of a state, in capitals or not; '' for a word without a colour."""
    return _STYLES.get(state.lower(), "")
