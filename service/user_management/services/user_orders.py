"""The orders that users are listed in: each is that of an index, read forwards or backwards."""

from enum import StrEnum
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, UnaryExpression, tuple_
from sqlalchemy.sql.operators import custom_op

from user_management.models import User
from user_management.models.user import NEVER, last_login
from user_management.security.cursors import NEWEST_FIRST, Position

# By the bytes, as the indexes are, whatever the database's collation is.
_BEFORE: Final[Any] = custom_op("~<~", is_comparison=True)
_BEHIND: Final[Any] = custom_op("~>~", is_comparison=True)
_UP: Final[Any] = custom_op("USING ~<~")
_DOWN: Final[Any] = custom_op("USING ~>~")


class UserSort(StrEnum):
    """By what users are sorted; with `-` from the last to the first."""

    NEWEST = NEWEST_FIRST
    OLDEST = "created_at"
    USERNAME = "username"
    USERNAME_DOWN = "-username"
    EMAIL = "email"
    EMAIL_DOWN = "-email"
    LAST_LOGIN = "last_login_at"
    LAST_LOGIN_DOWN = "-last_login_at"

    @property
    def column(self) -> str:
        """What the user has that is sorted by."""
        return self.removeprefix("-")

    @property
    def descending(self) -> bool:
        """Whether the last come first."""
        return self.startswith("-")


def place(sort: UserSort) -> ColumnElement[Any]:
    """A user's place in the order; those who share one follow each other by their ids."""
    if sort.column == User.last_login_at.key:
        return last_login(User)
    column: ColumnElement[Any] = getattr(User, sort.column)
    return column


def ordered(found: Select[Any], places: Any, ids: Any, sort: UserSort) -> Select[Any]:
    """The rows in order."""
    if _is_text(sort):
        # Nobody shares a name.
        return found.order_by(UnaryExpression(places, modifier=_DOWN if sort.descending else _UP))
    return found.order_by(
        *(each.desc() if sort.descending else each.asc() for each in (places, ids))
    )


def comes_after(position: Position, sort: UserSort) -> ColumnElement[bool]:
    """Whether a user comes after the one at this position."""
    if _is_text(sort):
        beyond: ColumnElement[bool] = (_BEFORE if sort.descending else _BEHIND)(
            place(sort), position.value
        )
        return beyond
    users = tuple_(place(sort), User.id)
    last = tuple_(NEVER if position.value is None else position.value, position.id)
    return users < last if sort.descending else users > last


def _is_text(sort: UserSort) -> bool:
    return sort.column in (User.username.key, User.email.key)
