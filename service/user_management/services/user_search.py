"""Finding users among millions of them.

The planner cannot know how many users a search matches, and a plan that is right for a rare term
is a thousand times too slow for a common one. So it is given no choice: the newest users are
looked through first, which finds a page of everything common; what is rare is then looked up in
the indexes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Select, Subquery, false, func, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute, selectinload

from user_management.models import Role, TeamMembership, User, UserRole
from user_management.models.user import FIELD_SEPARATOR, search_text
from user_management.services.pages import Page, PageRequest, count, find_following

# From this length on a term is looked for anywhere in a name, below it only at the beginning: the
# index knows parts of three characters.
SEARCH_LENGTH = 3
# How many of the newest users are looked through, in about 5 ms.
WINDOW = 10_000

# What a list is sorted and sifted by.
FILTERED: tuple[Any, ...] = (
    User.id,
    User.created_at,
    User.email,
    User.username,
    User.display_name,
    User.is_active,
    User.last_login_at,
)

_LAST_BEFORE_SURROGATES, _FIRST_AFTER_SURROGATES = "\ud7ff", "\ue000"
_LAST_CHARACTER = "\U0010ffff"


@dataclass(frozen=True, slots=True)
class UserFilter:
    """Which users are meant; what is None does not matter.

    `search` is a part of the user name, e-mail address or display name, below SEARCH_LENGTH
    characters their beginning; `role` a role's name.
    """

    search: str | None = None
    is_active: bool | None = None
    role: str | None = None
    org_id: UUID | None = None
    team_id: UUID | None = None
    last_login_before: datetime | None = None
    last_login_after: datetime | None = None

    def given(self) -> dict[str, Any]:
        """What is asked for, as JSON can hold it."""
        return {
            name: value if isinstance(value, bool) else str(value)
            for name, value in asdict(self).items()
            if value is not None
        }


async def find_users(session: AsyncSession, wanted: UserFilter, page: PageRequest) -> Page[User]:
    """A page of the users that are meant, with their roles, newest first."""
    visible = select(*FILTERED).where(User.deleted_at.is_(None))
    if wanted.org_id is not None:
        # There is an index of each organization's users, newest first.
        visible = visible.where(User.org_id == wanted.org_id)
    following = visible
    if page.after is not None:
        following = visible.where(tuple_(User.created_at, User.id) < tuple_(*page.after))
    found = await _look_through(session, following, wanted, page)
    if len(found) <= page.limit and wanted != UserFilter():
        found = await _look_up(session, following, wanted, page)
    total = None
    if page.with_total:
        total = await count(session, visible.where(*conditions(wanted, User)), User)
    users = await _load(session, [row.id for row in found[: page.limit]])
    return Page(users, find_following(found, page), total)


async def _look_through(
    session: AsyncSession, following: Select[Any], wanted: UserFilter, page: PageRequest
) -> Sequence[Row[Any]]:
    """Those of the newest users that are meant."""
    newest = following.order_by(User.created_at.desc(), User.id.desc())
    if wanted == UserFilter():
        return await _page(session, newest, page)
    recent = newest.limit(WINDOW).subquery()
    return await _page(session, _newest(recent).where(*conditions(wanted, recent.c)), page)


async def _look_up(
    session: AsyncSession, following: Select[Any], wanted: UserFilter, page: PageRequest
) -> Sequence[Row[Any]]:
    """All users that are meant, by the indexes, then sorted."""
    # OFFSET keeps the planner from going through all users in the order wanted.
    matching = following.where(*conditions(wanted, User)).offset(0).subquery()
    return await _page(session, _newest(matching), page)


def _newest(found: Subquery) -> Select[Any]:
    return select(found.c.id, found.c.created_at).order_by(
        found.c.created_at.desc(), found.c.id.desc()
    )


async def _page(session: AsyncSession, found: Select[Any], page: PageRequest) -> Sequence[Row[Any]]:
    """One more than the page takes, if there are as many."""
    rows = await session.execute(found.limit(page.limit + 1).offset(page.offset))
    found_rows: Sequence[Row[Any]] = rows.all()
    return found_rows


async def _load(session: AsyncSession, ids: Sequence[UUID]) -> Sequence[User]:
    """Whole users, in the order of a list. No alias of the class is ever loaded: SQLAlchemy keeps
    a few hundred bytes of each.
    """
    users = await session.scalars(
        select(User)
        .where(User.id.in_(ids))
        .options(selectinload(User.roles))
        .order_by(User.created_at.desc(), User.id.desc())
    )
    return users.all()


def conditions(wanted: UserFilter, user: Any) -> Iterator[ColumnElement[bool]]:
    """What the filter asks of `user`: the class, or the columns of a subquery."""
    if wanted.search:
        yield _matches(wanted.search.lower(), user)
    if wanted.is_active is not None:
        yield user.is_active.is_(wanted.is_active)
    if wanted.role is not None:
        yield user.id.in_(
            select(UserRole.user_id)
            .join(Role, Role.id == UserRole.role_id)
            .where(Role.name == wanted.role)
        )
    if wanted.team_id is not None:
        yield user.id.in_(
            select(TeamMembership.user_id).where(TeamMembership.team_id == wanted.team_id)
        )
    if wanted.last_login_before is not None:
        yield user.last_login_at < wanted.last_login_before
    if wanted.last_login_after is not None:
        yield user.last_login_at >= wanted.last_login_after


def _matches(term: str, user: Any) -> ColumnElement[bool]:
    if FIELD_SEPARATOR in term:
        return false()
    if len(term) >= SEARCH_LENGTH:
        return search_text(user).contains(term, autoescape=True)
    return or_(
        _begins(user.email, term),
        _begins(user.username, term),
        _begins(func.lower(user.display_name), term),
    )


def _begins(
    column: InstrumentedAttribute[str] | ColumnElement[str], beginning: str
) -> ColumnElement[bool]:
    """As a range of bytes: an index serves it whatever the beginning is, as it does not LIKE."""
    following = _following(beginning)
    if following is None:
        return false()
    return column.op("~>=~", is_comparison=True)(beginning) & column.op("~<~", is_comparison=True)(
        following
    )


def _following(beginning: str) -> str | None:
    """What comes after all texts with that beginning; None when nothing does."""
    last = beginning[-1]
    if last == _LAST_CHARACTER:
        return None
    if last == _LAST_BEFORE_SURROGATES:
        return beginning[:-1] + _FIRST_AFTER_SURROGATES
    return beginning[:-1] + chr(ord(last) + 1)
