"""Finds and ends transactions of controllers that are frozen while they hold locks.

PostgreSQL ends a transaction that is idle (`idle_in_transaction_session_timeout`), and a statement
that lasts too long; both clocks stand between the end of a statement and the driver's Sync, which
travels alone. A controller that is frozen there keeps its locks for as long as it is frozen.
"""

from sqlalchemy import text

from phonefarm_controller.store.database import APPLICATION, IDLE_SECONDS, Database

# Of our own role, whose sessions it may see and end; who waits for a lock waits for no client.
_END = text(
    """
    SELECT pid, pg_terminate_backend(pid) AS ended,
        extract(epoch FROM clock_timestamp() - xact_start) AS seconds
    FROM pg_stat_activity
    WHERE datname = current_database() AND usename = current_user
        AND starts_with(application_name, :name) AND pid <> pg_backend_pid()
        AND xact_start IS NOT NULL AND wait_event = 'ClientRead'
        AND greatest(xact_start, query_start, state_change)
            < clock_timestamp() - make_interval(secs => :limit)
    """
)


async def terminate_stuck(database: Database) -> dict[int, float]:
    """End them; return the seconds that each had lasted, by the server's process."""
    async with database.reading() as tx:
        found = await tx.connection.execute(_END, {"name": APPLICATION, "limit": IDLE_SECONDS + 1})
        return {row.pid: float(row.seconds) for row in found if row.ended}
