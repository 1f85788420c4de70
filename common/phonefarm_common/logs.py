"""One way to log: fields in journald, JSON lines on stderr, or readable lines on a terminal."""

import logging
import os
import sys
from collections.abc import Callable, MutableMapping
from typing import Any

import structlog


def configure_logs(*, program: str, level: str = "info") -> None:
    """Send every event to stderr, or to journald where that is what stderr is.

    `program` is bound to each line.
    """
    to_journald = _journald(program)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            *([] if to_journald else [structlog.processors.TimeStamper(fmt="iso", utc=True)]),
            structlog.processors.format_exc_info,
            _as_it_is if to_journald else _renderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        logger_factory=to_journald or structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(program=program)


def _journald(program: str) -> Callable[..., Any] | None:
    """Return what makes loggers that write to journald; None when stderr goes elsewhere."""
    if "JOURNAL_STREAM" not in os.environ:
        return None
    from phonefarm_common import journald  # noqa: PLC0415 - nobody else needs its library

    return (lambda *_: journald.JournaldLogger(program)) if journald.stderr_is_journald() else None


def _renderer() -> Any:
    if sys.stderr.isatty():
        return structlog.dev.ConsoleRenderer()
    return structlog.processors.JSONRenderer()


def _as_it_is(
    logger: Any, method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Hand the event to the logger as keyword arguments, which is what a mapping means."""
    return event
