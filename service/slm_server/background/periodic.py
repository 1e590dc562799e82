"""Doing something again and again in the background."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from user_management.errors import DatabaseUnavailable

MAX_INTERVAL: Final = 60.0  # seconds: while a database is away

_logger = logging.getLogger(__name__)


async def repeat(what: str, every: float, action: Callable[[], Awaitable[None]]) -> None:
    """Do it every so many seconds, and ever more rarely while it fails; `what` is for the log."""
    interval = every
    while True:
        try:
            await action()
            interval = every
        except DatabaseUnavailable:
            # Logged where it was noticed.
            interval = min(interval * 2, MAX_INTERVAL)
        except Exception:
            _logger.exception("%s failed; it goes on in a while.", what)
            interval = MAX_INTERVAL
        await asyncio.sleep(interval)
