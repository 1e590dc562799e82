"""The names of roles that AutoBot gives a meaning, which no permission says."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from user_management.names import comparable


class AutobotRole(StrEnum):
    """The roles that AutoBot knows, the highest first."""

    ADMIN = "admin"
    OPERATOR = "operator"
    ANALYST = "analyst"
    EDITOR = "editor"
    USER = "user"
    READONLY = "readonly"


# The lowest first: a name's rank is its place, from 1 on. Whoever has no role at all is a `user`,
# so that name and those below it give nothing.
RANKED: Final = (
    AutobotRole.EDITOR,
    AutobotRole.ANALYST,
    AutobotRole.OPERATOR,
    AutobotRole.ADMIN,
)
_RANKS: Final = {str(role): rank for rank, role in enumerate(RANKED, 1)}


def rank_held(names: Iterable[str | None]) -> int:
    """The highest rank that roles of exactly these names give, 0 where none gives one."""
    return max((_RANKS.get(name, 0) for name in names if name is not None), default=0)


def rank_of(names: Iterable[str]) -> int:
    """The highest rank among some names of roles, 0 where none has one.

    AutoBot reads them to the letter. What people would read as such a name has its rank all the
    same.
    """
    return max((_RANKS.get(comparable(name), 0) for name in names), default=0)
