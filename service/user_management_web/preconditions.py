"""ETag and If-Match (RFC 9110): nobody overwrites a version that they have not seen."""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

from fastapi import Depends, Header

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# No row was last changed then: a tag that is not ours matches none.
_NEVER: Final = datetime.min.replace(tzinfo=UTC)

ETAG_HEADER: Final[dict[str, Any]] = {
    "ETag": {
        "required": True,
        "description": "The version; send it back as If-Match with a change.",
        "schema": {"type": "string"},
    }
}


def etag_of(updated_at: datetime) -> str:
    """The tag of a row's version: the moment of its last change, in microseconds."""
    return f'"{(updated_at - _EPOCH) // timedelta(microseconds=1):x}"'


async def get_expected(
    if_match: Annotated[
        str | None,
        Header(
            description="The ETag of the version that the change is meant for. If the current one "
            "is another, nothing is changed (412).",
            max_length=1000,
        ),
    ] = None,
) -> Collection[datetime] | None:
    """The versions that the caller would change; None for any."""
    if if_match is None or if_match.strip() == "*":
        return None
    return frozenset(_version(tag.strip()) for tag in if_match.split(","))


def _version(tag: str) -> datetime:
    try:
        return _EPOCH + timedelta(microseconds=int(tag.strip('"'), 16))
    except (ValueError, OverflowError):
        return _NEVER


IfMatchDep = Annotated[Collection[datetime] | None, Depends(get_expected)]
