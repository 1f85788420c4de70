"""Loops survive the errors of one iteration: they log them and go on.

An error that one row provokes would come back after every restart: a controller that died of it
would stop all other work, for ever.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import structlog

from phonefarm_controller.alarms import Liveness
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


async def every(
    period: float, name: str, *work: Callable[[], Awaitable[object]], liveness: Liveness
) -> None:
    """Do each *work* now, and again *period* seconds after its end, until cancelled.

    An error of one keeps back neither the others nor the next time.
    """
    while True:
        liveness.beat()
        for do in work:
            with logged_errors(name):
                await do()
        await asyncio.sleep(period)
