"""Pages of lists, newest first where nothing else is said, and how long the lists are."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import ClauseElement, Executable, Row, Select, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

from user_management.models import AuditLog, Organization, Role, Team, TeamMembership, User
from user_management.security.cursors import Position

# Counting further than this is slower than anybody needs the figure to be exact.
EXACT_TOTAL = 10_000

T = TypeVar("T")
AnyRow = tuple[Any, ...]
Listed = (
    type[AuditLog]
    | type[Organization]
    | type[Role]
    | type[Team]
    | type[TeamMembership]
    | type[User]
)


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Which part of a list is asked for; `after` is where the page before ended."""

    limit: int
    offset: int = 0
    after: Position | None = None
    with_total: bool = False


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some items of a list, where the next ones begin, and how many there are in all.

    `total` is estimated above EXACT_TOTAL, and None unless asked for.
    """

    items: Sequence[T]
    following: Position | None
    total: int | None


async def read_page(
    session: AsyncSession, matching: Select[*AnyRow], listed: Listed, wanted: PageRequest
) -> Page[Row[*AnyRow]]:
    """A page of the rows that match, newest first; each begins with what is `listed`."""
    page = matching.order_by(listed.created_at.desc(), listed.id.desc())
    if wanted.after is not None:
        page = page.where(tuple_(listed.created_at, listed.id) < tuple_(*wanted.after))
    rows = (await session.execute(page.limit(wanted.limit + 1).offset(wanted.offset))).all()
    return Page(
        rows[: wanted.limit],
        find_following([row[0] for row in rows], wanted),
        await count(session, matching, listed) if wanted.with_total else None,
    )


def find_following(
    found: Sequence[Any], wanted: PageRequest, column: str = "created_at"
) -> Position | None:
    """Where the next page begins, if one item more was found than the page takes; they are sorted
    by `column`.
    """
    if len(found) <= wanted.limit:
        return None
    last = found[wanted.limit - 1]
    return Position(getattr(last, column), last.id)


async def count(session: AsyncSession, matching: Select[Any], listed: Listed) -> int:
    """How many rows match: exact up to EXACT_TOTAL, above it the planner's guess."""
    ids = matching.with_only_columns(listed.id)
    counted = await session.scalar(
        select(func.count()).select_from(ids.limit(EXACT_TOTAL + 1).subquery())
    )
    if counted is None or counted <= EXACT_TOTAL:
        return counted or 0
    # The guess may lie below what was counted.
    return max(await _estimate(session, ids), counted)


async def _estimate(session: AsyncSession, matching: Select[Any]) -> int:
    plan = await session.scalar(_Explain(matching))
    return int((json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]["Plan Rows"])


class _Explain(Executable, ClauseElement):
    """What the planner makes of a statement, as JSON."""

    inherit_cache = False

    def __init__(self, statement: ClauseElement) -> None:
        self.statement = statement


@compiles(_Explain)
def _compile_explain(element: _Explain, compiler: SQLCompiler, **options: Any) -> str:
    return f"EXPLAIN (FORMAT JSON) {compiler.process(element.statement, **options)}"
