"""A user as a source has them, checked: what comes from outside becomes a Candidate here."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final
from unicodedata import normalize
from uuid import UUID

from user_management.models import TeamRole
from user_management.names import comparable, login_words, readable, without_invisible
from user_management.schemas.fields import (
    AVATAR_URL_PATTERN,
    LONG_TEXT_LENGTH,
    TEXT_LENGTH,
    USERNAME_LENGTH,
    check_email,
    check_preferences,
)
from user_management.security.hashing import is_hash

# AutoBot makes up this address for whoever has none.
MADE_UP_DOMAIN: Final = "autobot.local"
HASH_LENGTH: Final = 255
PREFERENCES_LENGTH: Final = 65_536  # characters of JSON

NO_BCRYPT: Final = (
    "The password cannot be carried over, because its hash is not bcrypt: "
    "an administrator must reset it."
)
NOT_SEEN: Final = "The display name is without the characters that people cannot see."
NO_ADDRESS: Final = "The avatar is left out: it is no http(s) address and no path."

EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
# Clocks differ, and so do time zones that nobody wrote down.
AHEAD: Final = timedelta(days=1)
# .NET, Java and SQL databases write "never" as one of these, or as the beginning of 1970.
_NEVER_YEAR: Final = 1
_NEVER_DATE: Final = date(1900, 1, 1)
_MINUS_INFINITY: Final = "-infinity"  # PostgreSQL's

_AVATAR_URL: Final = re.compile(AVATAR_URL_PATTERN)
_FLAGS: Final = {
    **dict.fromkeys((True, 1, "true", "yes", "1"), True),
    **dict.fromkeys((False, 0, "false", "no", "0"), False),
}


@dataclass(frozen=True, slots=True)
class Membership:
    """Of a team, by its id in the source."""

    team_id: UUID
    role: TeamRole
    joined_at: datetime | None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A user to import. Names are as they are stored, times in UTC; None: the source has no value.

    `earlier_username` is how the name was stored before names that people cannot tell apart were
    one, where that is another form. `place` says where it stands in the source. `roles` are names,
    or ids of the source's roles. `notes` and `remarks` are sentences for the report: about what a
    new user lacks, and about how the row was read, whoever it is.
    """

    place: str
    username: str
    email: str
    earlier_username: str | None = None
    # By which the row is known in a source that is imported again and again.
    key: str | None = None
    # Nobody chose a made-up address: it says nothing about who this is.
    has_made_up_email: bool = False
    id: UUID | None = None
    org_id: UUID | None = None
    password_hash: str | None = None
    display_name: str | None = None
    avatar_url: str | None = None
    bio: str | None = None
    is_active: bool = True
    is_verified: bool = False
    is_platform_admin: bool = False
    preferences: str = "{}"  # JSON
    last_login_at: datetime | None = None
    email_verified_at: datetime | None = None
    created_at: datetime | None = None
    roles: tuple[str | UUID, ...] = ()
    memberships: tuple[Membership, ...] = ()
    notes: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class InvalidRow:
    """A row that cannot be imported, and why. `username` may hold anything.

    `rows` is how many it stands for: where a quote was not closed nobody knows, and each line
    counts.
    """

    place: str
    username: str
    reason: str
    rows: int = 1


@dataclass(frozen=True, slots=True)
class DeletedRow:
    """A user whom the source has deleted softly."""

    place: str
    username: str


Row = Candidate | InvalidRow | DeletedRow


