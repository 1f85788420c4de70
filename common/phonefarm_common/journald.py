"""Logs to journald with values as fields, so that `journalctl RUN_ID=..` finds events.

The text is what `journalctl` prints: the event and its values. The native protocol is
logging-journald's; see systemd.journal-fields(7) for what a field may be called.
"""

import json
import re
import sys
from collections.abc import MutableMapping
from typing import Any

from logging_journald import Facility, JournaldTransport, check_journal_stream

_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
_NOT_IN_NAMES = re.compile(r"[^A-Z0-9_]")
_LONGEST_NAME = 64
_RESERVED = frozenset({"MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER", "SYSLOG_FACILITY"})


def stderr_is_journald() -> bool:
    """Tell whether this program's stderr goes to journald (JOURNAL_STREAM, systemd.exec(5))."""
    try:
        return bool(check_journal_stream()) and JournaldTransport.SOCKET_PATH.exists()
    except (OSError, ValueError):
        return False


class JournaldLogger:
    """A structlog logger that writes to journald.

    Never waits: an event that journald does not take at once goes to stderr, or is lost with it.
    """

    def __init__(self, program: str, transport: JournaldTransport | None = None) -> None:
        self._identifier = f"phonefarm-{program}"
        # Addressed anew each time: journald makes its socket again when it is started again.
        self._transport = transport or JournaldTransport(connected=False)
        self._transport.socket.setblocking(False)

    def msg(self, **event: Any) -> None:
        """Log one event."""
        fields = fields_of(event) | {
            "SYSLOG_IDENTIFIER": self._identifier,
            "SYSLOG_FACILITY": str(int(Facility.DAEMON)),
        }
        try:
            self._transport.send(fields.items())
        except OSError as error:
            sys.stderr.write(f"journald refused an event ({error}): {fields['MESSAGE']}\n")

    debug = info = warning = error = critical = exception = log = msg


def fields_of(event: MutableMapping[str, Any]) -> dict[str, str]:
    """Return an event's journald fields: MESSAGE, PRIORITY, and one for each value."""
    level = str(event.get("level", "info"))
    name = str(event.get("event", ""))
    values = {
        key: _text(value)
        for key, value in event.items()
        if key not in {"event", "level", "exception", "program"}
    }
    message = " ".join([name, *(f"{key}={value}" for key, value in values.items())])
    if "exception" in event:
        message += f"\n{event['exception']}"
    fields = {_name(key): value for key, value in values.items()}
    return fields | {
        "MESSAGE": message,
        "PRIORITY": str(_PRIORITIES.get(level, 6)),
        "EVENT": name,
    }


def _name(key: str) -> str:
    """Return the journald field for *key*, with a prefix where journald would drop it."""
    name = _NOT_IN_NAMES.sub("_", key.upper())
    if name in _RESERVED or not name[:1].isalpha():
        name = f"F_{name}"
    return name[:_LONGEST_NAME]


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, default=str)
    except (TypeError, ValueError):
        return repr(value)
