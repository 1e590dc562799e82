"""Moments as PostgreSQL has them, which reach further than Python's calendar.

A `timestamptz` goes from 4714 BC to the year 294276, and to both infinities. Where AutoBot or
people wrote such a value, no list breaks on it.
"""

from datetime import UTC, datetime, timedelta
from typing import Final, Self

import asyncpg

# What is shown instead of a moment outside them. A day lies between them and the ends of Python's
# calendar, so that any of them can be told in any time zone.
EARLIEST: Final = datetime(1, 1, 2, tzinfo=UTC)
LATEST: Final = datetime(9999, 12, 30, tzinfo=UTC)

# From when PostgreSQL counts, and in what.
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_UNIT: Final = timedelta(microseconds=1)
_EARLIEST: Final = (EARLIEST - _EPOCH) // _UNIT
_LATEST: Final = (LATEST - _EPOCH) // _UNIT


class Clamped(datetime):
    """EARLIEST or LATEST, in place of a moment beyond it.

    `microseconds` since 2000 is what the database has: written back, or compared there, it is that
    moment and no other.
    """

    microseconds: int

    @classmethod
    def of(cls, microseconds: int) -> Self:
        """In place of a moment that lies outside EARLIEST and LATEST."""
        near = EARLIEST if microseconds < 0 else LATEST
        moment = cls(near.year, near.month, near.day, tzinfo=UTC)
        moment.microseconds = microseconds
        return moment


async def able_to_read_any_moment(connection: asyncpg.Connection) -> asyncpg.Connection:
    """The connection, which now reads every `timestamptz`: those outside EARLIEST and LATEST as
    Clamped. Closed when that fails.
    """
    try:
        await connection.set_type_codec(
            "timestamptz", schema="pg_catalog", encoder=_encode, decoder=_decode, format="tuple"
        )
    except BaseException:
        connection.terminate()
        raise
    return connection


def _encode(moment: datetime) -> tuple[int]:
    if isinstance(moment, Clamped):
        return (moment.microseconds,)
    # A naive one has no place in time, and is refused here.
    return ((moment - _EPOCH) // _UNIT,)


def _decode(value: tuple[int]) -> datetime:
    (microseconds,) = value
    if _EARLIEST <= microseconds <= _LATEST:
        # By place: by name it takes half as long again, and a page has hundreds of moments.
        return _EPOCH + timedelta(0, 0, microseconds)
    return Clamped.of(microseconds)
