"""Locks of our own that are not those of rows. They end with the transaction.

Each is the lock of an empty table (migration 0008): to hold one takes a right on that table.
PostgreSQL's advisory locks ask for none, so that whoever may connect could keep everybody else
waiting. Nothing is written: a lock costs no transaction id and no WAL.
"""

from enum import StrEnum
from typing import Final

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

_LOCK_NOT_AVAILABLE: Final = "55P03"


class TableLock(StrEnum):
    """What is locked; the name of its table."""

    ROLES = "lock_roles"
    FIRST_ADMINISTRATOR = "lock_first_administrator"
    SEALING = "lock_sealing"
    IMPORT = "lock_import"


_EXCLUSIVE: Final = {lock: text(f"LOCK TABLE {lock} IN EXCLUSIVE MODE") for lock in TableLock}
_SHARED: Final = {lock: text(f"LOCK TABLE {lock} IN SHARE MODE") for lock in TableLock}
_EXCLUSIVE_NOWAIT: Final = {
    lock: text(f"LOCK TABLE {lock} IN EXCLUSIVE MODE NOWAIT") for lock in TableLock
}


async def lock_exclusive(session: AsyncSession, lock: TableLock) -> None:
    """Be the only one who holds it; wait for the others."""
    await session.execute(_EXCLUSIVE[lock])


async def lock_shared(session: AsyncSession, lock: TableLock) -> None:
    """Hold it together with others who share it; wait for who holds it alone."""
    await session.execute(_SHARED[lock])


async def try_lock_exclusive(session: AsyncSession, lock: TableLock) -> bool:
    """Be the only one who holds it, unless it is held: then the transaction is rolled back."""
    try:
        await session.execute(_EXCLUSIVE_NOWAIT[lock])
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != _LOCK_NOT_AVAILABLE:
            raise
        await session.rollback()
        return False
    return True
