"""Versions of rows, so that nobody overwrites what they have not seen."""

from collections.abc import Collection
from datetime import datetime
from typing import Protocol

from user_management.errors import PreconditionFailed


class Versioned(Protocol):
    """A row that knows when it was last changed."""

    @property
    def updated_at(self) -> datetime: ...


def check_version(row: Versioned, expected: Collection[datetime] | None) -> None:
    """Raise PreconditionFailed unless the row, which is locked, is one that the caller has seen.

    None: the caller does not care.
    """
    if expected is not None and row.updated_at not in expected:
        raise PreconditionFailed
