"""Reading one value of a row, by its column. What cannot be used raises ValueError."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final
from uuid import UUID

from user_management.names import comparable, login_words, readable
from user_management.schemas.fields import (
    LONG_TEXT_LENGTH,
    TEXT_LENGTH,
    USERNAME_LENGTH,
    check_email,
    check_preferences,
)

HASH_LENGTH: Final = 255
PREFERENCES_LENGTH: Final = 65_536  # characters of JSON

EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
# Clocks differ, and so do time zones that nobody wrote down.
AHEAD: Final = timedelta(days=1)
# .NET, Java and SQL databases write "never" as one of these, or as the beginning of 1970.
_NEVER_YEAR: Final = 1
_NEVER_DATE: Final = date(1900, 1, 1)
_MINUS_INFINITY: Final = "-infinity"  # PostgreSQL's

_FLAGS: Final = {
    **dict.fromkeys((True, 1, "true", "yes", "1"), True),
    **dict.fromkeys((False, 0, "false", "no", "0"), False),
}


class DoubleNameError(ValueError):
    """An object has two members of one name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name!a} stands there twice.")


class NeverError(Exception):
    """A time stands for none."""


def _text(length: int) -> Callable[[Any], str | None]:
    """A reader of text of at most `length` characters; none when it is empty."""

    def read(value: Any) -> str | None:
        if not isinstance(value, str):
            raise ValueError("It is not text.")
        if len(value) > length:
            raise ValueError(f"It has more than {length} characters.")
        if "\0" in value:
            raise ValueError("It holds a NUL character.")
        if not _is_unicode(value):
            raise ValueError("It is not valid Unicode (UTF-8).")
        return value or None

    return read


def _is_unicode(text: str) -> bool:
    """Bytes that were not UTF-8 have become lone surrogates."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


_READ_NAME = _text(USERNAME_LENGTH)


def _username(value: Any) -> str | None:
    """AutoBot's stores hold names that the API would not take: who has one must be able to enter.

    Invisible characters are refused, because two names would look the same.
    """
    name = _READ_NAME(value)
    if name is None:
        return None
    stored = comparable(readable(name))
    if not stored.isprintable() or " " in stored or not name.isprintable() or " " in name:
        raise ValueError("It holds white space or characters that cannot be seen.")
    if max(map(len, (*login_words(name), stored))) > USERNAME_LENGTH:
        raise ValueError(f"It has more than {USERNAME_LENGTH} characters.")
    return name


def _email(value: Any) -> str | None:
    if value == "":
        return None
    if not isinstance(value, str):
        raise ValueError("It is not text.")
    try:
        return check_email(value)
    except ValueError as error:
        raise ValueError(str(error)) from None


def _flag(value: Any) -> bool:
    if isinstance(value, str):
        value = value.lower()
    if not isinstance(value, bool | int | str) or value not in _FLAGS:
        raise ValueError("It is neither true nor false.")
    return _FLAGS[value]


def _uuid(value: Any) -> UUID:
    if isinstance(value, UUID):
        # Of the driver's own type, which is slower to compare.
        return UUID(int=value.int)
    try:
        return UUID(value)
    except (ValueError, AttributeError, TypeError):
        raise ValueError("It is not a UUID.") from None


def _moment(value: Any) -> datetime:
    return _in_utc(_written(value))


def _moment_or_never(value: Any) -> datetime:
    """The time of something that need not have happened. Raises NeverError."""
    if value == _MINUS_INFINITY:
        raise NeverError
    written = _written(value)
    if _is_never(written):
        raise NeverError
    return _in_utc(written)


def _in_utc(written: datetime) -> datetime:
    """A naive time is UTC, as AutoBot writes it."""
    try:
        moment = written.replace(tzinfo=UTC) if written.tzinfo is None else written.astimezone(UTC)
    except OverflowError:
        raise ValueError("It is outside the calendar.") from None
    if moment < EARLIEST:
        raise ValueError("It is before 1970.")
    if moment > datetime.now(UTC) + AHEAD:
        raise ValueError("It is more than a day in the future.")
    return moment


def _written(value: Any) -> datetime:
    """A time as it stands there."""
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            raise ValueError("It is not a time as in ISO 8601.") from None
    if isinstance(value, date) and not isinstance(value, datetime):
        return datetime.combine(value, time.min)
    if not isinstance(value, datetime):
        raise ValueError("It is not a time.")
    return value


def _is_never(written: datetime) -> bool:
    """Whether a time is written for none: 1970 only to the second."""
    if written.year == _NEVER_YEAR or written.date() == _NEVER_DATE:
        return True
    return written.replace(tzinfo=written.tzinfo or UTC) == EARLIEST


def _preferences(value: Any) -> str:
    if isinstance(value, str):
        if len(value) > PREFERENCES_LENGTH:
            raise ValueError(f"It has more than {PREFERENCES_LENGTH} characters.")
        try:
            value = json.loads(value, object_pairs_hook=distinct)
        except DoubleNameError:
            raise
        except ValueError:
            raise ValueError("It is not JSON.") from None
    if not isinstance(value, dict):
        raise ValueError("It is not a JSON object.")
    text = json.dumps(check_preferences(value), ensure_ascii=False)
    if len(text) > PREFERENCES_LENGTH:
        raise ValueError(f"It has more than {PREFERENCES_LENGTH} characters.")
    return text


def distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object. Raises DoubleNameError: of two values with one name, one would get lost."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise DoubleNameError(name)
        found[name] = value
    return found


def _roles(value: Any) -> tuple[str | UUID, ...]:
    """A list, also as JSON in text; or text with semicolons between the names."""
    if isinstance(value, str):
        listed = _json_list(value)
        value = [name.strip() for name in value.split(";")] if listed is None else listed
    if not isinstance(value, list):
        raise ValueError("It is not a list of roles.")
    names = (role if isinstance(role, UUID) else _READ_NAME(role) for role in value)
    return tuple(dict.fromkeys(name for name in names if name is not None))


def _json_list(text: str) -> list[Any] | None:
    """As an export writes names that hold a semicolon themselves."""
    if not text.startswith("["):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, list) else None


READERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "id": _uuid,
    "username": _username,
    "email": _email,
    "password_hash": _text(HASH_LENGTH),
    "display_name": _text(TEXT_LENGTH),
    "avatar_url": _text(LONG_TEXT_LENGTH),
    "bio": _text(LONG_TEXT_LENGTH),
    "is_active": _flag,
    "is_verified": _flag,
    "is_platform_admin": _flag,
    "preferences": _preferences,
    "roles": _roles,
    "org_id": _uuid,
    "last_login_at": _moment_or_never,
    "email_verified_at": _moment_or_never,
    "created_at": _moment,
}
# What a row may hold, in the order in which it is exported.
COLUMNS: Final = tuple(READERS)
