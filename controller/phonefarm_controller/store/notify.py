"""Sends wake-ups between controllers on one PostgreSQL, by LISTEN and NOTIFY.

The notification goes on a connection of its own, after the commit it tells of: a NOTIFY inside the
transaction would make every commit wait for one lock of the whole server (its documentation:
notifications are handed out in commit order).
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

import asyncpg

from phonefarm_controller.store import postgres_connection

APPLICATION: Final = "phonefarm-notices"
CHANNEL: Final = "phonefarm"
MOST_BYTES: Final = 7900
"""The longest notification; PostgreSQL accepts less than 8,000 bytes."""
CALL_SECONDS: Final = 5.0
ERRORS: Final = (
    OSError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
"""What a line raises when the server is away; TimeoutError is one of OSError.

The last when a connection is ended between its first words and the next.
"""


class NotifyConnection:
    """One connection that listens and notifies."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self._connection = connection

    async def tell(self, text: str) -> None:
        """Send to every controller that listens, this one too; one of ERRORS when that fails.

        *text* has at most MOST_BYTES bytes of UTF-8.
        """
        await self._connection.execute(
            "SELECT pg_notify($1, $2)", CHANNEL, text, timeout=CALL_SECONDS
        )


def may_be_shared(url: str) -> bool:
    """Tell whether other controllers may share this database."""
    return not url.startswith("sqlite:")


@asynccontextmanager
async def listening(
    url: str, hear: Callable[[str], None], *, broken: Callable[[], None]
) -> AsyncIterator[NotifyConnection]:
    """Yield a line on which *hear* is called with every text, and *broken* when it ends by itself.

    One of ERRORS without a server.
    """
    address = postgres_connection.read_address(url)
    connection = await postgres_connection.connect(address, application=APPLICATION, settings={})
    try:
        connection.add_termination_listener(lambda _: broken())
        await connection.add_listener(CHANNEL, lambda *heard: hear(heard[-1]))
        yield NotifyConnection(connection)
    finally:
        with suppress(*ERRORS):
            await connection.close(timeout=CALL_SECONDS)
