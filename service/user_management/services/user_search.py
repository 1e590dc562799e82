"""Finding users among millions of them.

The planner cannot know how many users a search matches, and a plan that is right for a rare term
is a thousand times too slow for a common one. So it is given no choice: the first users in the
order wanted are looked through, which finds a page of everything common; what is rare is then
looked up in the indexes. Each order has an index, and another one of each organization's users.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Row,
    Select,
    Subquery,
    Uuid,
    and_,
    bindparam,
    false,
    func,
    or_,
    select,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from user_management.models import Role, TeamMembership, User, UserRole
from user_management.models.user import (
    FIELD_SEPARATOR,
    NEVER,
    is_spelled_otherwise,
    last_login,
    search_form,
    user_search_form,
)
from user_management.schemas.users import ROLE_FIELDS, USER_FIELDS
from user_management.services.pages import AnyRow, Page, PageRequest, count, find_following
from user_management.services.user_orders import UserSort, comes_after, ordered, place
from user_management.tenancy import SCOPE

# So many words of a term are looked for, the longest ones: a name has no more.
MOST_WORDS = 10
# From this length on a word is looked for anywhere in a name, if the index knows a part of it:
# three letters or digits, or where some begin or end.
SEARCH_LENGTH = 3
_PART = re.compile(r"[^\W_]{3}|[\W_][^\W_]|[^\W_]{2}[\W_]")
# How many of the first users are looked through, in about 5 ms.
WINDOW = 10_000

# What a list is sifted by.
FILTERED: tuple[Any, ...] = (
    User.id,
    User.created_at,
    User.email,
    User.username,
    User.display_name,
    User.is_active,
    User.last_login_at,
)
_PLACE = "place"

# Rows for UserResponse. The roles come as an array of records, in the order of User.roles: to read
# those costs a fraction of what entities or JSON do.
_ROLES = func.array(
    select(func.row(*(getattr(Role, name) for name in ROLE_FIELDS)))
    .join(UserRole, UserRole.role_id == Role.id)
    .where(UserRole.user_id == User.id)
    .order_by(Role.priority.desc(), Role.name)
    .correlate(User)
    .scalar_subquery()
)
_SHOWN = select(
    *(_ROLES.label(name) if name == "roles" else getattr(User, name) for name in USER_FIELDS)
).where(User.id == func.any(bindparam("ids", type_=ARRAY(Uuid))))

# What is asked of a user: the class, or the columns of a subquery.
Conditions = Callable[[Any], Iterator[ColumnElement[bool]]]

_LAST_BEFORE_SURROGATES, _FIRST_AFTER_SURROGATES = "\ud7ff", "\ue000"
_LAST_CHARACTER = "\U0010ffff"


@dataclass(frozen=True, slots=True)
class UserFilter:
    """Which users are meant; what is None does not matter.

    `search` is words, each a part of the user name, e-mail address or display name, in any order,
    case and accents; a word of one or two letters alone is the beginning of one. Or it is the
    user's id. `role` is a role's name.
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


async def find_users(
    session: AsyncSession,
    wanted: UserFilter,
    page: PageRequest,
    sort: UserSort = UserSort.NEWEST,
) -> Page[Row[*AnyRow]]:
    """A page of the users that are meant: rows for UserResponse."""
    visible = select(*FILTERED, place(sort).label(_PLACE)).where(User.deleted_at.is_(None))
    if wanted.org_id is not None:
        # There are indexes of each organization's users, in every order.
        visible = visible.where(User.org_id == wanted.org_id)
    following = visible
    if page.after is not None:
        following = visible.where(comes_after(page.after, sort))
    conditions = await filtering(session, wanted)
    if wanted == UserFilter():
        users = ordered(following, place(sort), User.id, sort)
        ids = users.with_only_columns(User.id, getattr(User, sort.column))
        found = await _page(session, ids, page)
    else:
        found = await _look_through(session, following, conditions, page, sort)
        if len(found) <= page.limit:
            found = await _look_up(session, following, conditions, page, sort)
    total = None
    if page.with_total:
        total = await count(session, visible.where(*conditions(User)), User)
    users_found = await _load(session, [row.id for row in found[: page.limit]])
    return Page(users_found, find_following(found, page, sort.column), total)


async def filtering(session: AsyncSession, wanted: UserFilter) -> Conditions:
    """What the filter asks of users: of the class, or of the columns of a subquery."""
    words = await _find_words(session, wanted.search)
    return partial(_conditions, wanted, words, await _find_roles(session, wanted.role))


