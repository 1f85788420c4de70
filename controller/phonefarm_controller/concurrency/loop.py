"""Loops survive the errors of one iteration: they log it and go on.

An error that one row provokes would come back after every restart: a controller that died of it
would stop all other work, for ever.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from phonefarm_controller.model.errors import DatabaseBusyError, OwnerLostError

log = structlog.get_logger()


@contextmanager
def logged_errors(loop: str) -> Iterator[None]:
    """Log what the body raises and go on after it; cancellation passes."""
    try:
        yield
    except DatabaseBusyError as error:
        log.warning("loop.delayed", loop=loop, error=str(error))
    except OwnerLostError as error:
        log.warning("loop.superseded", loop=loop, error=str(error))
    except Exception:
        log.exception("loop.crashed", loop=loop)
