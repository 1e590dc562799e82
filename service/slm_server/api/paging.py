"""Pages of lists: by `cursor`, or by `skip` for clients that count."""

from typing import Annotated

from fastapi import Depends, Query

from user_management.errors import InvalidValue
from user_management.middleware.resources import Resources, ResourcesDep
from user_management.schemas.fields import TEXT_LENGTH, TEXT_PATTERN
from user_management.security.cursors import Position
from user_management.services.pages import PageRequest

# PostgreSQL counts rows in 64 bits; nobody turns pages for that long.
_MAX_SKIP = 1_000_000_000
_MAX_LIMIT = 1000

Search = Annotated[str | None, Query(max_length=TEXT_LENGTH, pattern=TEXT_PATTERN)]


async def get_page(
    resources: ResourcesDep,
    skip: Annotated[int, Query(ge=0, le=_MAX_SKIP)] = 0,
    limit: Annotated[int, Query(ge=1, le=_MAX_LIMIT)] = 100,
    cursor: Annotated[
        str | None,
        Query(max_length=100, description="`next_cursor` of the page before, instead of `skip`."),
    ] = None,
    include_total: Annotated[bool, Query(description="Count all of them, too.")] = False,
) -> PageRequest:
    """The page that the query names. Raises InvalidValue."""
    if cursor is not None and skip:
        raise InvalidValue("skip", "Give either `cursor` or `skip`, not both.", where="query")
    after = None if cursor is None else resources.cursors.decode(cursor)
    return PageRequest(limit, skip, after, include_total)


PageDep = Annotated[PageRequest, Depends(get_page)]


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


def next_cursor(resources: Resources, following: Position | None) -> str | None:
    """What leads to the next page, None on the last one."""
    return None if following is None else resources.cursors.encode(following)
