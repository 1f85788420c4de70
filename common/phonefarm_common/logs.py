"""One way to log: fields in journald, JSON lines on stderr, or readable lines on a terminal."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from phonefarm_common.journal import JournaldLogger, stderr_is_journald


def configure_logs(*, program: str, level: str = "info") -> None:
    """Send every event to stderr, or to journald where that is what stderr is.

    `program` is bound to each line.
    """
    to_journald = stderr_is_journald()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            *([] if to_journald else [structlog.processors.TimeStamper(fmt="iso", utc=True)]),
            structlog.processors.format_exc_info,
            _renderer(to_journald=to_journald),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        logger_factory=(
            (lambda *_: JournaldLogger(program))
            if to_journald
            else structlog.PrintLoggerFactory(file=sys.stderr)
        ),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(program=program)


def _renderer(*, to_journald: bool) -> Any:
    if to_journald:
        return _as_it_is
    if sys.stderr.isatty():
        return structlog.dev.ConsoleRenderer()
    return structlog.processors.JSONRenderer()


def _as_it_is(
    logger: Any, method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Hand the event to the logger as keyword arguments, which is what a mapping means."""
    return event
