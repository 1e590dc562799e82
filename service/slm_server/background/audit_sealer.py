"""Sealing the audit logs in the background, as long as the server runs.

Several workers may do it at once: in each database one of them seals, the others go on.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

from slm_server.background.periodic import repeat
from user_management.config import Settings
from user_management.database import Database
from user_management.population import Population
from user_management.services.audit_chain import BATCH, LOOKBACK, Anchoring, Head, anchor, seal

INTERVAL: Final = 1.0  # seconds
# Then somebody else holds the lock of the sealer, who does not seal.
LOCKED_OUT: Final = 60.0  # seconds

# A busy log costs little that way: the whole LOOKBACK comes once in so many rounds.
_SHORT_LOOKBACK: Final = timedelta(minutes=1)
_FULL_LOOKBACK_EVERY: Final = 60
# One that seals, and one that holds the other database's anchor.
_CONNECTIONS: Final = 2

_OTHER: Final = {
    Population.SLM: Population.AUTOBOT,
    Population.AUTOBOT: Population.SLM,
}

_audit = logging.getLogger("user_management.audit")


@asynccontextmanager
async def seal_audit_logs(settings: Settings) -> AsyncIterator[None]:
    """Seal and anchor both audit logs as long as the context is open.

    The databases are reached past the pools and circuits of the requests: neither waits for the
    other.
    """
    databases = {
        population: Database(population, settings.database(population), pool_size=_CONNECTIONS)
        for population in Population
    }
    sealers = [Sealer(databases[each], databases[_OTHER[each]]) for each in Population]
    tasks = [
        asyncio.create_task(repeat("Sealing the audit log", INTERVAL, action))
        for sealer in sealers
        for action in (sealer.seal, sealer.anchor)
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for database in databases.values():
            await database.dispose()


class Sealer:
    """Seals the audit log of one database and anchors the chain in the other one."""

    def __init__(self, database: Database, other: Database) -> None:
        self._database = database
        self._other = other
        self._head: Head | None = None
        self._anchored: Head | None = None
        self._state = Anchoring.UNCHANGED
        self._rounds = 0
        self._locked_out: float | None = None

    async def seal(self) -> None:
        """Seal all that is there to be sealed. Raises DatabaseUnavailable."""
        lookback = _SHORT_LOOKBACK if self._rounds % _FULL_LOOKBACK_EVERY else LOOKBACK
        self._rounds += 1
        while True:
            async with self._database.session() as session:
                sealed = await seal(session, lookback)
            self._tell_locked_out(is_locked=sealed is None)
            if sealed is None:
                return
            self._head = sealed.head
            if sealed.rows < BATCH:
                return

    async def anchor(self) -> None:
        """Note the chain's head in the other database, if it has moved.

        Raises DatabaseUnavailable for either database.
        """
        head = self._head
        if head is None or head.seq == 0 or head == self._anchored:
            return
        async with self._database.session() as session, self._other.session() as other:
            state = await anchor(session, other, head)
        self._tell(state, head)
        self._anchored = head

    def _tell_locked_out(self, *, is_locked: bool) -> None:
        """Another worker holds the lock for milliseconds; who holds it all the time does harm."""
        if not is_locked:
            self._locked_out = None
            return
        now = time.monotonic()
        if self._locked_out is None:
            self._locked_out = now
        elif now - self._locked_out >= LOCKED_OUT:
            self._locked_out = now
            _audit.error(
                "The audit log of the %s users has not been sealed for %.0f s: somebody holds the "
                "lock of it (lock_sealing in pg_locks).",
                self._database.population,
                LOCKED_OUT,
            )

    def _tell(self, state: Anchoring, head: Head) -> None:
        population = self._database.population
        if state is Anchoring.MOVED:
            _audit.info(
                "audit head",
                extra={"population": population, "seq": head.seq, "hash": head.hash.hex()},
            )
        elif state is Anchoring.CONTRADICTED and state is not self._state:
            _audit.error(
                "The audit log of the %s users contradicts its anchor: run slm audit verify.",
                population,
            )
        self._state = state
