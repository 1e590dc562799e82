"""Ending transactions of the backend's role that keep the service waiting.

That role may lock the rows that it writes, sessions above all, and PostgreSQL lets it keep them for
as long as it likes. Its own transactions take milliseconds; whoever has its password must not be
able to keep a session open that is to be ended.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

from sqlalchemy import text

from slm_server.background.periodic import repeat
from user_management.config import Settings
from user_management.database import Database
from user_management.population import Population

# A request waits for two seconds (STATEMENT_TIMEOUT): that must be enough to notice and to end it.
INTERVAL: Final = 0.5  # seconds
PATIENCE: Final = timedelta(seconds=1)

# All of them at once, as whoever gets one out of the way may find the next.
_END: Final = text(
    """
    SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE datname = current_database() AND usename = 'autobot_backend'
        AND xact_start < now() - CAST(:patience AS interval)
        AND EXISTS (
            SELECT FROM pg_stat_activity AS waiting
            CROSS JOIN LATERAL unnest(pg_blocking_pids(waiting.pid)) AS blocking (pid)
            JOIN pg_stat_activity AS blocker ON blocker.pid = blocking.pid
            WHERE waiting.datname = current_database() AND waiting.usename = current_user
                AND waiting.wait_event_type = 'Lock' AND blocker.usename = 'autobot_backend'
        )
    """
)

_logger = logging.getLogger(__name__)


@asynccontextmanager
async def end_blocking_transactions(settings: Settings) -> AsyncIterator[None]:
    """Do it as long as the context is open, on a connection of its own."""
    population = Population.AUTOBOT
    database = Database(population, settings.database(population), pool_size=1)

    async def look() -> None:
        async with database.session() as session:
            ended = await session.scalar(_END, {"patience": PATIENCE})
        if ended:
            _logger.warning(
                "Ended %d transactions of autobot_backend that kept the service waiting.", ended
            )

    task = asyncio.create_task(repeat("Looking after locks", INTERVAL, look))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await database.dispose()