async def _find_words(session: AsyncSession, search: str | None) -> Sequence[str]:
    """The words of a term in the form that is searched; the longest, which are rarest, first."""
    if not search or FIELD_SEPARATOR in search:
        return ()
    form = await session.scalar(select(search_form(search)))
    return sorted(set((form or "").split()), key=len, reverse=True)[:MOST_WORDS]


async def _find_roles(session: AsyncSession, name: str | None) -> Sequence[UUID]:
    """The ids of the roles with a name. The planner knows how many have a role by its id only."""
    if name is None:
        return ()
    return (await session.scalars(select(Role.id).where(Role.name == name))).all()


async def _look_through(
    session: AsyncSession,
    following: Select[Any],
    conditions: Conditions,
    page: PageRequest,
    sort: UserSort,
) -> Sequence[Row[Any]]:
    """Those of the first users that are meant."""
    first = ordered(following, place(sort), User.id, sort).limit(WINDOW).subquery()
    return await _page(session, _sorted(first, sort).where(*conditions(first.c)), page)


async def _look_up(
    session: AsyncSession,
    following: Select[Any],
    conditions: Conditions,
    page: PageRequest,
    sort: UserSort,
) -> Sequence[Row[Any]]:
    """All users that are meant, by the indexes, then sorted."""
    # OFFSET keeps the planner from going through all users in the order wanted.
    matching = following.where(*conditions(User)).offset(0).subquery()
    return await _page(session, _sorted(matching, sort), page)


def _sorted(found: Subquery, sort: UserSort) -> Select[Any]:
    return ordered(select(found.c.id, found.c[sort.column]), found.c[_PLACE], found.c.id, sort)


async def _page(session: AsyncSession, found: Select[Any], page: PageRequest) -> Sequence[Row[Any]]:
    """One more than the page takes, if there are as many."""
    rows = await session.execute(found.limit(page.limit + 1).offset(page.offset))
    found_rows: Sequence[Row[Any]] = rows.all()
    return found_rows


async def _load(session: AsyncSession, ids: Sequence[UUID]) -> Sequence[Row[*AnyRow]]:
    """What is shown of users, in the order of a list."""
    # The ORM, which takes half as long again, adds what a limited caller may not see.
    limited = session.info[SCOPE] is not None
    execute = session.execute if limited else (await session.connection()).execute
    users = {row.id: row for row in await execute(_SHOWN, {"ids": ids})}
    return [users[user_id] for user_id in ids if user_id in users]


def _conditions(
    wanted: UserFilter, words: Sequence[str], roles: Sequence[UUID], user: Any
) -> Iterator[ColumnElement[bool]]:
    """What the filter asks; `words` are those of its term, `roles` those of the name it gives."""
    if wanted.search and wanted.search.strip(" "):
        yield or_(_matches(words, user), *_is(wanted.search, user))
    if wanted.is_active is not None:
        yield user.is_active.is_(wanted.is_active)
    if wanted.role is not None:
        yield user.id.in_(select(UserRole.user_id).where(UserRole.role_id.in_(roles)))
    if wanted.team_id is not None:
        yield user.id.in_(
            select(TeamMembership.user_id).where(TeamMembership.team_id == wanted.team_id)
        )
    if wanted.last_login_before is not None:
        # In the words of the index.
        yield last_login(user) > NEVER
        yield last_login(user) < wanted.last_login_before
    if wanted.last_login_after is not None:
        yield last_login(user) >= wanted.last_login_after


def _is(term: str, user: Any) -> Iterator[ColumnElement[bool]]:
    with suppress(ValueError):
        yield user.id == UUID(term.strip())


def _matches(words: Sequence[str], user: Any) -> ColumnElement[bool]:
    if not words:
        return false()
    indexed = [word for word in words if len(word) >= SEARCH_LENGTH and _PART.search(word)]
    if not indexed and len(words) == 1:
        return or_(*_beginnings(words[0], user))
    text = user_search_form(user)
    # Not LIKE: the planner would look in the index for what it does not know.
    others = (func.strpos(text, word) > 0 for word in words if word not in indexed)
    if indexed:
        return and_(*(text.contains(word, autoescape=True) for word in indexed), *others)
    begins = (each for word in words for each in _beginnings(word, user))
    return and_(or_(*begins), *others)


def _beginnings(word: str, user: Any) -> Iterator[ColumnElement[bool]]:
    yield _begins(user.email, word)
    yield _begins(user.username, word)
    yield _begins(search_form(user.username), word) & is_spelled_otherwise(user.username)
    yield _begins(search_form(user.display_name), word)


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
