"""What people are called, checked before it is written."""

from collections.abc import Callable

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from user_management.errors import InvalidValue
from user_management.names import comparable, readable
from user_management.schemas.fields import TEXT_LENGTH, check_email


def checked_email(address: str) -> str:
    """An address as it is stored. Raises InvalidValue."""
    return _checked("email", address, check_email)


def checked_name(name: str, *, field: str = "name", length: int = TEXT_LENGTH) -> str:
    """A name as it is stored, in NFC. Raises InvalidValue."""
    checked = _checked(field, name, readable)
    # What has no composed form can become longer.
    if len(checked) > length:
        raise InvalidValue(field, f"It has more than {length} characters.")
    return checked


async def is_name_taken(
    session: AsyncSession,
    name: str,
    column: InstrumentedAttribute[str],
    *others: ColumnElement[bool],
) -> bool:
    """Whether one of the others has a name that people cannot tell from this one."""
    wanted = comparable(name)
    found = await session.scalars(
        select(column).where(
            *others,
            # Those that the database cannot compare as people do are compared here.
            or_(func.lower(column) == wanted, column.regexp_match("[^ -~]|  |^ | $")),
        )
    )
    return any(comparable(each) == wanted for each in found)


def _checked(field: str, value: str, check: Callable[[str], str]) -> str:
    try:
        return check(value)
    except ValueError as error:
        raise InvalidValue(field, str(error)) from None
