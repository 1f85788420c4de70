"""Configures logging: to journald, as JSON lines, or readable on a terminal."""

import logging
import os
import sys
from collections.abc import Callable, MutableMapping
from typing import Any, Final

import structlog

_FIRST: Final = ("timestamp", "level", "program", "event")


def configure_logs(*, program: str, level: str = "info") -> None:
    """Log to stderr, or to journald when stderr is connected to it.

    `program` is bound to each line.
    """
    to_journald = _journald(program)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            *([] if to_journald else [structlog.processors.TimeStamper(fmt="iso", utc=True)]),
            structlog.processors.format_exc_info,
            _in_order,
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
    """Return a factory of journald loggers; None when stderr goes elsewhere."""
    if "JOURNAL_STREAM" not in os.environ:
        return None
    from phonefarm_common import journald  # noqa: PLC0415 - nobody else needs its library

    return (lambda *_: journald.JournaldLogger(program)) if journald.stderr_is_journald() else None


def _renderer() -> Any:
    if sys.stderr.isatty():
        return structlog.dev.ConsoleRenderer()
    return structlog.processors.JSONRenderer()


def _in_order(
    logger: Any, method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Put first what people look for first."""
    return {name: event[name] for name in _FIRST if name in event} | dict(event)


def _as_it_is(
    logger: Any, method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Pass the event to the logger as keyword arguments."""
    return event
