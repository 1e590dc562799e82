"""Writing changes: what differs is kept for the audit log, what is taken is named."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from user_management.errors import Duplicate
from user_management.models.base import Base

Changes = dict[str, dict[str, Any]]


def apply_changes(row: Base, given: Mapping[str, Any]) -> Changes:
    """Set the columns that differ; gives their old and new values."""
    changes = {
        name: {"old": getattr(row, name), "new": value}
        for name, value in given.items()
        if getattr(row, name) != value
    }
    for name, change in changes.items():
        setattr(row, name, change["new"])
    return changes


async def flush_unique(session: AsyncSession, taken: Mapping[str, str]) -> None:
    """Write what has changed. `taken` says of each unique index what is the matter.

    Raises Duplicate.
    """
    try:
        await session.flush()
    except IntegrityError as error:
        constraint = getattr(error.orig.__cause__, "constraint_name", None) if error.orig else None
        if constraint is None or constraint not in taken:
            raise
        raise Duplicate(taken[constraint]) from None
