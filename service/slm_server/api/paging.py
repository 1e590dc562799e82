"""Pages of lists: by `cursor`, or by `skip` for clients that count."""

from typing import Annotated, Any, NamedTuple

from fastapi import Depends, Query

from user_management.errors import InvalidValue
from user_management.schemas.fields import TEXT_LENGTH, TEXT_PATTERN
from user_management.security.cursors import CURSOR_LENGTH, NEWEST_FIRST, Position
from user_management.services.pages import Page, PageRequest
from user_management.services.user_orders import UserSort
from user_management_web.resources import Resources, ResourcesDep

# PostgreSQL counts rows in 64 bits; nobody turns pages for that long.
_MAX_SKIP = 1_000_000_000
_MAX_LIMIT = 1000

Search = Annotated[str | None, Query(max_length=TEXT_LENGTH, pattern=TEXT_PATTERN)]
_Sort = Annotated[
    UserSort,
    Query(
        description="What users are sorted by, with `-` from the last to the first: names by their "
        "bytes, and who never logged in as if before everybody else. A cursor belongs to its order."
    ),
]
_Skip = Annotated[int, Query(ge=0, le=_MAX_SKIP)]
_Limit = Annotated[int, Query(ge=1, le=_MAX_LIMIT)]
_Cursor = Annotated[
    str | None,
    Query(
        max_length=CURSOR_LENGTH,
        description="`next_cursor` of the page before, instead of `skip`.",
    ),
]
_IncludeTotal = Annotated[bool, Query(description="Count all of them, too.")]


class SortedPage(NamedTuple):
    """A page of users, and what they are sorted by."""

    request: PageRequest
    sort: UserSort


async def get_page(
    resources: ResourcesDep,
    skip: _Skip = 0,
    limit: _Limit = 100,
    cursor: _Cursor = None,
    include_total: _IncludeTotal = False,
) -> PageRequest:
    """The page that the query names. Raises InvalidValue."""
    return _page(resources, skip, limit, cursor, NEWEST_FIRST, with_total=include_total)


async def get_sorted_page(
    resources: ResourcesDep,
    sort: _Sort = UserSort.NEWEST,
    skip: _Skip = 0,
    limit: _Limit = 100,
    cursor: _Cursor = None,
    include_total: _IncludeTotal = False,
) -> SortedPage:
    """The page that the query names, in the order that it names. Raises InvalidValue."""
    return SortedPage(_page(resources, skip, limit, cursor, sort, with_total=include_total), sort)


def _page(
    resources: Resources,
    skip: int,
    limit: int,
    cursor: str | None,
    order: str,
    *,
    with_total: bool,
) -> PageRequest:
    if cursor is not None and skip:
        raise InvalidValue("skip", "Give either `cursor` or `skip`, not both.", where="query")
    after = None if cursor is None else resources.cursors.decode(cursor, order)
    return PageRequest(limit, skip, after, with_total)


PageDep = Annotated[PageRequest, Depends(get_page)]
SortedPageDep = Annotated[SortedPage, Depends(get_sorted_page)]


async def get_cursor_page(
    resources: ResourcesDep,
    limit: Annotated[int, Query(ge=1, le=_MAX_LIMIT)] = 100,
    cursor: Annotated[
        str | None, Query(max_length=100, description="`next_cursor` of the page before.")
    ] = None,
) -> PageRequest:
    """The page of a list that is too long to be counted. Raises InvalidValue."""
    return PageRequest(limit, after=None if cursor is None else resources.cursors.decode(cursor))


CursorPageDep = Annotated[PageRequest, Depends(get_cursor_page)]


def next_cursor(
    resources: Resources, following: Position | None, order: str = NEWEST_FIRST
) -> str | None:
    """What leads to the next page, None on the last one."""
    return None if following is None else resources.cursors.encode(following, order)


def page_fields(
    resources: Resources, found: Page[Any], asked: PageRequest, order: str = NEWEST_FIRST
) -> dict[str, Any]:
    """What the answer of a list says of its page."""
    return {
        "total": found.total,
        "next_cursor": next_cursor(resources, found.following, order),
        "limit": asked.limit,
        "offset": asked.offset,
    }