class DoubleNameError(ValueError):
    """An object has two members of one name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name!a} stands there twice.")


class _NeverError(Exception):
    """A time stands for none."""


class InvalidValueError(Exception):
    """A value of a row cannot be used. The message is a sentence for the report."""


def read_row(
    place: str,
    values: Mapping[str, Any],
    *,
    key: str | None = None,
    memberships: tuple[Membership, ...] = (),
    notes: tuple[str, ...] = (),
    remarks: tuple[str, ...] = (),
) -> Candidate | InvalidRow:
    """Check a user of a source.

    `values` are by column, and of whatever type the source has; an absent column has its default.
    """
    try:
        return _candidate(place, values, key, memberships, notes, remarks)
    except InvalidValueError as error:
        return InvalidRow(place, str(values.get("username") or "").strip(), str(error))


def _candidate(
    place: str,
    values: Mapping[str, Any],
    key: str | None,
    memberships: tuple[Membership, ...],
    notes: tuple[str, ...],
    remarks: tuple[str, ...],
) -> Candidate:
    fields, changes = _fields(values)
    typed = fields.get("username")
    if typed is None:
        raise InvalidValueError("username: It is missing.")
    username, *earlier = login_words(typed)
    email = fields.get("email")
    if "@" in username and email not in (None, username):
        raise InvalidValueError(
            "username: One with an @ must be the user's own e-mail address, "
            "because at a login addresses come first."
        )
    password_hash = fields.get("password_hash")
    if password_hash is not None and not is_hash(password_hash):
        password_hash = None
        notes += (NO_BCRYPT,)
    avatar_url = fields.get("avatar_url")
    if avatar_url is not None and not _AVATAR_URL.fullmatch(avatar_url):
        avatar_url = None
        notes += (NO_ADDRESS,)
    display_name = fields.get("display_name") if "display_name" in values else typed
    if display_name is not None:
        seen = without_invisible(display_name)
        if seen != normalize("NFC", display_name):
            notes += (NOT_SEEN,)
        display_name = seen[:TEXT_LENGTH] or None
    return Candidate(
        place=place,
        username=username,
        email=email or _make_up_email(username),
        earlier_username=earlier[0] if earlier else None,
        key=key,
        has_made_up_email=email is None,
        id=fields.get("id"),
        org_id=fields.get("org_id"),
        password_hash=password_hash,
        display_name=display_name,
        avatar_url=avatar_url,
        bio=fields.get("bio"),
        is_active=fields.get("is_active", True),
        is_verified=fields.get("is_verified", False),
        is_platform_admin=fields.get("is_platform_admin", False),
        preferences=fields.get("preferences", "{}"),
        last_login_at=fields.get("last_login_at"),
        email_verified_at=fields.get("email_verified_at"),
        created_at=fields.get("created_at"),
        roles=fields.get("roles", ()),
        memberships=memberships,
        notes=notes,
        remarks=(*remarks, *changes),
    )


def _fields(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """What the values say, and remarks on what is taken otherwise. Raises InvalidValueError."""
    fields: dict[str, Any] = {}
    remarks: list[str] = []
    trimmed: list[str] = []
    for column, value in values.items():
        if value is None:
            continue
        text = value.strip() if isinstance(value, str) else value
        if text != value and isinstance(value, str):
            trimmed.append(column)
        try:
            fields[column] = _READERS[column](text)
        except _NeverError:
            remarks.append(f"{column}: It is left empty, because {text} stands for never.")
        except (ValueError, OverflowError, RecursionError) as error:
            raise InvalidValueError(f"{column}: {error}") from None
    if trimmed:
        remarks.append(f"Blanks around {', '.join(trimmed)} are left out.")
    return fields, remarks


def _make_up_email(username: str) -> str:
    if "@" not in username:
        return f"{username}@{MADE_UP_DOMAIN}"
    try:
        return check_email(username)
    except ValueError as error:
        raise InvalidValueError(
            f"username: With an @ it must be an e-mail address. {error}"
        ) from None


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
    """The time of something that need not have happened. Raises _NeverError."""
    if value == _MINUS_INFINITY:
        raise _NeverError
    written = _written(value)
    if _is_never(written):
        raise _NeverError
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


_READERS: Final[Mapping[str, Callable[[Any], Any]]] = {
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
COLUMNS: Final = tuple(_READERS)
