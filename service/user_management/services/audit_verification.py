"""Checking the audit log against its seals and its anchor, in bounded memory."""

import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

from sqlalchemy import Text, cast, func, literal, select, tuple_
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.ext.asyncio import AsyncSession

from user_management.models import AuditLog, AuditSeal
from user_management.population import Population
from user_management.services.audit_chain import (
    EMPTY,
    Head,
    content_columns,
    link,
    read_anchor,
)
from user_management.services.context import population_of

# Of more findings than this only the number is kept.
SHOWN: Final = 20
# The sealer is seconds behind; what it has not seen after this time it never will.
GRACE: Final = timedelta(minutes=5)

_PAGE: Final = 5_000  # rows
_COLUMNS: Final = tuple(column.name for column in content_columns())


class FindingKind(StrEnum):
    """What may be wrong; docs/audit.md says of each what to do."""

    ALTERED = "altered"
    ROW_MISSING = "row_missing"
    SEAL_MISSING = "seal_missing"
    UNSEALED = "unsealed"
    CUT_OFF = "cut_off"
    ANCHOR_MISMATCH = "anchor_mismatch"
    ANCHOR_MISSING = "anchor_missing"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: at which link of the chain, and with which row."""

    kind: FindingKind
    detail: str
    seq: int | None = None
    audit_id: UUID | None = None


@dataclass(slots=True)
class Verification:
    """What a check came to. `findings` are the first ones, `counts` has all."""

    population: Population
    anchor: Head | None
    head: Head = EMPTY
    findings: list[Finding] = field(default_factory=list)
    counts: Counter[FindingKind] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def is_intact(self) -> bool:
        return not self.counts

    @property
    def rows_per_second(self) -> float:
        return self.head.seq / self.seconds if self.seconds else 0.0

    def add(self, finding: Finding) -> None:
        self.counts[finding.kind] += 1
        if len(self.findings) < SHOWN:
            self.findings.append(finding)


async def verify(session: AsyncSession, other: AsyncSession) -> Verification:
    """Check the audit log of the session's database; `other` is a session of the other one.

    Rows may be added and sealed meanwhile.
    """
    started = time.perf_counter()
    population = population_of(session)
    # First the anchor: the chain that is read after it reaches at least as far.
    result = Verification(population, await read_anchor(other, population))
    await _check_chain(session, result)
    if result.anchor is None:
        await _check_never_anchored(session, result)
    await _check_unsealed(session, result)
    result.seconds = time.perf_counter() - started
    return result


async def _check_chain(session: AsyncSession, result: Verification) -> None:
    """Follow the chain from its beginning. One fault is one finding: each link is computed from
    the hash that is stored before it.
    """
    # Not known behind a gap.
    previous: bytes | None = EMPTY.hash
    async for seq, stored, audit_id, row in _links(session):
        if seq != result.head.seq + 1:
            result.add(_gap(result.head.seq, seq))
            previous = None
        if row["id"] is None:
            detail = "The row that this link covers is gone."
            result.add(Finding(FindingKind.ROW_MISSING, detail, seq, audit_id))
        elif previous is not None and link(previous, row) != stored:
            detail = "The row, or the hash of this link or of the one before, was changed."
            result.add(Finding(FindingKind.ALTERED, detail, seq, audit_id))
        if result.anchor is not None and seq == result.anchor.seq and stored != result.anchor.hash:
            detail = "The other database remembers another hash for this link."
            result.add(Finding(FindingKind.ANCHOR_MISMATCH, detail, seq, audit_id))
        result.head = Head(seq, stored)
        previous = stored
    if result.anchor is not None and result.anchor.seq > result.head.seq:
        detail = (
            f"The chain ends at link {result.head.seq}; the other database remembers "
            f"link {result.anchor.seq}."
        )
        result.add(Finding(FindingKind.CUT_OFF, detail, result.anchor.seq))


async def _check_never_anchored(session: AsyncSession, result: Verification) -> None:
    is_old = await session.scalar(
        select(AuditSeal.sealed_at < func.now() - literal(GRACE)).order_by(AuditSeal.seq).limit(1)
    )
    if is_old:
        detail = "The other database remembers nothing of this chain."
        result.add(Finding(FindingKind.ANCHOR_MISSING, detail))


async def _check_unsealed(session: AsyncSession, result: Verification) -> None:
    async for audit_id, created_at in _without_seal(session):
        detail = f"The row, dated {created_at}, was never sealed."
        result.add(Finding(FindingKind.UNSEALED, detail, audit_id=audit_id))


def _gap(last: int, seq: int) -> Finding:
    detail = f"After link {last} comes link {seq}."
    return Finding(FindingKind.SEAL_MISSING, detail, last + 1)


async def _links(
    session: AsyncSession,
) -> AsyncIterator[tuple[int, bytes, UUID, dict[str, str | None]]]:
    """All seals in the order of their numbers, as (seq, hash, audit_id, row); a row that is gone
    is all None.
    """
    page = (
        select(AuditSeal.seq, AuditSeal.hash, AuditSeal.audit_id, *content_columns())
        .outerjoin(AuditLog, AuditLog.id == AuditSeal.audit_id)
        .order_by(AuditSeal.seq)
        .limit(_PAGE)
    )
    rows = (await session.execute(page)).all()
    while rows:
        for row in rows:
            seq, stored, audit_id, *content = tuple(row)
            yield seq, stored, audit_id, dict(zip(_COLUMNS, content, strict=True))
        rows = (await session.execute(page.where(AuditSeal.seq > rows[-1].seq))).all()


async def _without_seal(session: AsyncSession) -> AsyncIterator[tuple[UUID, str]]:
    """Rows older than GRACE without a seal, as (id, created_at)."""
    # As text: a forged time may lie outside Python's calendar.
    last: tuple[str, UUID] = ("-infinity", UUID(int=0))
    while True:
        page = (
            select(AuditLog.created_at, AuditLog.id)
            .where(
                tuple_(AuditLog.created_at, AuditLog.id)
                > tuple_(cast(literal(last[0], Text), TIMESTAMP(timezone=True)), last[1]),
                AuditLog.created_at < func.now() - literal(GRACE),
            )
            .order_by(AuditLog.created_at, AuditLog.id)
            .limit(_PAGE)
            .subquery()
        )
        rows = (
            await session.execute(
                select(cast(page.c.created_at, Text), page.c.id, AuditSeal.seq.is_(None))
                .outerjoin(AuditSeal, AuditSeal.audit_id == page.c.id)
                .order_by(page.c.created_at, page.c.id)
            )
        ).all()
        if not rows:
            return
        for created_at, audit_id, is_unsealed in rows:
            if is_unsealed:
                yield audit_id, created_at
        last = (rows[-1][0], rows[-1][1])
