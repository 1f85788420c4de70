"""What a loop does with a fault of its own round: tell it whole and look again.

A fault that one row provokes would come back with every restart: a controller that died of it would
take all other work along, for ever.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from phonefarm_controller.model.errors import DatabaseBusyError, OwnerLostError

log = structlog.get_logger()


@contextmanager
def enduring(loop: str) -> Iterator[None]:
    """Log what the body raises and go on behind it; cancellation passes."""
    try:
        yield
    except DatabaseBusyError as error:
        log.warning("loop.delayed", loop=loop, error=str(error))
    except OwnerLostError as error:
        log.warning("loop.superseded", loop=loop, error=str(error))
    except Exception:
        log.exception("loop.crashed", loop=loop)
