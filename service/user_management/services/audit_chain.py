"""The chain over the audit log: each seal's hash covers one row and the hash before it.

Writers of the log know nothing of it and wait for nothing: rows are sealed after they were
committed. docs/audit.md describes the chain for those who check it by other means.
"""

import hashlib
import json
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Text,
    case,
    cast,
    exists,
    func,
    insert,
    literal,
    literal_column,
    select,
)
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession

from user_management.models import AuditAnchor, AuditLog, AuditSeal
from user_management.population import Population
from user_management.services.context import population_of
from user_management.services.locks import TableLock, try_lock_exclusive

BATCH: Final = 1_000  # rows
# A row's created_at is when its transaction began, so that a row may appear behind others that
# are sealed; no transaction of ours takes longer than this.
LOOKBACK: Final = timedelta(hours=1)
# The sealer works every second.
TOLERANCE: Final = timedelta(minutes=5)

_EPOCH: Final = func.to_timestamp(0)
_YEAR_1: Final[ColumnElement[Any]] = literal_column("timestamptz '0001-01-01 00:00:00+00'")
_FORM: Final = 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'


@dataclass(frozen=True, slots=True)
class Head:
    """The last link of a chain."""

    seq: int
    hash: bytes


# Where a chain begins.
EMPTY: Final = Head(0, bytes(32))


@dataclass(frozen=True, slots=True)
class Sealed:
    """What one batch came to: the chain's head now, and how many rows were added to it."""

    head: Head
    rows: int


class Anchoring(StrEnum):
    """What became of an anchor."""

    MOVED = "moved"
    UNCHANGED = "unchanged"
    # The chain has another hash at the anchored place, or ends before it.
    CONTRADICTED = "contradicted"


def content_columns() -> list[ColumnElement[str]]:
    """All columns of the audit log as text, in the form that the hash covers.

    The server writes them, so that nothing is lost on the way: a number in `details` may have
    more digits than Python's, and a time may lie outside Python's calendar.
    """
    return [
        _moment(column).label(column.name)
        if column is AuditLog.__table__.c.created_at
        else cast(column, Text).label(column.name)
        for column in AuditLog.__table__.columns
    ]


def _moment(column: ColumnElement[Any]) -> ColumnElement[str]:
    """A time as text, no two alike: `to_char` drops the era, and has no word for infinity."""
    utc = func.timezone("UTC", column)
    return case(
        (~func.isfinite(column), cast(column, Text)),
        (column < _YEAR_1, func.to_char(utc, f"{_FORM} BC")),
        else_=func.to_char(utc, _FORM),
    )


def canonical(content: dict[str, str | None]) -> bytes:
    """The bytes of a row: a JSON object of strings and nulls in the form of RFC 8785."""
    return json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def link(previous: bytes, content: dict[str, str | None]) -> bytes:
    """The hash of the link after `previous` (32 bytes)."""
    return hashlib.sha256(previous + canonical(content)).digest()


async def seal(session: AsyncSession, lookback: timedelta = LOOKBACK) -> Sealed | None:
    """Seal the oldest rows without a seal, BATCH at most, that are at most `lookback` older than
    the last one sealed.

    None when another sealer is at work: the transaction is the only one that seals until it ends.
    """
    if not await try_lock_exclusive(session, TableLock.SEALING):
        return None
    # Only now: what the sealer before us committed must be seen.
    head = await read_head(session)
    rows = await session.execute(_unsealed(await _horizon(session, lookback)))
    seals: list[dict[str, Any]] = []
    for row in rows.mappings():
        head = Head(head.seq + 1, link(head.hash, {**row}))
        seals.append({"seq": head.seq, "audit_id": UUID(row["id"]), "hash": head.hash})
    if seals:
        await session.execute(insert(AuditSeal), seals)
    return Sealed(head, len(seals))


async def count_overdue(session: AsyncSession) -> int:
    """The rows of the last day that the sealer should have sealed by now."""
    counted = await session.scalar(
        select(func.count())
        .select_from(AuditLog)
        .where(
            AuditLog.created_at.between(
                func.now() - literal(timedelta(days=1)), func.now() - literal(TOLERANCE)
            ),
            ~exists().where(AuditSeal.audit_id == AuditLog.id),
        )
    )
    return counted or 0


async def anchor(session: AsyncSession, other: AsyncSession, head: Head) -> Anchoring:
    """Note the head of the session's chain in the database of the other population.

    An anchor that the chain contradicts stays where it is, as evidence.
    """
    population = population_of(session)
    anchored = await read_anchor(other, population)
    if anchored is not None and await _hash_at(session, anchored.seq) != anchored.hash:
        return Anchoring.CONTRADICTED
    values = {"seq": head.seq, "hash": head.hash, "anchored_at": func.now()}
    moved = await other.execute(
        upsert(AuditAnchor)
        .values(population=population, **values)
        .on_conflict_do_update(
            index_elements=[AuditAnchor.population],
            set_=values,
            where=AuditAnchor.seq < head.seq,
        )
        .returning(AuditAnchor.seq)
    )
    return Anchoring.UNCHANGED if moved.first() is None else Anchoring.MOVED


async def read_head(session: AsyncSession) -> Head:
    """The last link of the session's chain."""
    found = await session.execute(
        select(AuditSeal.seq, AuditSeal.hash).order_by(AuditSeal.seq.desc()).limit(1)
    )
    row = found.first()
    return EMPTY if row is None else Head(row.seq, row.hash)


async def read_anchor(other: AsyncSession, population: Population) -> Head | None:
    """What the database of the other population remembers of a population's chain."""
    found = await other.execute(
        select(AuditAnchor.seq, AuditAnchor.hash).where(AuditAnchor.population == population)
    )
    row = found.first()
    return None if row is None else Head(row.seq, row.hash)


async def _hash_at(session: AsyncSession, seq: int) -> bytes | None:
    found: bytes | None = await session.scalar(select(AuditSeal.hash).where(AuditSeal.seq == seq))
    return found


async def _horizon(session: AsyncSession, lookback: timedelta) -> Any:
    """Rows from this time on are looked through for what has no seal.

    The clock may have been set back since the last row was sealed, and that row may be gone.
    """
    last = (
        select(func.coalesce(AuditLog.created_at, AuditSeal.sealed_at))
        .select_from(AuditSeal)
        .outerjoin(AuditLog, AuditLog.id == AuditSeal.audit_id)
        .order_by(AuditSeal.seq.desc())
        .limit(1)
        .scalar_subquery()
    )
    since = func.least(func.coalesce(last, _EPOCH), func.now()) - literal(lookback)
    return await session.scalar(select(func.greatest(since, _EPOCH)))


def _unsealed(horizon: Any) -> Any:
    return (
        select(*content_columns())
        .where(
            AuditLog.created_at >= horizon,
            ~exists().where(AuditSeal.audit_id == AuditLog.id),
        )
        .order_by(AuditLog.created_at, AuditLog.id)
        .limit(BATCH)
    )
